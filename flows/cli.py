"""The command `crossgraph`. Heavy libraries are imported by the command that needs them."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_upkeep import backup, forget, project_run, restore, show_ablation, show_rollback
from flows.export_cli import export
from flows.launch import run_flow
from flows.options import Debug, ProjectArgument, Sets, WorkspaceOption
from flows.quarantine_cli import app as quarantine_app
from flows.torchrun import led_by_first
from kg.errors import CrossGraphError

INTERRUPTED = 130
app = typer.Typer(
    help="Turn user, item, text and image sources into a knowledge graph, learn from it, recommend across domains.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
neo4j_app = typer.Typer(help="The project's local Neo4j server.", no_args_is_help=True)
app.add_typer(neo4j_app, name="neo4j")
resolve_app = typer.Typer(help="What entity resolution merged, and why.", no_args_is_help=True)
app.add_typer(resolve_app, name="resolve")
app.add_typer(quarantine_app, name="quarantine")
for command in (export, forget, backup, restore):
    app.command()(command)

AcceptSchema = Annotated[
    bool, typer.Option("--accept-schema", help="Empty labels in Neo4j whose key or name changed, and load them anew.")
]


def main() -> None:
    """Run the command; an error of ours is one line on stderr and an exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        with _full_disk():
            code = led_by_first(lambda: app(standalone_mode=False))
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except CrossGraphError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            _complain(line)
        code = error.exit_code
    except Exception as error:
        if debug or not hasattr(error, "format_message"):  # typer's own errors about the command line have it
            raise
        _complain(error.format_message())
        code = 2
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code
        _complain("stopped; run the same command again to go on where it was")
    sys.exit(code if isinstance(code, int) else 0)


def _full_disk() -> Any:
    from flows.disk import full_disk_named

    return full_disk_named(os.getcwd())


def _complain(line: str) -> None:
    print(f"crossgraph: {line}", file=sys.stderr)


@app.command()
def setup(debug: Debug = False) -> None:
    """Fetch what no Python package brings: the jars of Neo4j and GraphFrames."""
    from flows.settings import load_settings
    from kg.jars import install_jars
    from kg.java import find_java

    settings = load_settings()
    java = find_java(prefer_packaged=settings.packaged_java)
    typer.echo(f"Java {java.version} at {java.path}" + (" (packaged)" if java.packaged else ""))
    jars = install_jars(settings.cache_folder, java, settings.java_options, typer.echo)
    typer.echo(f"jars in {jars.neo4j_lib.parent}")


@app.command()
def demo(
    generate: Annotated[Path | None, typer.Option(help="Only write the demo's data into this folder.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other data.")] = 7,
    scale: Annotated[float, typer.Option(help="Multiplies users and items.", min=0.05)] = 1.0,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Make the demo's data and run the whole pipeline on it."""
    from flows.demo import generate as write_data
    from flows.demo import is_generated

    folder = generate or Path("runs") / "demo-data"
    if generate or not is_generated(folder, seed, scale):
        write_data(folder, seed, scale)
        typer.echo(f"wrote the demo's data to {folder}")
    if generate is None:
        _show(run_flow("run", "demo", [f"data={folder.absolute()}", *(sets or [])], workspace, debug))


@app.command()
def run(
    project: ProjectArgument,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    accept_schema: AcceptSchema = False,
    debug: Debug = False,
) -> None:
    """The whole way: ingest, embed, evaluate, publish, recommend; what is unchanged is skipped."""
    _show(run_flow("run", project, sets, workspace, debug, accept_schema=accept_schema))


@app.command()
def ingest(
    project: ProjectArgument,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    accept_schema: AcceptSchema = False,
    debug: Debug = False,
) -> None:
    """Sources to tables, into Neo4j and out again as a snapshot."""
    _show(run_flow("ingest", project, sets, workspace, debug, accept_schema=accept_schema))


@app.command()
def plan(
    project: ProjectArgument,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file too.")] = None,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Say what `run` would read, change, encode and train, and what it would take; nothing is touched."""
    from flows.plan import plan as rehearse
    from flows.plan_report import show, write_json
    from flows.report import start_logging

    start_logging(debug=debug)
    figures = rehearse(project, sets or [], workspace)
    if json_file:
        write_json(figures, json_file)
    show(figures)


@app.command()
def embed(
    project: ProjectArgument,
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback",
            help="Learn nothing: let readers of Neo4j see the version before the current one again. The version that "
            "is left stays unpublished, by an unchanged run too, until there is a new one; called again, it is undone.",
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Learn nothing: ingest, compute the vectors that the change reaches by the model in service, and "
            "publish them with the others as a new version.",
        ),
    ] = False,
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate",
            help="Publish nothing: train what is missing, and table what each view and each fusion is worth on the "
            "validation part of each user's events. Neo4j is not touched once there is a snapshot.",
        ),
    ] = False,
    seeds: Annotated[int, typer.Option(help="With --ablate: models of so many seeds each, as means.", min=1)] = 1,
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Encode texts and images, learn embeddings, write them back to Neo4j."""
    if sum([rollback, refresh, ablate]) > 1:
        raise typer.BadParameter("--rollback, --refresh and --ablate exclude each other")
    if seeds > 1 and not ablate:
        raise typer.BadParameter("--seeds goes with --ablate")
    if ablate:
        show_ablation(run_flow("ablate", project, sets, workspace, debug, seeds=seeds))
        return
    if rollback:
        show_rollback(project_run("embed --rollback", project, sets, workspace, debug))
        return
    _show(run_flow("refresh" if refresh else "embed", project, sets, workspace, debug))


@app.command()
def recommend(
    project: ProjectArgument, sets: Sets = None, workspace: WorkspaceOption = None, debug: Debug = False
) -> None:
    """Export the top items of every user as Parquet and CSV."""
    _show(run_flow("recommend", project, sets, workspace, debug))


@app.command()
def evaluate(
    project: ProjectArgument,
    require: Annotated[
        str, typer.Option(help="Baselines that must be beaten on NDCG@10, such as popularity,item_knn.")
    ] = "",
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Measure on both cuts beside the baselines; writes nothing to Neo4j."""
    from flows.recommend import check_required, required

    names = required(require)
    figures = run_flow("evaluate", project, sets, workspace, debug)
    _show(figures)
    check_required(figures, names)


@app.command()
def query(
    project: ProjectArgument,
    user: Annotated[str, typer.Argument(help="The user's id.")],
    sets: Sets = None,
    domain: Annotated[str | None, typer.Option(help="Only this target domain.")] = None,
    top: Annotated[int, typer.Option(help="How many items a domain.")] = 10,
    debug: Debug = False,
) -> None:
    """Recommend to one user from Neo4j alone."""
    from flows.recommend import ask
    from flows.summary import show_answer

    show_answer(ask(project, user, sets or [], domain=domain, top=top))


@app.command()
def doctor(debug: Debug = False) -> None:
    """Say what this machine lacks and how to mend it."""
    from flows.doctor import examine

    raise typer.Exit(examine())


@resolve_app.command("explain")
def resolve_explain(
    project: ProjectArgument,
    entity: Annotated[str, typer.Argument(help="LABEL:KEY, or a key: of a node or of a record that became one.")],
    sets: Sets = None,
    workspace: WorkspaceOption = None,
    debug: Debug = False,
) -> None:
    """Say which records became a node, by which pairs, values and rule; reads the workspace alone."""
    from flows.resolve import explain_entity, show_explanation

    show_explanation(explain_entity(project, entity, sets, workspace))


@neo4j_app.command()
def start(project: ProjectArgument = "demo", debug: Debug = False) -> None:
    """Start the project's local server, and say how to reach it."""
    from flows.servers import start_server

    typer.echo(start_server(project))


@neo4j_app.command()
def stop(project: ProjectArgument = "demo", debug: Debug = False) -> None:
    """Stop the project's local server."""
    from flows.servers import stop_server

    typer.echo(stop_server(project))


@neo4j_app.command()
def status(project: ProjectArgument = "demo", debug: Debug = False) -> None:
    """Say whether the project's local server runs; exit code 1 when it does not."""
    from flows.servers import server_line

    line, running = server_line(project)
    typer.echo(line)
    raise typer.Exit(0 if running else 1)


def _show(figures: dict[str, Any]) -> None:
    from flows.summary import show

    show(figures)


if __name__ == "__main__":
    main()
