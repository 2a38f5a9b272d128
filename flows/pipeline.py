"""The flows as plain functions: each is a list of stages, and returns the figures of its run.

`flows.deployed` has the same as Prefect flows. Whatever a stage needs is made first where it is missing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import ablation as compare
from flows import embed as learn
from flows import ingest as prepare
from flows import publish as release
from flows import recommend as rank
from flows import refresh as renew
from flows.embed import CHOOSING
from flows.export import export_graph, has_snapshot, sound_snapshot
from flows.quarantine import mend
from flows.summary import markdown
from flows.tasks import Run, artifact, network_step, opened, step
from kg.split import CUTS, CutName
from kg.tables import Output

Figures = dict[str, Any]


@dataclass(frozen=True)
class _Prepared:
    """What learning starts from."""

    tables: Output
    cuts: Output
    graph: Output


def run(
    project: str, overrides: list[str] | None = None, workspace: str | None = None, accept_schema: bool = False
) -> Figures:
    """The whole way: ingest, evaluate on both cuts, refit on all rows, publish, recommend."""
    with opened(project, overrides or [], "run", workspace) as this:
        prepared = _prepare(this, accept_schema=accept_schema)
        encoded, trained = _train(this, prepared, list(CUTS))
        step(rank.evaluate, this, prepared.graph, prepared.cuts, trained)
        _publish(this, prepared, encoded, trained[CHOOSING])
        _export(this, prepared)
    return _finished(this)


def ingest(
    project: str, overrides: list[str] | None = None, workspace: str | None = None, accept_schema: bool = False
) -> Figures:
    """Sources to tables, into Neo4j and out again as a snapshot."""
    with opened(project, overrides or [], "ingest", workspace) as this:
        _prepare(this, accept_schema=accept_schema)
    return _finished(this)


def replay(project: str, overrides: list[str] | None = None, workspace: str | None = None, *, file: str) -> Figures:
    """Keep the corrections in a file, and ingest with them."""
    with opened(project, overrides or [], "quarantine replay", workspace) as this:
        mend(this, Path(file))
        _prepare(this)
    return _finished(this)


def embed(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Encode, choose the epochs on each user's last events, refit on all rows, write the vectors to Neo4j."""
    with opened(project, overrides or [], "embed", workspace) as this:
        prepared = _prepare(this)
        encoded, trained = _train(this, prepared, [CHOOSING])
        _publish(this, prepared, encoded, trained[CHOOSING])
    return _finished(this)


def ablate(
    project: str, overrides: list[str] | None = None, workspace: str | None = None, *, seeds: int = 1
) -> Figures:
    """Table each view and fusion on validation; once there is a snapshot Neo4j is not needed."""
    with opened(project, overrides or [], "embed --ablate", workspace) as this:
        prepared = _prepare(this, only_read=True)
        encoded, trained = _train(this, prepared, [CHOOSING])
        step(compare.ablate, this, prepared.graph, prepared.cuts, encoded, trained[CHOOSING], seeds=seeds)
    return _finished(this)


def refresh(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Ingest, and give what changed its vectors by the model in service, as a new version; nothing is learned."""
    with opened(project, overrides or [], "embed --refresh", workspace) as this:
        chosen, before = renew.refreshable(this)
        prepared = _prepare(this)
        encoded = step(learn.encode, this, prepared.graph)
        embeddings = step(renew.refresh, this, prepared.tables, prepared.graph, encoded, chosen=chosen, before=before)
        network_step(release.publish, this, prepared.graph, chosen, embeddings)
    return _finished(this)


def evaluate(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Measure on both cuts; once there is a snapshot Neo4j is not needed."""
    with opened(project, overrides or [], "evaluate", workspace) as this:
        prepared = _prepare(this, only_read=True)
        _, trained = _train(this, prepared, list(CUTS))
        step(rank.evaluate, this, prepared.graph, prepared.cuts, trained)
    return _finished(this)


def recommend(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Export the recommendations of the vectors that are published; nothing is learned."""
    with opened(project, overrides or [], "recommend", workspace) as this:
        _export(this, _Prepared(this.output("tables"), this.output("cuts"), sound_snapshot(this)))
    return _finished(this)


def _prepare(this: Run, *, only_read: bool = False, accept_schema: bool = False) -> _Prepared:
    """With `only_read`, Neo4j is left alone where a snapshot of these tables is there already."""
    tables = step(prepare.make_tables, this)
    cuts = step(prepare.make_cuts, this, tables)
    if not (only_read and has_snapshot(this, tables)):
        network_step(prepare.load_graph, this, tables, accept_schema=accept_schema)
    return _Prepared(tables, cuts, network_step(export_graph, this, tables))


def _train(this: Run, prepared: _Prepared, names: list[CutName]) -> tuple[Output, dict[CutName, Output]]:
    encoded = step(learn.encode, this, prepared.graph)
    trained = {name: step(learn.train, this, prepared.graph, prepared.cuts, encoded, name) for name in names}
    return encoded, trained


def _publish(this: Run, prepared: _Prepared, encoded: Output, chosen: Output) -> None:
    embeddings = step(learn.refit, this, prepared.tables, prepared.graph, encoded, chosen)
    network_step(release.publish, this, prepared.graph, chosen, embeddings)


def _export(this: Run, prepared: _Prepared) -> None:
    chosen, embeddings = release.in_service(this)
    network_step(rank.export, this, prepared.tables, prepared.graph, chosen, embeddings)


def _finished(this: Run) -> Figures:
    """Leave the figures with Prefect, and return them."""
    figures = this.report.content
    artifact(f"crossgraph-{this.project.name}", markdown(figures))
    return figures
