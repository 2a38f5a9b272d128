"""From sources to the graph in Neo4j and out again as a snapshot: stages `tables`, `cuts`, `loaded` and `graph`."""

import glob
import logging
from pathlib import Path

from pyarrow import fs

from flows.progress import by_table, steps
from flows.tasks import Run
from kg.errors import SourceError
from kg.project import Graph, Source
from kg.store import Store
from kg.tables import Draft, Output, file_fingerprint, fingerprint

LOG = logging.getLogger("crossgraph")
LOADED = ("nodes/", "relationships/", "features/")
EXPORT = ["kg.export"]


def make_tables(run: Run) -> Output:
    """Clean, map, resolve and account for every row; Spark runs only where something changed."""
    graph = run.graph
    inputs = [graph.model_dump(mode="json", exclude={"split"}), source_fingerprints(graph)]
    output = run.stage("tables", inputs, ["kg.clean"], lambda draft: _ingest(run, graph, draft))
    for name, account in output.manifest.figures["sources"].items():
        counts = ", ".join(f"{account[k]} {k}" for k in ("accepted", "duplicate", "filtered", "quarantined", "coerced"))
        LOG.info("source %s: %s rows = %s", name, account["rows"], counts)
    for part, reason in output.manifest.figures["left_out"].items():
        LOG.info("%s left out: %s", part, reason)
    return output


def _ingest(run: Run, graph: Graph, draft: Draft) -> None:
    from kg.clean import ingest as clean
    from kg.spark import session

    settings = run.settings
    run.start_neo4j()
    with (
        steps("ingest") as progress,
        session(
            run.java,
            run.jars.spark,
            master=settings.spark.master,
            memory=f"{settings.split.spark}m",
            conf=settings.spark.conf,
            java_options=settings.java_options,
        ) as spark,
    ):
        clean(graph, spark, draft, progress)


def source_fingerprints(graph: Graph) -> dict[str, str | None]:
    """A digest of each source's contents; `SourceError` names every source that is not there."""
    found: dict[str, str | None] = {}
    missing = []
    for name, source in graph.sources.items():
        try:
            found[name] = _source_fingerprint(source)
        except FileNotFoundError:
            missing.append(f"source {name}: nothing to read at {source.path}; check its `path` or set it to null")
    if missing:
        raise SourceError("\n".join(missing))
    return found


def _source_fingerprint(source: Source) -> str | None:
    if source.path is None:
        return None
    if "://" in source.path:
        return _remote_fingerprint(source.path)
    matches = sorted(Path(p) for p in glob.glob(source.path, recursive=True))
    if Path(source.path).exists():
        matches = [Path(source.path)]
    if not matches:
        raise FileNotFoundError(source.path)
    return fingerprint([file_fingerprint(path) for path in matches])


def _remote_fingerprint(uri: str) -> str:
    """Of what cannot be read twice cheaply: names, sizes and times."""
    filesystem, path = fs.FileSystem.from_uri(uri)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(uri)
    infos = [info] if info.is_file else filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    return fingerprint(sorted((i.path, i.size, str(i.mtime)) for i in infos if i.is_file))


def make_cuts(run: Run, tables: Output) -> Output:
    """Decide which event is learned from and which is predicted, before anything is learned."""
    from kg.split import write_cuts

    graph = run.graph
    inputs = [tables.manifest.fingerprint, graph.model_dump(mode="json", include={"split", "relationships"})]
    return run.stage("cuts", inputs, ["kg.split"], lambda draft: write_cuts(tables, graph, draft))


def load_graph(run: Run, tables: Output) -> Output:
    """Make the graph in Neo4j equal to the tables; a database that does not hold them is loaded again."""
    from kg.load import load

    totals = {name: rows for name, rows in tables.manifest.tables.items() if name.startswith(LOADED)}
    with Store(run.connection) as store:
        store.claim(run.project.name)

        def make(draft: Draft) -> None:
            with by_table("load", totals) as progress:
                load(store, tables, draft, run.project.name, progress)
            run.report.did(rows_written=draft.figures["written"])

        return run.stage(
            "loaded", [tables.manifest.fingerprint], ["kg.load"], make, valid=lambda found: _holds(store, tables, found)
        )


def _holds(store: Store, tables: Output, found: Output) -> bool:
    """Whether this is the database that was loaded, and as many nodes and relationships of ours are still there."""
    from kg import cypher
    from kg.schema import EdgeType

    if found.manifest.meta["database"] != store.database_id():
        return False
    nodes = {name: cypher.count_nodes(name.removeprefix("nodes/")) for name in tables.tables("nodes/")}
    edges = {
        name: cypher.count_relationships(EdgeType.parse(name.removeprefix("relationships/")), False)
        for name in tables.tables("relationships/")
    }
    return all(store.value(query) == tables.manifest.tables[name] for name, query in {**nodes, **edges}.items())


def export_graph(run: Run, tables: Output) -> Output:
    """The snapshot that is learned from, read from Neo4j."""
    from kg.export import export

    def make(draft: Draft) -> None:
        with Store(run.connection) as store, by_table("export", tables.manifest.tables) as progress:
            export(store, tables, draft, None, progress)

    return run.stage("graph", [tables.manifest.fingerprint], EXPORT, make)


def has_snapshot(run: Run, tables: Output) -> bool:
    """Whether the tables have been loaded and exported already, so that Neo4j is not needed to learn from them."""
    return run.found("graph", [tables.manifest.fingerprint], EXPORT) is not None
