"""What lies beside the stages and may hold a forgotten node: raw rows, cached vectors, figures of runs.

- ``landing/<source>/``: rows of Parquet files, objects in lists of JSON pages and JSON Lines, by the source's keys.
- ``corrections/<source>.jsonl``: lines, by any object in them.
- ``cache/``: vectors of a text or picture that no other node has.
- ``run.json``, ``history/``: errors and lists of file names; a text that names the node is withheld.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from kg.forget import Holding, outputs, short, stage_of, strip_file
from kg.forgotten import tokens
from kg.id_columns import Names, Record, records_in
from kg.tables import Workspace
from kg.vectors import content_hash

WITHHELD = "(withheld: it named a forgotten node)"
TOLD = {"error", "figures", "left_out"}
"""The parts of a report that hold texts which come from rows."""


def file_holdings(workspace: Workspace, names: Names) -> list[Holding]:
    """What lies beside the stages; cached vectors are found by the texts of the tables, so they must go first."""
    return [*_cached(workspace, names), *_raw(workspace, names), *_reports(workspace, names)]


# cache/ ----------------------------------------------------------------------------------------------------


def _cached(workspace: Workspace, names: Names) -> Iterator[Holding]:
    paths = list(files(workspace, "cache", ".parquet"))
    hashes = pa.array(sorted(own_contents(workspace, names)) if paths else [], pa.string())
    for path in paths if len(hashes) else ():
        with workspace.filesystem.open_input_file(path) as file:
            found = pc.is_in(pq.read_table(file, columns=["hash"])["hash"], value_set=hashes)
        if count := pc.sum(found).as_py():
            remove = partial(strip_file, workspace.filesystem, path, partial(_has_hash, hashes))
            yield Holding(short(workspace, path), f"{count} vectors", remove)


def _has_hash(hashes: pa.Array, batch: pa.RecordBatch) -> pa.BooleanArray:
    return pc.is_in(batch["hash"], value_set=hashes)


def own_contents(workspace: Workspace, names: Names) -> set[str]:
    """Digests of the texts and pictures that the ids have and no other node has, by all node tables there are."""
    own, others = _contents(workspace, names)
    return {h for kind in own for h in _hashes(kind, own[kind] - others[kind], others[kind])}


def _contents(workspace: Workspace, names: Names) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    own: dict[str, set[str]] = {"text": set(), "image": set()}
    others: dict[str, set[str]] = {"text": set(), "image": set()}
    for output in outputs(workspace):
        for table in output.tables("nodes/") if stage_of(workspace, output) == "tables" else ():
            for batch in output.scan(table).to_batches(columns=["key", "text", "image"]):
                mask = names.rows(table, batch)
                for kind in own:
                    own[kind] |= set(batch.filter(mask)[kind].drop_null().to_pylist())
                    others[kind] |= set(batch.filter(pc.invert(mask))[kind].drop_null().to_pylist())
    return own, others


def _hashes(kind: str, own: set[str], others: set[str]) -> set[str]:
    """A picture's digest is its bytes', so another node's file of the same size is looked into."""
    if kind == "text" or not own:
        return {content_hash(text.encode()) for text in own}
    sizes = {path: size for path in own if (size := _size(path)) is not None}
    rivals = [path for path in others if _size(path) in set(sizes.values())]
    return {content_hash(_bytes(path)) for path in sizes} - {content_hash(_bytes(path)) for path in rivals}


def _opened(path: str) -> tuple[fs.FileSystem, str]:
    return fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), path)


def _size(path: str) -> int | None:
    filesystem, plain = _opened(path)
    info = filesystem.get_file_info(plain)
    return int(info.size) if info.is_file else None


def _bytes(path: str) -> bytes:
    filesystem, plain = _opened(path)
    with filesystem.open_input_stream(plain) as stream:
        return bytes(stream.read())


# landing/ and corrections/ ---------------------------------------------------------------------------------


def _raw(workspace: Workspace, names: Names) -> Iterator[Holding]:
    for source in names.graph.sources:
        for path in files(workspace, f"landing/{source}", ".parquet"):
            mask = partial(_raw_rows, names, source)
            with workspace.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as rows:
                count = sum(pc.sum(mask(batch)).as_py() or 0 for batch in rows.iter_batches())
            if count:
                remove = partial(strip_file, workspace.filesystem, path, mask)
                yield Holding(short(workspace, path), f"{count} rows", remove)
        for folder, whole in ((f"landing/{source}", False), ("corrections", True)):
            for path in files(workspace, folder, ".json", ".jsonl"):
                if not whole or path.endswith(f"/{source}.jsonl"):
                    yield from _documents(workspace, path, partial(_named, names, source), whole=whole)


def _raw_rows(names: Names, source: str, batch: pa.RecordBatch) -> pa.BooleanArray:
    return pa.array(_named(names, source, batch.to_pylist()), pa.bool_())


def _named(names: Names, source: str, records: Sequence[Record]) -> list[bool]:
    """By the columns' names after `rename`, as keys name them."""
    rename = names.graph.sources[source].rename
    return names.records(source, [{rename.get(name, name): value for name, value in r.items()} for r in records])


def _documents(
    workspace: Workspace, path: str, named: Callable[[Sequence[Record]], list[bool]], *, whole: bool
) -> Iterator[Holding]:
    """A JSON document, or one a line; `whole` documents go for any object in them, else objects go out of lists."""
    lines = path.endswith(".jsonl")
    text = _bytes_in(workspace, path).decode()
    documents = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else [json.loads(text)]
    if whole:
        kept: Any = [d for d in documents if not any(named(list(records_in(d))))]
        gone = len(documents) - len(kept)
    else:
        kept, gone = _pruned(documents, named)
    if gone:
        content = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in kept) if lines else json.dumps(kept[0])
        yield Holding(short(workspace, path), f"{gone} rows", partial(_replace, workspace, path, content))


def _pruned(document: Any, named: Callable[[Sequence[Record]], list[bool]]) -> tuple[Any, int]:
    """A document without the objects in its lists that are named, and how many those were."""
    if isinstance(document, dict):
        inner = {name: _pruned(value, named) for name, value in document.items()}
        return {name: value for name, (value, _) in inner.items()}, sum(gone for _, gone in inner.values())
    if not isinstance(document, list):
        return document, 0
    records = [value for value in document if isinstance(value, dict)]
    bad = {id(record) for record, is_named in zip(records, named(records), strict=True) if is_named}
    kept = [_pruned(value, named) for value in document if id(value) not in bad]
    return [value for value, _ in kept], len(bad) + sum(gone for _, gone in kept)


# run.json and history/ -------------------------------------------------------------------------------------


def _reports(workspace: Workspace, names: Names) -> Iterator[Holding]:
    for path in [*files(workspace, "history", ".json"), *files(workspace, "run.json", ".json")]:
        found = json.loads(_bytes_in(workspace, path))
        withheld = _withheld(found, names, told=False)
        if withheld != found:
            content = json.dumps(withheld, indent=1)
            yield Holding(short(workspace, path), "texts that name it", partial(_replace, workspace, path, content))


def _withheld(value: Any, names: Names, *, told: bool) -> Any:
    if isinstance(value, dict):
        return {name: _withheld(inner, names, told=told or name in TOLD) for name, inner in value.items()}
    if isinstance(value, list):
        return [_withheld(inner, names, told=told) for inner in value]
    return WITHHELD if told and isinstance(value, str) and told_of(value, names) else value


def told_of(text: str, names: Names) -> bool:
    """Whether a field, word or part of a path in a text is one of the ids."""
    words = tokens(text) | set(re.split(r"[\s/.…]+", text))
    return any(names.ids.holds(label, word) for word in words for label in names.labels)


# all of them -----------------------------------------------------------------------------------------------


def files(workspace: Workspace, place: str, *endings: str) -> Iterator[str]:
    """The files with these endings at a place or below it, without those that are still being written."""
    path = f"{workspace.root}/{place}" if place else workspace.root
    info = workspace.filesystem.get_file_info(path)
    selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
    for found in [info] if info.is_file else workspace.filesystem.get_file_info(selector):
        if found.is_file and found.path.endswith(endings):
            yield found.path


def _bytes_in(workspace: Workspace, path: str) -> bytes:
    with workspace.filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def _replace(workspace: Workspace, path: str, content: str) -> None:
    with workspace.filesystem.open_output_stream(f"{path}.tmp") as stream:
        stream.write(content.encode())
    workspace.filesystem.move(f"{path}.tmp", path)
