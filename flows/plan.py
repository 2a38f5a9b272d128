"""`crossgraph plan`: what a run would read, change, encode and train, and what it would take; nothing is touched."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import embed as learn
from flows import estimate
from flows import ingest as prepare
from flows import recommend as rank
from flows.embed import CHOOSING
from flows.export import export_graph
from flows.project import load_project
from flows.publish import in_service, version_of, would_publish
from flows.rehearsal import Rehearsal
from flows.settings import load_settings
from kg.errors import StoreError
from kg.landing import Landing
from kg.load import holds_load
from kg.load_state import State
from kg.plan import Change, changes, size_of
from kg.selection import choose
from kg.split import CUTS
from kg.store import Store
from kg.tables import Output
from kg.vectors import content_hash

if TYPE_CHECKING:
    from embed.image import ImageEncoder
    from embed.text import TextEncoder

Figures = dict[str, Any]
MODELS = ("trained/user_time", "trained/global_time", "embeddings")


def plan(project: str, overrides: list[str], workspace: str | None = None) -> Figures:
    """What `crossgraph run` would do now; errors are those of the run itself, as far as they show before it writes."""
    with tempfile.TemporaryDirectory(prefix="crossgraph-plan-") as scratch:
        this = Rehearsal(load_project(project, overrides), load_settings(), workspace, Path(scratch))
        notes: list[str] = []
        if this.graph.has_existing and not any(source.place for source in this.graph.sources.values()):
            raise StoreError(
                "Neo4j does not run, and all that the project reads is in it: `crossgraph neo4j start`, then plan again"
            )
        tables = prepare.make_tables(this)
        graph = _load(this, tables, notes)
        encoded = _learn(this, tables, notes)
        sources = tables.manifest.figures["sources"]
        for name, source in this.project.sources.items():
            if source.format == "http" and source.place is not None:
                notes.append(f"source {name}: its API was not asked; what has landed before is taken for all there is")
        if this.graph.has_existing and this.existing_connection is None:
            notes.append(
                "Neo4j does not run, so what exists in it was not seen: what was read of it last is planned with"
            )
        notes += [f"{part} left out: {reason}" for part, reason in tables.manifest.figures["left_out"].items()]
        stages = _stages(this, tables, graph, encoded)
    return {
        "project": this.project.name,
        "workspace": this.location,
        "read": not this.unchanged["tables"],
        "sources": sources,
        "graph": {name: asdict(change) for name, change in graph.items()},
        "encode": encoded,
        "models": [name for name in MODELS if not this.unchanged[name]],
        "stages": stages,
        "seconds": round(sum(stage["seconds"] for stage in stages), 1),
        "memory_mib": max((stage["memory_mib"] for stage in stages), default=0),
        "notes": notes,
    }


def _load(this: Rehearsal, tables: Output, notes: list[str]) -> dict[str, Change]:
    """What would change in the graph, which is taken to hold what was loaded last unless Neo4j says otherwise."""
    loaded = this.workspace.stage("loaded").current()
    held = _held(this, loaded, notes) if loaded else None
    found = changes(tables, held, (this.landing.root, Landing.of(this.workspace).root))
    changed = any(change.written for change in found.values())
    this.unchanged["loaded"] = held is not None and this.unchanged["tables"] and not changed
    return found


def _held(this: Rehearsal, loaded: Output, notes: list[str]) -> State | None:
    """What the graph holds of ours; None where it holds nothing."""
    if not this.has_database:
        notes.append("no Neo4j of this project was started here yet: all of the graph would be loaded")
        return None
    if (connection := this.running) is None:
        notes.append("Neo4j is not running and was not started: taken to hold what was loaded last")
        return State.of_output(loaded)
    try:
        with Store(connection) as store:
            if store.database_id() != loaded.manifest.meta["database"]:
                notes.append("this is not the database that was loaded: all of the graph would be loaded")
                return None
            if not holds_load(store, loaded):
                notes.append("Neo4j does not hold all that was loaded last: the load would look at all of it")
    except StoreError as error:
        notes.append(f"Neo4j is taken to hold what was loaded last, for it could not be asked: {error}")
    return State.of_output(loaded)


def _learn(this: Rehearsal, tables: Output, notes: list[str]) -> Figures:
    """Ask every stage after the load whether it would be made; what would be encoded."""
    cuts = prepare.make_cuts(this, tables)
    graph = export_graph(this, tables)
    encoded = learn.encode(this, graph)
    trained = {name: learn.train(this, graph, cuts, encoded, name) for name in CUTS}
    rank.evaluate(this, graph, cuts, trained)
    chosen = trained[CHOOSING]
    # What was not trained yet has chosen no epochs yet.
    if this.unchanged["trained/user_time"]:
        embeddings = learn.refit(this, tables, graph, encoded, chosen)
    else:
        this.unchanged["embeddings"], embeddings = False, chosen
    published = this.workspace.stage("published").current()
    this.unchanged["published"] = not would_publish(published, version_of(chosen, embeddings))
    if this.unchanged["published"]:
        chosen, embeddings = in_service(this)
    rank.export(this, tables, graph, chosen, embeddings)
    return {"text": {}, "image": {}} if this.unchanged["encoded"] else _to_encode(this, tables, notes)


def _to_encode(this: Rehearsal, tables: Output, notes: list[str]) -> Figures:
    """By view and label, how many different texts and pictures the cache does not hold."""
    from embed.cache import VectorCache
    from embed.image import read_bytes

    found: Figures = {"text": {}, "image": {}}
    meta = tables.manifest.meta
    # What `where` and `around` leave out is counted all the same: only the graph knows it.
    labels = choose(meta["labels"], meta["edges"], this.project.export, derived=False).labels
    for view, content in (("text", str.encode), ("image", read_bytes)):
        if getattr(this.embed_config, view) is None:
            continue
        model = _model(this, view)
        if model is None:
            notes.append(f"the {view} model is new here: all {view}s are counted as not encoded yet")
        known = VectorCache(this.workspace, model).known() if model else set()
        for table in (name for name in tables.tables("nodes/") if name.removeprefix("nodes/") in labels):
            values = tables.read(table, [view])[view].drop_null().unique().to_pylist()
            hashes = {found_hash for value in values if (found_hash := _hash(content, value))} - known
            known |= hashes
            if values:
                found[view][table.removeprefix("nodes/")] = len(hashes)
    return found


def _hash(content: Callable[[str], bytes], value: str) -> str | None:
    try:
        return content_hash(content(value))
    except OSError:  # a picture that cannot be read is not encoded
        return None


def _model(this: Rehearsal, view: str) -> str | None:
    """The fingerprint of a view's model; of one that is not on this machine, what the last run says if it used it.

    An encoder that the catalogue adapts is known once it has learned.
    """
    config = getattr(this.embed_config, view)
    if view == "text" and config.adapt:
        return None
    if config.model == "packaged" or Path(config.model).is_dir():
        return _encoder(this, view).fingerprint
    last = this.workspace.stage("encoded").current()
    used = last.manifest.meta["models"].get(view, {}) if last else {}
    return used.get("fingerprint") if used.get("model") == config.model else None


def _encoder(this: Rehearsal, view: str) -> "TextEncoder | ImageEncoder":
    from embed.image import ImageEncoder
    from embed.text import TextEncoder

    config = this.embed_config
    if view == "text" and config.text:
        return TextEncoder(config.text, "cpu")
    if view == "image" and config.image:
        return ImageEncoder(config.image, "cpu")
    raise ValueError(f"no model for {view}")


def _stages(this: Rehearsal, tables: Output, graph: dict[str, Change], encoded: Figures) -> list[Figures]:
    """Each stage in its order: whether it would run, and what that would take."""
    runs = estimate.history(this.workspace)
    work = estimate.sizes(tables.manifest.tables, tables.manifest.figures["sources"])
    for kind in ("nodes", "relationships"):
        work[f"{kind}_written"] = sum(c.written for name, c in graph.items() if name.startswith(kind))
    labels = tables.manifest.meta["labels"]
    with_vectors = [name for name, of in labels.items() if of["side"] != "entity"]
    # h, v, c and z of each user and item.
    work["vectors"] = 4 * sum(tables.manifest.tables.get(f"nodes/{name}", 0) for name in with_vectors)
    work |= {"texts": sum(encoded["text"].values()), "images": sum(encoded["image"].values())}
    size = size_of(tables, [name for name in tables.manifest.tables if not name.startswith("quarantine/")])
    found = []
    for name in estimate.COSTS:
        seconds, measured = estimate.seconds(name, work, runs)
        memory, share = estimate.memory(name, size, this.settings.split)
        made = not this.unchanged[name]
        found.append(
            {
                "stage": name,
                "made": made,
                "seconds": round(seconds, 1) if made else 0.0,
                "memory_mib": memory if made else 0,
                "share_mib": share,
                "by": measured if made else "",
            }
        )
    return found
