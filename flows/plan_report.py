"""A plan for people and for programs."""

import json
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from flows.summary import wide_console

Figures = dict[str, Any]


def write_json(figures: Figures, path: Path) -> None:
    """All figures of a plan."""
    path.write_text(json.dumps(figures, indent=1) + "\n")


def show(figures: Figures) -> None:
    """Print a plan."""
    console = wide_console()
    read = "would be read" if figures["read"] else "are unchanged, so that they are not read again"
    counts = ("rows", "accepted", "duplicate", "filtered", "quarantined", "coerced")
    rows = [[name, *(str(of[count]) for count in counts)] for name, of in figures["sources"].items()]
    _table(f"Sources: they {read}", ["source", *counts], rows)
    kinds = ("created", "updated", "deleted", "unchanged")
    graph = [[name, *(str(of[kind]) for kind in kinds)] for name, of in figures["graph"].items()]
    _table("The graph", ["of", *kinds], graph)
    encode = [[view, label, str(count)] for view, of in figures["encode"].items() for label, count in of.items()]
    _table("To encode", ["view", "of", "not in the cache"], encode)
    _table("Stages", ["stage", "seconds", "MiB of its share", "by"], [_stage(stage) for stage in figures["stages"]])
    trained = ", ".join(figures["models"]) or "none"
    console.print(f"models to train: {trained}", soft_wrap=True)
    console.print(f"about {figures['seconds']:.0f} seconds and {figures['memory_mib']} MiB in all", soft_wrap=True)
    for note in figures["notes"]:
        console.print(escape(f"note: {note}"), soft_wrap=True)


def _stage(stage: Figures) -> list[str]:
    if not stage["made"]:
        return [stage["stage"], "", "", "skipped as unchanged"]
    memory = f"{stage['memory_mib']} of {stage['share_mib']}"
    return [stage["stage"], f"{stage['seconds']:.0f}", memory, stage["by"]]


def _table(title: str, header: list[str], rows: list[list[str]]) -> None:
    if rows:
        table = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(escape, row))
        wide_console().print(table, "")
