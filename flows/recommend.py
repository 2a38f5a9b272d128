"""From vectors to recommendations: stages `evaluation` and `recommendations`, and answers for one user."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from flows.embed import CHOOSING, RANKER
from flows.progress import by_table
from flows.project import load_project
from flows.settings import load_settings
from flows.tasks import Run
from flows.vectors import read_vectors
from kg.errors import ConfigError
from kg.events import all_events, catalogue, read_cut
from kg.interactions import Interactions
from kg.split import CutName
from kg.store import Store
from kg.tables import Draft, Output
from recommend.report import BASELINES, Report, require

if TYPE_CHECKING:
    from embed.infer import Embeddings
    from recommend.model import Recommender
    from recommend.query import Answer


def evaluate(run: Run, graph: Output, cuts: Output, trained: dict[CutName, Output]) -> Output:
    """Measure what was trained on each cut on its test part, beside the baselines; Neo4j is not touched."""
    inputs = [
        [output.manifest.fingerprint for output in (graph, cuts, *trained.values())],
        run.project.recommend.model_dump(exclude={"domains", "write_relationships"}),
    ]

    def make(draft: Draft) -> None:
        from recommend.evaluate import evaluate as measure

        nodes = catalogue(graph)
        for name, output in trained.items():
            cut = read_cut(cuts, name, graph)
            known = Interactions.concat([cut.train, cut.valid])
            recommender = _recommender(run, graph, output, read_vectors(output, nodes), known)
            draft.figures[name] = measure(recommender, cut, seed=run.embed_config.seed).to_dict()

    return run.stage("evaluation", inputs, ["recommend.evaluate", "recommend.model"], make)


def _recommender(
    run: Run, graph: Output, trained: Output, embeddings: "Embeddings", events: Interactions
) -> "Recommender":
    """The ranker of a cut over these vectors and events."""
    from recommend.attributes import read_attributes
    from recommend.model import load

    nodes = catalogue(graph)
    return load(
        trained.filesystem,
        trained.location(RANKER),
        nodes,
        embeddings,
        events,
        read_attributes(graph, nodes),
        run.torch_device,
    )


def export(run: Run, tables: Output, graph: Output, trained: Output, embeddings: Output) -> Output:
    """The best items of every user by target domain, as Parquet and CSV; as relationships where the project asks."""
    config = run.project.recommend
    inputs = [
        [output.manifest.fingerprint for output in (tables, graph, trained, embeddings)],
        config.model_dump(include={"top_n", "domains", "exclude_seen", "write_relationships"}),
    ]

    def make(draft: Draft) -> None:
        from recommend.export import export as write

        nodes = catalogue(graph)
        vectors = read_vectors(embeddings, nodes)
        recommender = _recommender(run, graph, trained, vectors, all_events(tables, graph))
        recommender = replace(recommender, config=config)
        version = embeddings.manifest.fingerprint
        draft.figures["recommendations"] = write(
            recommender, draft, f"{embeddings.manifest.meta['model']}-{version[:8]}"
        )
        if config.write_relationships:
            _relate(run, graph, draft, version)

    return run.stage("recommendations", inputs, ["recommend.export", "recommend.model"], make)


def _relate(run: Run, graph: Output, draft: Draft, version: str) -> None:
    from kg.write_back import write_recommendations
    from recommend.export import TABLE

    rows = ds.dataset(draft.location(TABLE), filesystem=draft.filesystem, format="parquet").to_table()
    with Store(run.connection) as store, by_table("recommendations", {TABLE: rows.num_rows}) as progress:
        write_recommendations(store, rows, graph.manifest.meta["labels"], version, draft, progress)
    run.report.did(recommendations_written=draft.figures["written"])


def required(text: str) -> list[str]:
    """The names in a comma-separated list of baselines; `ConfigError` for one that is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in BASELINES]:
        raise ConfigError(f"--require {','.join(unknown)}: expected some of {', '.join(BASELINES)}")
    return names


def check_required(figures: dict[str, Any], names: list[str]) -> None:
    """`QualityError` unless ours beats the named baselines on NDCG@10 on each user's last events."""
    require(Report.from_dict(figures["stages"]["evaluation"]["figures"][CHOOSING]), names)


def ask(project: str, user: str, overrides: list[str], *, domain: str | None = None, top: int = 10) -> "list[Answer]":
    """The best items of one user, from Neo4j alone."""
    from recommend.query import recommend_for

    run = Run(load_project(project, overrides), load_settings(), "query")
    domains = sorted({str(node.domain) for node in run.project.nodes.values() if node.domain})
    if domain is not None and domain not in domains:
        raise ConfigError(f"--domain {domain}: expected one of {', '.join(domains)}")
    with Store(run.connection) as store:
        return recommend_for(store, _kept_key(run, user), domain, top)


def _kept_key(run: Run, user: str) -> str:
    """The key under which a user that was merged into another one is known."""
    tables = run.workspace.stage("tables").current()
    table = f"aliases/{run.graph.user_label}"
    if tables is None or table not in tables.manifest.tables:
        return user
    found = tables.scan(table).to_table(filter=ds.field("alias") == user)["key"].to_pylist()
    return str(found[0]) if found else user
