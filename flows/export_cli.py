"""The command `export`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.options import Debug, ProjectArgument, Sets, WorkspaceOption

Names = list[str] | None


def export(  # noqa: PLR0913, PLR0917 - an argument for each option
    project: ProjectArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="Where the snapshot goes: new, empty or an export.")
    ],
    labels: Annotated[
        Names, typer.Option("--label", metavar="LABEL", help="Only these labels (repeatable, as all below).")
    ] = None,
    types: Annotated[Names, typer.Option("--type", metavar="TYPE", help="Only these relationship types.")] = None,
    domains: Annotated[
        Names, typer.Option("--domain", metavar="DOMAIN", help="Of the items only those of these domains.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", metavar="TIME", help="Leave later interactions out (UTC).")
    ] = None,
    seeds: Annotated[
        Names, typer.Option("--seed", metavar="LABEL:KEY", help="Only what lies around this node.")
    ] = None,
    hops: Annotated[int | None, typer.Option(min=0, help="How far around the seeds; default 1.")] = None,
    selection: Annotated[
        Path | None,
        typer.Option("--selection", metavar="FILE", help="YAML, as `export:` in a project file, in its place."),
    ] = None,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Write the loaded graph, or a part of it, as Parquet into a folder; one that holds the same stays as it is."""
    from flows.cli_upkeep import project_run
    from flows.export_to import export_to, narrowed, read_selection

    run = project_run("export", project, sets, workspace, debug)
    base = read_selection(selection) if selection else run.project.export
    given = {"labels": labels, "types": types, "domains": domains, "until": until}
    done = export_to(run, to, narrowed(base, _keys(seeds or []), hops, given))
    for table, rows in done.output.manifest.tables.items():
        typer.echo(f"{table}: {rows} rows")
    how = "unchanged" if done.unchanged else f"written in {done.seconds:.1f} s"
    typer.echo(f"{done.output.path}: {how}")


def _keys(seeds: list[str]) -> dict[str, list[str]]:
    """By label the keys; a key may have colons."""
    found: dict[str, list[str]] = {}
    for seed in seeds:
        label, colon, key = seed.partition(":")
        if not (label and colon and key):
            raise typer.BadParameter(f"expected LABEL:KEY, found {seed!r}", param_hint="--seed")
        found.setdefault(label, []).append(key)
    return found
