"""Which vectors readers see: the stage `published`, what is checked before it, and the way back.

Its newest output says what is in service, after a rollback too. What it was made of is named in its manifest
(`made_of`: stages and their fingerprints) and stays in the workspace for as long as Neo4j may hold that version.
"""

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flows.embed import CHOOSING, RANKER, TRAINED
from flows.progress import by_table
from flows.servers import graph_store
from flows.tasks import Run, locked
from flows.vectors import read_vectors, to_tables
from kg.errors import ConfigError, QualityError, StoreError
from kg.events import catalogue
from kg.interactions import Catalogue
from kg.store import Store
from kg.tables import Draft, Output, fingerprint
from kg.vectors import matrix
from kg.versions import Rollback, current_version, read_current
from kg.versions import rollback as go_back

if TYPE_CHECKING:
    from embed.config import Health
    from embed.drift import Drift
    from embed.infer import Embeddings

LOG = logging.getLogger("crossgraph")
STAGE: Final = "published"
VALIDATION = "validation"
"""The pointer's property with the evaluated model's figure, which the next version is held against."""


def publish(run: Run, graph: Output, chosen: Output, embeddings: Output) -> Output:
    """Write the vectors to Neo4j as one version with its provenance, and the small ranker beside the pointer.

    `QualityError` for vectors that the project's `embed.health` holds back, before anything is written. A version that
    the user went back from stays where it is until there is another.
    """
    inputs = [embeddings.manifest.fingerprint, chosen.manifest.fingerprint]
    version = version_of(chosen, embeddings)
    with Store(run.connection) as store:
        now = current_version(store) or {}

        def make(draft: Draft) -> None:
            nodes = catalogue(graph)
            vectors = read_vectors(embeddings, nodes)
            drift = _drift(store, now, chosen, vectors, nodes)
            _require_health(run.embed_config.health, draft, embeddings.manifest.figures["health"], vectors.dim, drift)
            _write(run, store, graph, chosen, embeddings, vectors, draft)

        if now.get("instead_of") == version:
            return _kept(run, store, now)
        modules = ["kg.write_back", "recommend.query", "embed.health", "embed.drift"]
        same = (store.database_id(), now.get("version"))
        return run.stage(
            STAGE, inputs, modules, make, valid=lambda found: (found.manifest.meta["database"], version) == same
        )


def version_of(chosen: Output, embeddings: Output) -> str:
    """The name of the version that these outputs make."""
    return fingerprint(embeddings.manifest.fingerprint, chosen.manifest.fingerprint)


def in_service(run: Run) -> tuple[Output, Output]:
    """The evaluated model and the embeddings of the version that readers see; `ConfigError` where they are gone.

    That is what the newest record says: vectors that were held back, or that a user went back from, are not in service.
    """
    manifest = run.output(STAGE).manifest
    made_of = manifest.meta.get("made_of", {})
    found = []
    for name in (TRAINED[CHOOSING], "embeddings"):
        outputs = [o for o in run.workspace.stage(name).outputs() if o.manifest.fingerprint == made_of.get(name)]
        if not outputs:
            raise ConfigError(
                f"{run.location} holds no {name} any more of version {manifest.meta['version']}, which is published: "
                f"`crossgraph run {run.project.name}` makes a new one, `crossgraph embed --rollback` undoes a rollback"
            )
        found.append(outputs[-1])
    return found[0], found[1]


def would_publish(published: Output | None, version: str) -> bool:
    """Whether a run would write this version, judging by the workspace alone."""
    meta = published.manifest.meta if published else {}
    return version not in (meta.get("version"), meta.get("instead_of"))


def rollback(run: Run) -> Rollback:
    """Let readers see the version before the current one again; `StoreError` when there is none, or it is not whole.

    A run that makes the version that was left leaves it unpublished. Called again, all is as it was.
    """
    with locked(run), graph_store(run.settings, run.project.name) as store:
        if store is None or not store.check_project(run.project.name):
            raise StoreError(f"{run.project.name} has no graph yet: run `crossgraph run {run.project.name}` first")
        done = go_back(store)
        _record(run, store, current_version(store) or {})
        return done


def _require_health(
    limits: "Health", draft: Draft, figures: dict[str, dict[str, float]], width: int, drift: "Drift | None"
) -> None:
    from embed import drift as change
    from embed import health

    found = health.problems(figures, width, limits)
    found += change.problems(drift, limits) if drift else []
    draft.figures |= {"drift": drift.to_dict() if drift else None, "problems": [problem.text for problem in found]}
    if found:
        stays = f"version {drift.since} stays" if drift else "none are there yet"
        settings = " ".join(f"--set embed.health.{name}=…" for name in dict.fromkeys(p.setting for p in found))
        raise QualityError(
            f"the new vectors were not published, {stays}: {'; '.join(problem.text for problem in found)}. "
            f"Mend what they were made of, or publish them all the same by {settings}"
        )


def _drift(
    store: Store, now: dict[str, Any], chosen: Output, vectors: "Embeddings", nodes: Catalogue
) -> "Drift | None":
    """The new vectors beside what Neo4j has now, by key, in a seeded sample of the items; None for the first."""
    from embed.drift import measure
    from embed.health import POOL, sample

    if not now:
        return None
    rows = sample(np.flatnonzero(vectors.item_masks["z"]), POOL)
    before: dict[int, np.ndarray] = {}
    for label, ids in nodes.items.items():
        first = nodes.offsets[label]
        mine = rows[(rows >= first) & (rows < first + len(ids))]
        held = read_current(store, label, ids.decode(mine - first))
        if len(held):
            before |= dict(zip((first + ids.encode(held["key"])).tolist(), matrix(held["z"]), strict=True))
    both = sorted(before)
    old = np.stack([before[row] for row in both]) if both else np.zeros((0, vectors.dim), np.float32)
    return measure(now["version"], old, vectors.items["z"][both], _validation(chosen), now.get(VALIDATION))


def _validation(chosen: Output) -> float:
    """What the kept epoch of the evaluated model reached on the validation part."""
    history = chosen.manifest.figures["history"]
    return float(history["metrics"][history["best_epoch"] - 1])


def _write(
    run: Run, store: Store, graph: Output, chosen: Output, embeddings: Output, vectors: "Embeddings", draft: Draft
) -> None:
    from kg.write_back import Provenance, write_back

    nodes, made = catalogue(graph), embeddings.manifest
    provenance = Provenance(
        version=version_of(chosen, embeddings),
        model=made.meta["model"],
        weights=made.meta["weights"],
        input=graph.manifest.fingerprint,
        run=run.report.run_id,
        created=made.created,
    )
    tables = to_tables(vectors, nodes)
    extra = {**_pointer(chosen, graph), VALIDATION: _validation(chosen)}
    with by_table("write back", {label: 4 * len(table) for label, table in tables.items()}) as progress:
        write_back(store, tables, provenance, draft, extra, progress)
    made_of = {TRAINED[CHOOSING]: chosen.manifest.fingerprint, "embeddings": made.fingerprint}
    draft.meta |= {"database": store.database_id(), "made_of": made_of}
    run.report.did(vectors_written=draft.figures["written"])


def _pointer(chosen: Output, graph: Output) -> dict[str, str]:
    """What the online side reads beside the vectors: the small ranker that `Recommender.save` wrote, and names."""
    from recommend.model import load_online
    from recommend.query import pointer

    ranker = load_online(chosen.filesystem, chosen.location(RANKER))
    return pointer(catalogue(graph), ranker, graph.manifest.meta["edges"])


def _kept(run: Run, store: Store, now: dict[str, Any]) -> Output:
    """The record of the version that the user went back to; written here where the rollback was killed before."""
    last = run.workspace.stage(STAGE).current()
    if last is None or last.manifest.meta["version"] != now["version"]:
        last = _record(run, store, now)
    LOG.warning(
        "version %s was rolled back and is not published again: %s stays until there is a new one, "
        "or until `crossgraph embed --rollback` undoes it",
        now["instead_of"],
        now["version"],
    )
    run.report.stage(STAGE, last, skipped=True)
    return last


def _record(run: Run, store: Store, now: dict[str, Any]) -> Output:
    """Make the newest output of the stage tell of the current version, which was brought back."""
    stage, version = run.workspace.stage(STAGE), now["version"]
    known = [output.manifest for output in stage.outputs() if output.manifest.meta["version"] == version]
    made = known[-1].fingerprint if known else fingerprint(version)
    with stage.create(made) as draft:
        if known:
            draft.figures, draft.meta = dict(known[-1].figures), dict(known[-1].meta)
        mark = {"instead_of": now.get("instead_of")}
        draft.figures |= mark
        draft.meta |= {"version": version, "database": store.database_id(), **mark}
    found = stage.find(made)
    assert found is not None
    return found
