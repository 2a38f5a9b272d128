"""One Spark session for all tests of this package, a way to ingest a small project, and a graph to publish in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from kg.clean import ingest
from kg.jars import Jars
from kg.java import Java
from kg.load import load
from kg.project import Graph
from kg.server_home import Connection
from kg.spark import session
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from kg.write_back import Provenance, write_back
from tests.kg.published import FIRST, Figures, Publish
from tests.kg.small_graph import tables


@pytest.fixture(scope="session")
def spark(java: Java, jars: Jars, java_options: str) -> Iterator[SparkSession]:
    """A real session with GraphFrames."""
    with session(java, jars.spark, memory="1g", java_options=java_options) as started:
        yield started


@pytest.fixture(scope="session")
def ingested(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Output]:
    """Write files (name to text), ingest the graph that is described over them, and give its output."""

    def run(files: dict[str, str], graph: dict[str, object], **more: Any) -> Output:
        folder = tmp_path_factory.mktemp("ingest")
        for name, text in files.items():
            (folder / name).write_text(text)
        return run_in(folder, graph, spark, **more)

    return run


def run_in(folder: Path, graph: dict[str, object], spark: SparkSession, **more: Any) -> Output:
    """Ingest a graph whose sources lie in a folder; `more` goes to `kg.clean.ingest`."""
    described = Graph.model_validate(graph)
    sources = {
        name: source.model_copy(update={"path": str(folder / source.path) if source.path else None})
        for name, source in described.sources.items()
    }
    stage = Workspace(folder / "run").stage("tables")
    with stage.create("test") as draft:
        ingest(described.model_copy(update={"sources": sources}), spark, draft, **more)
    output = stage.current()
    assert output is not None
    return output


@pytest.fixture
def loaded(clean_connection: Connection, tmp_path: Path) -> Connection:
    """A Neo4j with the small graph."""
    output = tables(tmp_path)
    with Store(clean_connection) as store:
        load(store, output, Draft(output.filesystem, output.path), "small")
    return clean_connection


@pytest.fixture
def publish(loaded: Connection, tmp_path: Path) -> Publish:
    """Publish vectors in it; gives the draft's figures."""

    def run(vectors: dict[str, pa.Table], provenance: Provenance = FIRST, extra: Figures | None = None) -> Figures:
        draft = Draft(tables(tmp_path).filesystem, str(tmp_path))
        with Store(loaded) as store:
            write_back(store, vectors, provenance, draft, extra)
        return draft.figures

    return run
