"""`crossgraph embed --refresh`: new vectors of what a changed ingest reaches, by the model that is in service."""

import logging
from dataclasses import asdict

from flows.embed import MODEL, keep_vectors, made_from
from flows.publish import in_service
from flows.tasks import Run
from flows.vectors import has_space, read_space, read_vectors
from kg.errors import ConfigError
from kg.events import all_events, catalogue
from kg.tables import Draft, Output

LOG = logging.getLogger("crossgraph")


def refreshable(run: Run) -> tuple[Output, Output]:
    """The evaluated model and the embeddings of the version in service.

    `ConfigError`, which says what to run, where there are none, or where encoders learn from the catalogue: they would
    learn anew from a changed one, and the model knows the old ones alone.
    """
    train = f"`crossgraph run {run.project.name}`"
    if run.embed_config.learns_encoders:
        raise ConfigError(f"embed.text.adapt and embed.image.clip are learned from the catalogue: {train} does it anew")
    chosen, embeddings = in_service(run)
    if not has_space(embeddings):
        raise ConfigError(f"the vectors in service were made before any could be refreshed: {train} makes new ones")
    return chosen, embeddings


def refresh(run: Run, tables: Output, graph: Output, encoded: Output, chosen: Output, before: Output) -> Output:
    """The vectors of `before` on new data, those that a change reaches computed anew; itself where nothing changed."""
    made = made_from(tables, graph, encoded)
    if before.manifest.meta["inputs"] == made["inputs"]:
        LOG.info("embeddings: nothing has changed since these vectors were made")
        run.report.stage("embeddings", before, skipped=True)
        return before
    _require_encoders(run, before, made["encoders"])

    def make(draft: Draft) -> None:
        from embed.cache import read_views
        from embed.checkpoint import load
        from embed.health import examine, require_sound
        from embed.refresh import refresh as renew
        from embed.snapshot import Snapshot

        nodes, events, snapshot = catalogue(graph), all_events(tables, graph), Snapshot.read(graph)
        views, model = read_views(encoded, snapshot), before.location(MODEL)
        trained = load(before.filesystem, model, snapshot, views, nodes, run.torch_device)
        rotation, seen = read_space(before)
        found = renew(trained, events, read_vectors(before, nodes), seen, rotation)
        require_sound(found.embeddings)
        keep_vectors(draft, trained, found.embeddings, rotation, found.seen)
        draft.figures |= {"health": examine(found.embeddings, events), "refreshed": asdict(found.figures)}
        draft.meta |= made | {name: before.manifest.meta[name] for name in ("weights", "model")}
        run.report.did(vectors_recomputed=found.figures.recomputed)

    inputs = ["refresh", made["inputs"], before.manifest.fingerprint, chosen.manifest.fingerprint]
    output = run.stage(
        "embeddings", inputs, ["embed.refresh", "embed.checkpoint", "embed.health", "flows.vectors"], make
    )
    _tell(output)
    return output


def _require_encoders(run: Run, before: Output, now: dict[str, dict[str, str]]) -> None:
    """`ConfigError` where texts or pictures are encoded by another model than the vectors in service know."""
    for view, model in before.manifest.meta["encoders"].items():
        if view in now and now[view]["fingerprint"] != model["fingerprint"]:
            raise ConfigError(
                f"embed.{view} encodes by {now[view]['model']!r} as it is now, the model in service knows what "
                f"{model['model']!r} was: `crossgraph run {run.project.name}` trains a new one"
            )


def _tell(output: Output) -> None:
    figures = output.manifest.figures["refreshed"]
    LOG.info(
        "embeddings: %s of %s users and items computed anew, %s of them new, from %s of %s nodes",
        *(figures[name] for name in ("recomputed", "of", "new", "looked_at", "of_nodes")),
    )
    if figures["weighed"]:
        LOG.info("embeddings: messages weigh relative to all others (edge_weights, half_life), so an event changes all")
    if figures["ignored"]:
        LOG.warning("embeddings: the model was trained without %s: ignored", ", ".join(figures["ignored"]))
