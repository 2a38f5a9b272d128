"""What lies beside the stages and may hold a forgotten node: raw rows, cached vectors, figures of runs.

- ``landing/``, ``corrections/``: see `kg.forget_landed`.
- ``cache/``: vectors of a text or picture that no other node has.
- ``run.json``, ``history/``: errors and lists of file names; a text that names the node is withheld.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kg.forget import Holding, content_of, files, outputs, short, stage_of, strip_file
from kg.forget_landed import landed
from kg.forgotten import tokens
from kg.id_columns import Names
from kg.locations import file_digest, opened
from kg.tables import Workspace, replace_file
from kg.vectors import content_hash

WITHHELD = "(withheld: it named a forgotten node)"
TOLD = {"error", "figures", "left_out"}
"""The parts of a report that hold texts which come from rows."""


def file_holdings(workspace: Workspace, names: Names) -> list[Holding]:
    """What lies beside the stages; cached vectors are found by the texts of the tables, so they must go first."""
    return [*_cached(workspace, names), *landed(workspace, names), *_reports(workspace, names)]


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
    return {file_digest(path) for path in sizes} - {file_digest(path) for path in rivals}


def _size(path: str) -> int | None:
    filesystem, plain = opened(path)
    info = filesystem.get_file_info(plain)
    return int(info.size) if info.is_file else None


# run.json and history/ -------------------------------------------------------------------------------------


def _reports(workspace: Workspace, names: Names) -> Iterator[Holding]:
    for path in [*files(workspace, "history", ".json"), *files(workspace, "run.json", ".json")]:
        found = json.loads(content_of(workspace, path))
        withheld = _withheld(found, names, told=False)
        if withheld != found:
            remove = partial(replace_file, workspace.filesystem, path, json.dumps(withheld, indent=1).encode())
            yield Holding(short(workspace, path), "texts that name it", remove)


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
