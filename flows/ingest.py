"""From sources to the graph in Neo4j: stages `tables`, `cuts` and `loaded`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from flows.first_load import first_load
from flows.progress import by_table, steps
from flows.tasks import Run
from kg.corrections import corrections_fingerprints, read_corrections
from kg.errors import ConfigError, QuarantineError
from kg.existing_land import land_existing
from kg.forgotten import Forgotten
from kg.landing import Landing
from kg.project import Graph
from kg.source_fingerprint import source_fingerprints
from kg.store import Store
from kg.tables import Draft, Output

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from kg.resolve_records import Encode

LOG = logging.getLogger("crossgraph")
LOADED = ("nodes/", "relationships/", "features/")
LOAD = ["kg.load", "kg.bulk"]


def make_tables(run: Run) -> Output:
    """Clean, map, resolve and account for every row; Spark runs only where something changed, or to read a database."""
    graph, landing, forgotten = run.graph, run.landing, Forgotten.read(run.workspace)
    with steps("ingest") as progress, _spark(run) as spark:
        _land(run, landing, spark, progress)

        def make(draft: Draft) -> None:
            from kg.clean import ingest

            encode = _encode(run, graph)
            corrections = {name: list(read_corrections(run.workspace, name).values()) for name in graph.sources}
            try:
                ingest(
                    graph,
                    spark(),
                    draft,
                    progress,
                    landing=landing,
                    encode=encode,
                    forgotten=forgotten,
                    corrections=corrections,
                )
            except QuarantineError:
                run.keep_refused(draft)
                raise

        output = run.stage("tables", *_inputs(run, graph, landing, forgotten), make)
    for name, account in output.manifest.figures["sources"].items():
        counts = ", ".join(f"{account[k]} {k}" for k in ("accepted", "duplicate", "filtered", "quarantined", "coerced"))
        LOG.info("source %s: %s rows = %s", name, account["rows"], counts)
    for name, became in output.manifest.figures["corrections"].items():
        LOG.info("source %s: corrections: %s", name, ", ".join(f"{count} {of}" for of, count in became.items()))
    for part, reason in output.manifest.figures["left_out"].items():
        LOG.info("%s left out: %s", part, reason)
    return output


def _inputs(run: Run, graph: Graph, landing: Landing, forgotten: Forgotten) -> tuple[list[object], list[str]]:
    """What the tables are made from, and the modules that make them."""
    fingerprints = source_fingerprints(graph.sources, landing)
    inputs: list[object] = [graph.model_dump(mode="json", exclude={"split"}), fingerprints]
    inputs.append(corrections_fingerprints(run.workspace, graph.sources))
    code = ["kg.clean"]
    if graph.cosine and run.embed_config.text:
        inputs.append(run.embed_config.text.model_dump())
        code.append("flows.encoding")
    return inputs + ([forgotten.fingerprint] if forgotten else []), code


def _land(run: Run, landing: Landing, spark: Callable[[], "SparkSession"], progress: Callable[[str], None]) -> None:
    """Bring into the workspace what databases, APIs, sources that append and the user's graph hold by now."""
    sources = run.delivering
    if not any(source.place is not None and source.lands for source in sources.values()):
        return
    from kg.land import land

    with run.report.timed("landing"):
        new = land(sources, landing, run.settings.credentials, spark, progress)
        if run.graph.has_existing and (connection := run.existing_connection):
            with Store(connection) as store:
                store.check_project(run.project.name)
                new |= land_existing(store, run.graph, landing, progress)
    run.report.content["landed"] = new
    for name, count in new.items():
        what = {"jdbc": "rows", "http": "pages", "neo4j": "rows"}.get(sources[name].format, "files")
        LOG.info("source %s: %s new %s landed", name, count, what)


@contextmanager
def _spark(run: Run) -> Iterator[Callable[[], "SparkSession"]]:
    """Gives what starts Spark when it is called first; it is stopped when the block ends."""
    settings = run.settings
    with ExitStack() as stack:

        @cache
        def started() -> "SparkSession":
            from kg.spark import session

            run.start_neo4j()
            opened = session(
                run.java,
                run.jars.spark,
                master=settings.spark.master,
                memory=f"{settings.split.spark}m",
                conf=settings.spark.conf,
                java_options=settings.java_options,
            )
            return stack.enter_context(opened)

        yield started


def _encode(run: Run, graph: Graph) -> "Encode | None":
    """The text encoder, where resolution compares by cosine and the project has one."""
    if not (graph.cosine and run.embed_config.text):
        return None
    from flows.encoding import text_encoder

    return text_encoder(run.embed_config.text, run.embed_config.device)


def make_cuts(run: Run, tables: Output) -> Output:
    """Decide which event is learned from and which is predicted, before anything is learned."""
    from kg.split import write_cuts

    graph = run.graph
    inputs = [tables.manifest.fingerprint, graph.model_dump(mode="json", include={"split", "relationships"})]
    return run.stage("cuts", inputs, ["kg.split"], lambda draft: write_cuts(tables, graph, draft))


def load_graph(run: Run, tables: Output, *, accept_schema: bool = False) -> Output:
    """Make the graph in Neo4j equal to the tables; a database that does not hold them is loaded again."""
    from kg.load import Options, holds_load, load

    totals = {name: rows for name, rows in tables.manifest.tables.items() if name.startswith(LOADED)}
    options = Options(accept_schema=accept_schema, hops=run.embed_config.graph.hops + 1)

    def make(draft: Draft) -> None:
        before = run.workspace.stage("loaded").current()
        with by_table("load", totals) as progress:
            if first_load(run, tables, draft, progress, options.hops):
                draft.figures["how"] = "bulk"
            else:
                with Store(run.connection) as store:
                    load(store, tables, draft, run.project.name, progress, before=before, options=options)
                draft.figures["how"] = "online"
        run.report.did(rows_written=draft.figures["written"])

    def holds(found: Output) -> bool:
        with Store(run.connection) as store:
            store.check_project(run.project.name)
            return holds_load(store, found)

    return run.stage("loaded", [tables.manifest.fingerprint], LOAD, make, valid=holds)


def loaded_graph(run: Run, tables: Output) -> Output:
    """What says that these tables were loaded; `ConfigError` where they were not, or by other code."""
    if found := run.found("loaded", [tables.manifest.fingerprint], LOAD):
        return found
    raise ConfigError(f"{run.location}: the newest tables are not loaded yet: run `crossgraph ingest` first")
