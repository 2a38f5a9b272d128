"""A run's figures for people: tables on the terminal, Markdown for Prefect's artifact."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kg.tables import Output, Workspace
from recommend.report import COLUMNS, OURS, OVERALL, Report
from recommend.report import rows as report_rows

if TYPE_CHECKING:
    from recommend.query import Answer

Figures = dict[str, Any]
Rows = list[list[str]]
USERS, ITEMS = 5, 3
WIDTH = 140
KEPT = ("tables", "graph", "embeddings", "recommendations")


def show(figures: Figures) -> None:
    """Print what a run did, found and left where."""
    console = wide_console()
    for title, header, rows in _tables(figures):
        table = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(escape, row), style="bold" if OURS in row else None)
        console.print(table, "")
    for title, lines in _notes(figures):
        console.print(f"[bold]{title}[/]", *(f"  {escape(line)}" for line in lines), "", sep="\n", soft_wrap=True)


def markdown(figures: Figures) -> str:
    """The same as Markdown."""
    parts = [f"# {figures['project']}: {figures['command']} {figures['status']}"]
    for title, header, rows in _tables(figures):
        lines: Rows = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
        parts.append(f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    for title, told in _notes(figures):
        parts.append(f"## {title}\n\n" + "\n".join(f"- {line}" for line in told))
    return "\n\n".join(parts) + "\n"


def show_answer(answers: "list[Answer]") -> None:
    """Print one user's recommendations."""
    table = Table("domain", "item", "title", "score", "why", box=None, pad_edge=False)
    for answer in answers:
        score = f"{answer.score:.3f}"
        table.add_row(answer.domain, escape(answer.item_id), escape(answer.title), score, escape(answer.reason))
    wide_console().print(table)


def wide_console() -> Console:
    """Wide enough that no figure is cut off: a narrow terminal wraps lines, a log file takes them whole."""
    console = Console()
    console.width = max(console.width, WIDTH)
    return console


def _tables(figures: Figures) -> list[tuple[str, list[str], Rows]]:
    stages = {name: stage["figures"] for name, stage in figures["stages"].items()}
    found = []
    if "tables" in stages:
        found.append(_sources(stages["tables"]))
    if "loaded" in stages:
        found.append(_graph(figures["stages"]["loaded"]))
    if "encoded" in stages:
        found.append(_encoded(figures["stages"]["encoded"]))
    if trained := {name: f["history"] for name, f in stages.items() if "history" in f}:
        found.append(_training(trained))
    if "evaluation" in stages:
        found.append(_metrics(stages["evaluation"]))
    if "ablation" in stages:
        found.append(_ablation(stages["ablation"]))
    if "recommendations" in stages:
        found.append(_examples(figures))
    return found


def _sources(figures: Figures) -> tuple[str, list[str], Rows]:
    counts = ["rows", "accepted", "duplicate", "filtered", "quarantined", "coerced"]
    rows = []
    for name, account in figures["sources"].items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in account["reasons"].items())
        rows.append([name, *(str(account[count]) for count in counts), reasons])
    return "Sources (rows = accepted + duplicate + filtered + quarantined)", ["source", *counts, "reasons"], rows


def _graph(stage: Figures) -> tuple[str, list[str], Rows]:
    counts = ["rows", "created", "updated", "unchanged", "deleted", "kept", "refused"]
    rows = []
    for kind in ("nodes", "relationships"):
        for name, account in stage["figures"][kind].items():
            done = dict(account)
            if stage["skipped"]:
                done |= dict.fromkeys(counts, 0) | {"rows": account["rows"], "refused": account["refused"]}
                done["unchanged"] = account["rows"] - account["refused"]
            rows.append([name, *(str(done[count]) for count in counts)])
    return "Graph", ["of", *counts], rows


def _encoded(stage: Figures) -> tuple[str, list[str], Rows]:
    counts = ["encoded", "from_cache", "missing", "broken"]
    rows = []
    for view, labels in stage["figures"].items():
        for label, account in labels.items():
            done = dict(account)
            if stage["skipped"]:
                done |= {"encoded": 0, "from_cache": account["encoded"] + account["from_cache"]}
            rows.append([view, label, *(str(done[count]) for count in counts)])
    return "Encoded", ["view", "of", "encoded", "from cache", "missing", "broken"], rows


def _training(histories: dict[str, Figures]) -> tuple[str, list[str], Rows]:
    rows = []
    for name, history in histories.items():
        losses, metrics = history["losses"], history["metrics"]
        best = f"{max(metrics):.4f}" if metrics else ""
        rows.append([name, str(len(losses)), str(history["best_epoch"]), f"{losses[0]:.3f}", f"{losses[-1]:.3f}", best])
    return "Training", ["on", "epochs", "kept", "first loss", "last loss", "NDCG@10 of z on validation"], rows


def _metrics(evaluation: Figures) -> tuple[str, list[str], Rows]:
    found = [
        [cut, f"{part} ({users})", *cells]
        for cut, report in evaluation.items()
        for part, domain, users, *cells in report_rows(Report.from_dict(report))
        if domain == OVERALL
    ]
    title = "Metrics on held-out events (all domains; the last column is ours minus it on NDCG@10, 95% interval)"
    return title, ["cut", "users", "model", *COLUMNS, "ours gains"], found


def _ablation(figures: Figures) -> tuple[str, list[str], Rows]:
    from recommend.ablation import Ablation, cells, header

    found = Ablation.from_dict(figures)
    return "What each view and fusion brings, on validation", header(found), cells(found)


def _examples(figures: Figures) -> tuple[str, list[str], Rows]:
    """The first users with recommendations in most domains, their best items and why."""
    workspace = Workspace(figures["workspace"])
    output, graph = workspace.stage("recommendations").current(), workspace.stage("graph").current()
    rows: Rows = []
    if output and graph:
        titles = _titles(graph)
        table = output.read("recommendations").filter(_best())
        by_user: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            by_user.setdefault(row["user_id"], []).append(row)
        for user in sorted(by_user, key=lambda u: (-_personal(by_user[u]), u))[:USERS]:
            for row in by_user[user]:
                title = titles.get((row["domain"], row["item_id"]), row["item_id"])
                rows.append([user, row["domain"], title, f"{row['score']:.3f}", row["reason"]])
    return "Five users and their first recommendations", ["user", "domain", "title", "score", "why"], rows


def _best() -> Any:
    import pyarrow.compute as pc

    return pc.field("rank") <= ITEMS


def _personal(rows: list[dict[str, Any]]) -> int:
    """How many of the reasons name something that the user liked."""
    return sum("liked" in row["reason"] for row in rows)


def _titles(graph: Output) -> dict[tuple[str, str], str]:
    from recommend.attributes import names

    found: dict[tuple[str, str], str] = {}
    for label, of in graph.manifest.meta["labels"].items():
        if of["domain"]:
            keys = graph.read(f"nodes/{label}", ["key"])["key"].to_pylist()
            found |= {(of["domain"], key): name for key, name in zip(keys, names(graph, label), strict=True)}
    return found


def _notes(figures: Figures) -> list[tuple[str, list[str]]]:
    notes: list[tuple[str, list[str]]] = []
    if neo4j := figures.get("neo4j"):
        notes.append(("The graph", [f"{name}: {value}" for name, value in neo4j.items()]))
    files = [f"{name}: {stage['path']}" for name, stage in figures["stages"].items() if name in KEPT]
    notes.append(("Files", [f"workspace: {figures['workspace']} (run.json has every figure)", *files]))
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in figures["seconds"].items())
    did = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in figures["did"].items()) or "nothing"
    skipped = ", ".join(figures["skipped"]) or "nothing"
    notes.append(("This run", [f"seconds: {seconds}", f"did: {did}", f"skipped as unchanged: {skipped}"]))
    if new := figures["stages"].get("embeddings", {}).get("figures", {}).get("refreshed"):
        line = f"{new['recomputed']} of {new['of']} users and items, {new['new']} of them new"
        notes.append(("Vectors computed anew", [f"{line}, from {new['looked_at']} of {new['of_nodes']} nodes"]))
    tables = figures["stages"].get("tables", {}).get("figures", {})
    if corrections := tables.get("corrections"):
        told = {
            name: ", ".join(f"{count} {of}" for of, count in became.items()) for name, became in corrections.items()
        }
        notes.append(("Corrections", [f"{name}: {counts}" for name, counts in told.items()]))
    if left := tables.get("left_out"):
        notes.append(("Left out", [f"{part}: {reason}" for part, reason in left.items()]))
    return notes
