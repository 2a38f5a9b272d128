"""The commands `forget`, `backup` and `restore`, `embed --rollback` and `embed --ablate`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options import Debug, ProjectArgument, Sets, WorkspaceOption

if TYPE_CHECKING:
    from flows.archive import Saved
    from flows.forget import Outcome
    from flows.tasks import Run

LEFT = 4
"""Exit code where something of a forgotten node is left."""


def forget(
    project: ProjectArgument,
    label: Annotated[str, typer.Argument(help="The node's label.")],
    key: Annotated[str, typer.Argument(help="The node's id, or one that was merged into it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Remove a person (or any node) from graph, workspace and caches, keep it out, and prove it."""
    from flows.forget import forget as remove

    def confirm(outcome: "Outcome") -> bool:
        typer.echo(f"{label} {', '.join(outcome.keys)}:" + ("" if outcome.removed else " nothing more is found"))
        for holding in outcome.removed:
            typer.echo(f"  {holding.place}: {holding.what}")
        return not dry_run and (yes or typer.confirm("Remove all this for good?", abort=True))

    outcome = remove(project_run("forget", project, sets, workspace, debug), label, key, confirm=confirm)
    if not outcome.done:
        return
    for line in outcome.reminders:
        typer.echo(line)
    if not outcome.left:
        typer.echo("searched again everywhere: nothing is left")
        return
    for place in outcome.left:
        typer.echo(f"left: {place}", err=True)
    raise typer.Exit(LEFT)


def backup(
    project: ProjectArgument,
    target: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help="The backup, or the folder it goes into.")],
    cache: Annotated[bool, typer.Option(help="Save the cached vectors too.")] = True,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Save the workspace and the local Neo4j in one file; the server is stopped meanwhile."""
    from flows.archive import backup as save

    _show("saved to", save(project_run("backup", project, sets, workspace, debug), target, cache=cache))


def restore(
    project: ProjectArgument,
    source: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help="The backup, or a folder: its newest one.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Lose the workspace and the graph that are there.")
    ] = False,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Bring back a backup, once all of it is checked; what is forgotten stays so."""
    from flows.archive import restore as bring_back

    _show("restored", bring_back(project_run("restore", project, sets, workspace, debug), source, replace=replace))


def show_rollback(run: "Run") -> None:
    """Go back to the version of the vectors before the current one, and say so."""
    from flows.publish import rollback

    done = rollback(run)
    typer.echo(f"readers see version {done.version} again, and no longer {done.left}")
    if done.without:
        typer.echo(f"{done.without} users and items that came later have no vector in it")
    typer.echo(f"`crossgraph recommend {run.project.name}` exports recommendations by it; this command again undoes it")


def show_ablation(figures: dict[str, Any]) -> None:
    """Print the table of views and fusions as Markdown, and where it is kept."""
    from flows.ablation import TABLE
    from recommend.ablation import Ablation, markdown

    stage = figures["stages"]["ablation"]
    typer.echo(markdown(Ablation.from_dict(stage["figures"])))
    typer.echo(f"{stage['path']}/{TABLE}")


def project_run(command: str, project: str, sets: list[str] | None, workspace: str | None, debug: bool) -> "Run":
    """A run of a project for what is no flow; logging starts."""
    from flows.project import load_project
    from flows.report import start_logging
    from flows.settings import load_settings
    from flows.tasks import Run

    start_logging(debug=debug)
    return Run(load_project(project, sets), load_settings(), command, workspace)


def _show(what: str, saved: "Saved") -> None:
    size = sum(int(entry[0]) for entry in saved.archive.files.values()) / 1e6
    holds = "with" if saved.archive.neo4j else "without"
    typer.echo(f"{what} {saved.path}: {len(saved.archive.files)} files, {size:.1f} MB, {holds} the database")
    for note in saved.notes:
        typer.echo(note)
