"""Vectors already encoded, by content and model; and the stage that encodes a snapshot's texts and images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from embed.config import Adaptation, EmbedConfig
from embed.image import ImageEncoder, read_bytes
from embed.inputs import View, Views
from embed.ops import model_fingerprint
from embed.snapshot import Snapshot
from embed.text import TextEncoder
from kg.errors import ConfigError
from kg.ids import IdMap
from kg.schema import VECTOR, embedding_schema
from kg.tables import Draft, Output, Workspace
from kg.vectors import content_hash, matrix, vector_array

if TYPE_CHECKING:
    from embed.clip_text import TextTower

CHUNK = 1024
"""Vectors by part: what a killed run has to encode again at most."""
ENTRY = pa.schema([pa.field("hash", pa.string(), nullable=False), pa.field("vector", VECTOR)])
ENCODED = embedding_schema(["vector"])
NAMED = 20
"""Broken files named in the figures; all are counted."""
Progress = Callable[[str, int, int], None]


class VectorCache:
    """The vectors of one model in a workspace's ``cache/``: Parquet parts, each added whole or not at all."""

    def __init__(self, workspace: Workspace, fingerprint: str) -> None:
        """Nothing is created before the first `add`."""
        self.filesystem, self.fingerprint = workspace.filesystem, fingerprint
        self.folder = f"{workspace.root}/cache/{fingerprint}"

    def load(self, hashes: Iterable[str]) -> dict[str, np.ndarray]:
        """The vectors of those of `hashes` that are there."""
        wanted = pa.array(sorted(set(hashes)), pa.string())
        found: dict[str, np.ndarray] = {}
        for path in self._parts():
            with self.filesystem.open_input_file(path) as file:
                table = pq.read_table(file, schema=ENTRY)
            table = table.filter(pc.is_in(table["hash"], wanted))
            if table.num_rows:
                found |= zip(table["hash"].to_pylist(), matrix(table["vector"]), strict=True)
        return found

    def known(self) -> set[str]:
        """The hashes of all vectors that are there."""
        found: set[str] = set()
        for path in self._parts():
            with self.filesystem.open_input_file(path) as file:
                found.update(pq.read_table(file, columns=["hash"])["hash"].to_pylist())
        return found

    def add(self, hashes: list[str], vectors: np.ndarray) -> None:
        """One more part; it gets its name when it is complete."""
        self.filesystem.create_dir(self.folder, recursive=True)
        part = f"{self.folder}/part-{uuid4().hex}"
        table = pa.table([pa.array(hashes, pa.string()), vector_array(vectors)], schema=ENTRY)
        with self.filesystem.open_output_stream(f"{part}.tmp") as sink:
            pq.write_table(table, sink)
        self.filesystem.move(f"{part}.tmp", f"{part}.parquet")

    def _parts(self) -> list[str]:
        infos = self.filesystem.get_file_info(fs.FileSelector(self.folder, allow_not_found=True))
        return sorted(info.path for info in infos if info.path.endswith(".parquet"))


@dataclass
class Figures:
    """What became of the nodes of a label; the first four add up to them."""

    encoded: int = 0
    from_cache: int = 0
    """Vectors that were there already, or that another node with the same content got in this run."""
    missing: int = 0
    broken: int = 0
    broken_files: tuple[str, ...] = ()


def encode_views(
    snapshot: Snapshot, config: EmbedConfig, workspace: Workspace, draft: Draft, progress: Progress | None = None
) -> None:
    """Write tables ``text/<Label>`` and ``image/<Label>`` (key, vector) of stage `encoded`, only what is new encoded.

    A node without text or with a broken image has no row. `figures` gets counts by view and label, `meta` the models
    with their fingerprints. Where the text encoder is adapted, or pictures are projected to the texts, what was learned
    lies in ``adapter/`` and ``clip.safetensors``, and `figures` has its losses and recall under `adapted` and `clip`.
    `progress` is told (what, done, of all).
    """
    draft.figures |= {"text": {}, "image": {}}
    draft.meta["models"] = {}
    if config.text and (texts := _contents(snapshot, "text")):
        encoder = TextEncoder(config.text, config.device)
        if config.text.adapt:
            _adapt(encoder, snapshot, config.text.adapt, config.seed, workspace, draft, progress)
        cache = VectorCache(workspace, encoder.fingerprint)
        draft.meta["models"]["text"] = {"model": config.text.model, "fingerprint": cache.fingerprint}
        for label, values in texts.items():
            hashes = [content_hash(v.encode()) if v else None for v in values]
            run = _Run(cache, _text_chunks(encoder), f"text {label}", progress)
            run.encode(hashes, values)
            _write(snapshot, draft, f"text/{label}", run.vectors, run.figures)
    if config.image and (images := _contents(snapshot, "image")):
        looker = ImageEncoder(config.image, config.device)
        cache = VectorCache(workspace, looker.fingerprint)
        draft.meta["models"]["image"] = {"model": config.image.model, "fingerprint": cache.fingerprint}
        runs = {}
        for label, values in images.items():
            run = _Run(cache, looker.encode, f"image {label}", progress)
            run.encode([_file_hash(v, run.figures) if v else None for v in values], values)
            runs[label] = run
        if config.image.clip:
            _project(runs, snapshot, config, workspace, draft, progress)
        for label, run in runs.items():
            _write(snapshot, draft, f"image/{label}", run.vectors, run.figures)


def read_views(output: Output, snapshot: Snapshot) -> Views:
    """Stage `encoded` as views of the snapshot's nodes: `v` from text, `c` from images."""
    views = Views()
    for view, prefix in (("v", "text/"), ("c", "image/")):
        labels = {}
        for name in output.tables(prefix):
            label, table = name.removeprefix(prefix), output.read(name)
            if not table.num_rows:
                continue
            rows = IdMap(label, snapshot.keys(label)).encode(table["key"])
            found = matrix(table["vector"])
            vectors, mask = (
                np.zeros((snapshot.count(label), found.shape[1]), np.float32),
                np.zeros(snapshot.count(label), bool),
            )
            vectors[rows], mask[rows] = found, True
            labels[label] = View(vectors, mask)
        if labels:
            views.by_view[view] = labels
    return views


Encode = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]


class _Run:
    """Encodes the contents of one label through the cache."""

    def __init__(self, cache: VectorCache, encode: Encode, what: str, progress: Progress | None) -> None:
        self.cache, self.encode_chunk, self.what, self.progress = cache, encode, what, progress
        self.vectors: list[np.ndarray | None] = []
        self.figures = Figures()

    def encode(self, hashes: list[str | None], values: list[str | None]) -> None:
        known = self.cache.load(h for h in hashes if h)
        first = {h: v for h, v in zip(reversed(hashes), reversed(values), strict=True) if h and v and h not in known}
        broken: set[str] = set()
        for chunk, done in _chunks(sorted(first, key=lambda h: (len(first[h]), h))):
            vectors, good = self.encode_chunk([first[h] for h in chunk])
            kept = [h for h, ok in zip(chunk, good, strict=True) if ok]
            broken |= set(chunk) - set(kept)
            if kept:
                self.cache.add(kept, vectors[good])
                known |= zip(kept, vectors[good], strict=True)
            if self.progress:
                self.progress(self.what, done, len(first))
        self.vectors = [known.get(h) if h else None for h in hashes]
        self._count(hashes, values, broken, len(first) - len(broken))

    def _count(self, hashes: list[str | None], values: list[str | None], broken: set[str], encoded: int) -> None:
        named = [str(v) for h, v in zip(hashes, values, strict=True) if h in broken]
        figures = self.figures
        figures.encoded = encoded
        figures.broken += len(named)
        figures.broken_files = (*figures.broken_files, *named)[:NAMED]
        figures.missing = sum(not v for v in values)
        figures.from_cache = len(values) - figures.missing - figures.broken - encoded


def _adapt(
    encoder: TextEncoder,
    snapshot: Snapshot,
    wanted: Adaptation,
    seed: int,
    workspace: Workspace,
    draft: Draft,
    progress: Progress | None,
) -> None:
    """Adapt the encoder in place and keep the adapter."""
    from embed.adapter import save
    from embed.language import adapt

    adapter = adapt(encoder, snapshot, wanted, seed, workspace, progress)
    save(adapter, draft.filesystem, draft.location("adapter"))
    draft.figures["adapted"] = adapter.figures


def _project(
    runs: dict[str, "_Run"],
    snapshot: Snapshot,
    config: EmbedConfig,
    workspace: Workspace,
    draft: Draft,
    progress: Progress | None,
) -> None:
    """Learn projections from nodes with a picture and a text, and put the projected pictures in the place of all."""
    from embed.adapter import merge, save
    from embed.clip import Pairs, Projections, fit
    from embed.clip_adapt import adapt
    from embed.clip_text import ClipText, text_tower

    if config.image is None or config.image.clip is None:
        raise ValueError("no projections are wanted")
    tower = text_tower(config.image, config.device)
    texts, pictures, words = _contents(snapshot, "text"), [], []
    for label, run in runs.items():
        for vector, text in zip(run.vectors, texts.get(label, [None] * len(run.vectors)), strict=True):
            if vector is not None and text:
                pictures.append(vector)
                words.append(text)
    if wanted := config.image.clip.adapt:
        if not isinstance(tower, TextEncoder):
            raise ConfigError("embed.image.clip.adapt: only the packaged model's texts are adapted; set it to null")
        adapter = adapt(tower, np.stack(pictures), words, config.image.clip, wanted, config.seed, progress)
        save(adapter, draft.filesystem, draft.location("clip_adapter"))
        merge(tower, adapter)
        draft.figures["clip_adapted"] = adapter.figures
    reading = _Run(VectorCache(workspace, tower.fingerprint), _text_chunks(tower), "texts of pictures", progress)
    reading.encode([content_hash(text.encode()) for text in words], list(words))
    told = [v for v in reading.vectors if v is not None]
    pairs = Pairs(*(np.stack(rows) if rows else np.zeros((0, 1), np.float32) for rows in (pictures, told)))
    trained = Projections.as_trained(pairs.texts.shape[1], tower.logit_scale) if isinstance(tower, ClipText) else None
    projections, draft.figures["clip"] = fit(pairs, config.image.clip, config.seed, trained)
    projections.save(draft.filesystem, draft.location("clip.safetensors"))
    draft.meta["models"]["image"]["projections"] = model_fingerprint(projections)
    for run in runs.values():
        run.vectors = [None if v is None else projections.project_images(v[None])[0] for v in run.vectors]


def _text_chunks(encoder: "TextTower") -> Encode:
    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return encoder.encode(texts), np.ones(len(texts), bool)

    return encode


def _chunks(hashes: list[str]) -> Iterator[tuple[list[str], int]]:
    for start in range(0, len(hashes), CHUNK):
        chunk = hashes[start : start + CHUNK]
        yield chunk, start + len(chunk)


def _contents(snapshot: Snapshot, column: str) -> dict[str, list[Any]]:
    """By label the column's values, of labels that have any."""
    tables = {label: table[column] for label, table in snapshot.nodes.items() if column in table.column_names}
    return {label: values.to_pylist() for label, values in tables.items() if values.null_count < len(values)}


def _file_hash(path: str, figures: Figures) -> str | None:
    """A digest of the file's bytes; a file that cannot be read counts as broken."""
    try:
        return content_hash(read_bytes(path))
    except OSError:
        figures.broken += 1
        figures.broken_files = (*figures.broken_files, path)[:NAMED]
        return None


def _write(snapshot: Snapshot, draft: Draft, table: str, vectors: list[np.ndarray | None], figures: Figures) -> None:
    view, label = table.split("/")
    rows = [i for i, vector in enumerate(vectors) if vector is not None]
    found = np.stack([v for v in vectors if v is not None]) if rows else np.zeros((0, 1), np.float32)
    keys = snapshot.keys(label).combine_chunks().take(pa.array(rows, pa.int64()))
    draft.write(table, pa.table([keys, vector_array(found)], schema=ENCODED), ENCODED)
    draft.figures[view][label] = asdict(figures)
