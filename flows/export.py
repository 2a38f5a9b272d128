"""The graph out of Neo4j: the snapshot that is learned from, and those that `crossgraph export` writes for others."""

import logging

from flows.progress import by_table
from flows.tasks import Run
from kg.errors import ContractError
from kg.selection import Selection
from kg.store import Store
from kg.tables import Draft, Output

LOG = logging.getLogger("crossgraph")
CODE = ["kg.export"]


def export_graph(run: Run, tables: Output) -> Output:
    """The snapshot that is learned from; one whose files are damaged is discarded, which is said, and read anew."""
    selection = run.project.export.resolved()

    def make(draft: Draft) -> None:
        from kg.export import export

        with Store(run.connection) as store, by_table("export", tables.manifest.tables) as progress:
            export(store, tables, draft, selection, progress)

    return run.stage("graph", _inputs(tables, selection), CODE, make, valid=lambda found: _intact(run, found))


def has_snapshot(run: Run, tables: Output) -> bool:
    """Whether the tables have been loaded and exported already, so that Neo4j is not needed to learn from them."""
    found = run.found("graph", _inputs(tables, run.project.export.resolved()), CODE)
    return found is not None and _intact(run, found)


def sound_snapshot(run: Run) -> Output:
    """The newest snapshot, whatever it was made of; `ContractError` where it is damaged."""
    found = run.output("graph")
    try:
        found.verify()
    except ContractError as error:
        raise ContractError(
            "graph", "the snapshot is damaged: `crossgraph ingest` makes it anew", str(error)
        ) from error
    return found


def _inputs(tables: Output, selection: Selection) -> list[object]:
    return [tables.manifest.fingerprint, selection.model_dump(mode="json")]


def _intact(run: Run, found: Output) -> bool:
    """Read all files of a snapshot, once a run: a gigabyte takes a second."""
    if found.path in run.verified:
        return True
    try:
        found.verify()
    except ContractError as error:
        LOG.warning("graph: the snapshot is damaged and made anew: %s", error)
        run.workspace.stage("graph").discard(found)
        return False
    run.verified.add(found.path)
    return True
