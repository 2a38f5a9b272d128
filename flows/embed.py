"""From the snapshot to vectors: stages `encoded`, `trained/<cut>` and `embeddings`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.pretrained import MODEL, Start, find_start
from flows.progress import counted
from flows.tasks import Run, StageName
from flows.torchrun import world
from flows.vectors import read_vectors, write_space, write_vectors
from kg.events import all_events, catalogue, read_cut
from kg.interactions import Interactions
from kg.split import CutName
from kg.tables import Draft, Output, file_fingerprint, fingerprint

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from embed.config import EmbedConfig
    from embed.infer import Embeddings
    from embed.inputs import Views
    from embed.train import Trained

RANKER = "ranker"
TRAINED: dict[CutName, StageName] = {"user_time": "trained/user_time", "global_time": "trained/global_time"}
CHOOSING: CutName = "user_time"
"""The cut whose validation chooses the epochs of the refit, and whose ranker is used online."""


def encode(run: Run, graph: Output) -> Output:
    """Encode the texts and images that the cache does not hold yet."""
    config = run.embed_config
    inputs = [
        graph.manifest.fingerprint,
        config.model_dump(include={"text", "image", *(["seed"] if config.learns_encoders else [])}),
        _pictures(graph),
    ]

    def make(draft: Draft) -> None:
        from embed.cache import encode_views
        from embed.snapshot import Snapshot

        with counted("encode") as bar:
            encode_views(
                Snapshot.read(graph), config, run.workspace, draft, lambda what, done, total: bar(done, total, what)
            )
        for view in ("text", "image"):
            labels = draft.figures[view].values()
            run.report.did(**{f"{view}s_encoded": sum(figures["encoded"] for figures in labels)})

    return run.stage("encoded", inputs, ["embed.cache"], make)


def _pictures(graph: Output) -> str:
    """A digest of all local pictures that nodes name: a changed file is encoded again."""
    found = []
    for table in graph.tables("nodes/"):
        for path in graph.read(table, ["image"])["image"].drop_null().to_pylist():
            if "://" not in path and Path(path).is_file():
                found.append((path, file_fingerprint(Path(path))))
    return fingerprint(sorted(found))


def train(run: Run, graph: Output, cuts: Output, encoded: Output, name: CutName) -> Output:
    """Fit the network and the ranker on one cut: learned on `train`, chosen on `valid`."""
    start = find_start(run)
    inputs = [
        [output.manifest.fingerprint for output in (graph, cuts, encoded)],
        run.embed_config.model_dump(exclude={"device", "health", "pretrained"}),
        start.fingerprint if start else None,
        run.project.recommend.model_dump(exclude={"top_n", "domains", "write_relationships", "resamples"}),
    ]
    return run.stage(
        TRAINED[name],
        inputs,
        ["embed.train", "embed.checkpoint", "recommend.model", "recommend.measure", "flows.vectors"],
        lambda draft: _train(run, graph, cuts, encoded, name, start, draft),
    )


def _train(
    run: Run, graph: Output, cuts: Output, encoded: Output, name: CutName, start: Start | None, draft: Draft
) -> None:
    from embed.checkpoint import save
    from recommend.attributes import read_attributes
    from recommend.measure import validation
    from recommend.model import fit_ranker

    nodes = catalogue(graph)
    cut = read_cut(cuts, name, graph)
    check = validation(nodes, cut.train, cut.valid)
    trained = _fit(run, graph, encoded, cut.train, start=start, validate=check, title=name)
    recommender = fit_ranker(
        nodes,
        trained.embed,
        cut.train,
        cut.valid,
        run.project.recommend,
        attributes=read_attributes(graph, nodes),
        seed=run.embed_config.seed,
        device=run.torch_device,
    )
    known = Interactions.concat([cut.train, cut.valid])
    write_vectors(draft, trained.embed(known), nodes)
    save(trained, draft.filesystem, draft.location(MODEL))
    recommender.save(draft.filesystem, draft.location(RANKER))
    draft.figures |= {"history": asdict(trained.history), "chosen": asdict(recommender.signals.chosen)}
    run.report.did(models_trained=1)


def _fit(
    run: Run,
    graph: Output,
    encoded: Output,
    events: Interactions,
    *,
    title: str,
    start: Start | None,
    validate: "Callable[[Embeddings], float] | None" = None,
    epochs: int | None = None,
) -> "Trained":
    from embed.cache import read_views
    from embed.snapshot import Snapshot
    from embed.train import fit

    snapshot = Snapshot.read(graph)
    views: Views = read_views(encoded, snapshot)
    pretrained = start.read(run.torch_device) if start else None
    with counted(f"train {title}") as bar:
        return fit(
            snapshot,
            views,
            catalogue(graph),
            events,
            run.embed_config,
            validate=validate,
            epochs=epochs,
            pretrained=pretrained,
            progress=bar,
            world=world(),
        )


def refit(run: Run, tables: Output, graph: Output, encoded: Output, chosen: Output) -> Output:
    """Learn from all events for as many epochs as validation chose, turned into the space that was evaluated."""
    epochs = int(chosen.manifest.figures["history"]["best_epoch"])
    start = find_start(run)
    inputs = [output.manifest.fingerprint for output in (tables, graph, encoded, chosen)]

    def make(draft: Draft) -> None:
        from embed.health import examine, require_sound
        from embed.infer import rotation_onto, turned
        from embed.ops import model_fingerprint
        from embed.seen import seen

        nodes = catalogue(graph)
        events = all_events(tables, graph)
        trained = _fit(run, graph, encoded, events, start=start, epochs=epochs, title="on all rows")
        given, inputs, rows = trained.seen(events)
        found = trained.embed_on(given, inputs)
        require_sound(found)
        draft.figures["health"] = examine(found, events)
        turn = rotation_onto(found, read_vectors(chosen, nodes))
        told = seen(given, inputs, rows, trained.snapshot, trained.network.shape)
        keep_vectors(draft, trained, turned(found, turn), turn, told)
        draft.meta |= {"weights": model_fingerprint(trained.network), "model": _name(run.embed_config)}
        draft.meta |= made_from(tables, graph, encoded)
        draft.figures |= {"history": asdict(trained.history), "epochs_chosen": epochs}
        run.report.did(models_trained=1)

    return run.stage(
        "embeddings",
        [*inputs, epochs, start.fingerprint if start else None],
        ["embed.train", "embed.checkpoint", "embed.health", "flows.vectors"],
        make,
    )


def keep_vectors(
    draft: Draft, trained: "Trained", found: "Embeddings", rotation: "np.ndarray", seen: "dict[str, pa.Table]"
) -> None:
    """Vectors with all that it takes to refresh them: the model, its rotation, and what it saw."""
    from embed.checkpoint import save

    write_vectors(draft, found, trained.catalogue)
    write_space(draft, rotation, seen)
    save(trained, draft.filesystem, draft.location(MODEL))


def made_from(tables: Output, graph: Output, encoded: Output) -> dict[str, dict[str, Any]]:
    """For an output's `meta`: fingerprints of what vectors tell of, and the encoders of its texts and pictures."""
    inputs = {"tables": tables, "graph": graph, "encoded": encoded}
    return {
        "inputs": {name: output.manifest.fingerprint for name, output in inputs.items()},
        "encoders": encoded.manifest.meta["models"],
    }


def _name(config: "EmbedConfig") -> str:
    views = [view for view, on in (("text", config.text), ("image", config.image)) if on]
    return "+".join([config.graph.model, *views, config.fusion])
