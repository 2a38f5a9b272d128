"""The commands `crossgraph quarantine …`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.launch import run_flow
from flows.options import Debug, ProjectArgument, Sets, WorkspaceOption

app = typer.Typer(help="Rows that were refused, and their way back.", no_args_is_help=True)


@app.command()
def show(
    project: ProjectArgument,
    source: Annotated[str | None, typer.Option(help="Only this source's rows.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason, such as null_key, rule or rule:adult.")] = None,
    limit: Annotated[int | None, typer.Option(help="How many rows; 20 in the terminal, all in a file.", min=0)] = None,
    to: Annotated[Path | None, typer.Option(help="Write them to this .jsonl or .csv file.")] = None,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Show the rows in quarantine: where they are from, why they are there, what they hold."""
    from flows.quarantine import project_run
    from flows.quarantine import show as print_rows

    print_rows(project_run(project, sets or [], workspace), source, reason, limit, to)


@app.command()
def replay(
    project: ProjectArgument,
    file: Annotated[Path, typer.Argument(help='What `show --to` wrote, values corrected or `"drop": true` set.')],
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Keep the corrections of a file and ingest again: corrected rows take the same way as all others."""
    from flows.summary import show as print_figures

    print_figures(run_flow("replay", project, sets, workspace, debug, file=str(file.absolute())))
