"""The flows as Prefect flows, for the command and for deployments (`prefect.yaml`).

Prefect's result caching stays off: the manifests of the workspace decide what is skipped.
"""

from typing import Any

from prefect import flow

from flows import pipeline

Figures = dict[str, Any]


@flow(name="crossgraph-run", persist_result=False)
def run(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """The whole way: ingest, evaluate, refit, publish, recommend."""
    return pipeline.run(project, overrides, workspace)


@flow(name="crossgraph-ingest", persist_result=False)
def ingest(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Sources to tables, into Neo4j and out again as a snapshot."""
    return pipeline.ingest(project, overrides, workspace)


@flow(name="crossgraph-embed", persist_result=False)
def embed(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Learn embeddings and write them to Neo4j."""
    return pipeline.embed(project, overrides, workspace)


@flow(name="crossgraph-evaluate", persist_result=False)
def evaluate(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Measure on both cuts beside the baselines."""
    return pipeline.evaluate(project, overrides, workspace)


@flow(name="crossgraph-recommend", persist_result=False)
def recommend(project: str, overrides: list[str] | None = None, workspace: str | None = None) -> Figures:
    """Export the top items of every user."""
    return pipeline.recommend(project, overrides, workspace)
