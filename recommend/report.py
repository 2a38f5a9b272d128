"""An evaluation's report: figures ready for JSON, as tables, and held against what is required. Loads no torch."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from kg.errors import QualityError

OURS = "ours"
BASELINES = ("popularity", "item_knn", "ease", "z")
OVERALL = "overall"
REQUIRED = "ndcg@10"


@dataclass(frozen=True)
class Report:
    """An evaluation's figures, ready for JSON."""

    cut: str
    slices: dict[str, dict[str, dict[str, Any]]]
    """By slice (`all`, and `warm` and `cold` where there are cold users) and domain (or `overall`): `users`,
    `models` (means by model and metric), `compared` (by baseline: mean difference of NDCG@10 and its 95% interval)."""
    chosen: dict[str, Any]
    """The baselines' hyperparameters."""
    conventions: str = (
        "users with held-out positives only; seen items excluded; overall is the mean over each user's domains; "
        "intervals are paired bootstrap percentiles over users"
    )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """Inverse of `to_dict`."""
        return cls(**values)

    def value(self, model: str, metric: str = REQUIRED, domain: str = OVERALL, part: str = "all") -> float:
        """One mean."""
        return float(self.slices[part][domain]["models"][model][metric])


def require(report: Report, names: Iterable[str]) -> None:
    """Raise `QualityError` unless ours beats the named baselines on NDCG@10 over all users and domains.

    `ValueError` for a name that is no baseline.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in BASELINES]:
        raise ValueError(f"unknown baselines {unknown}, expected some of {list(BASELINES)}")
    ours = report.value(OURS)
    if better := [name for name in wanted if report.value(name) >= ours]:
        found = ", ".join(f"{name} {report.value(name):.4f}" for name in better)
        raise QualityError(f"NDCG@10 on {report.cut}: ours {ours:.4f} does not beat {found}")


COLUMNS = ("ndcg@10", "recall@10", "mrr@10", "coverage@10", "ndcg@20", "recall@20", "mrr@20", "coverage@20")


def rows(report: Report) -> list[list[str]]:
    """The report as cells: slice, domain, users, model, `COLUMNS`, and ours minus the model with its interval."""
    found = []
    for part, domains in report.slices.items():
        for domain, figures in domains.items():
            if domain != OVERALL and len(domains) == 2:
                continue
            for model, metrics in figures["models"].items():
                c = figures["compared"].get(model)
                gain = f"{c['difference']:+.4f} [{c['low']:+.4f}, {c['high']:+.4f}]" if c else ""
                cells = [part, domain, str(figures["users"]), model]
                found.append([*cells, *(f"{metrics[column]:.4f}" for column in COLUMNS), gain])
    return found


HEADER = ("users are", "domain", "users", "model", *COLUMNS, "ours minus it, NDCG@10 [95%]")


def table(report: Report) -> Table:
    """The report for a terminal."""
    found = Table(*HEADER, title=f"cut {report.cut}")
    for cells in rows(report):
        found.add_row(*cells, style="bold" if cells[3] == OURS else None)
    return found


def markdown(report: Report) -> str:
    """The report as a Markdown table."""
    lines = [HEADER, ["---"] * len(HEADER), *rows(report)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
