"""A second look, by the keys themselves and not by digests, at everything that could still hold a forgotten node.

What it covers:

- the graph: nodes of the label by `key`, and communities that are called after it;
- every Parquet file below the workspace, in a sealed output or not: columns of keys by their label, raw rows by the
  columns that the project file's key expressions name, lines that could not be read by field and word;
- landed and corrected rows, errors and file names in run.json and its history;
- the vector cache: the digests of texts and pictures that only this node had, as found before it was removed.

A key such as ``7`` equals ages and other labels' keys. A key that could hardly be anything else (six characters, or
three with a letter) is searched for everywhere besides: in all properties of all nodes and relationships, in all
columns of strings and lists of strings, and as a field or word of every JSON, CSV and text file.

It does not cover: the project file and the sources, other systems' copies, what a property says in other words, the
blocks that Neo4j's files and transaction logs have not yet used again, and figures that were computed from many rows.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kg import cypher_forget
from kg.forget import content_of, files, short
from kg.forget_files import file_holdings
from kg.forgotten import NAME, tokens
from kg.id_columns import Names, Person
from kg.store import Store
from kg.tables import OUTPUT_NAME, Workspace

TEXTS = (".json", ".jsonl", ".csv", ".txt", ".tmp")


def is_distinctive(key: str) -> bool:
    """Whether a value that equals this key is hardly anything else."""
    return len(key) >= 6 or (len(key) >= 3 and any(c.isalpha() for c in key))


def left_in_graph(store: Store, person: Person) -> list[str]:
    """Where the graph still holds the node, a line each."""
    keys = {"keys": list(person.keys)}
    found = []
    if count := store.value(cypher_forget.count_nodes(person.label), keys):
        found.append(f"graph: {count} nodes {person.label}")
    communities = {"communities": [f"{person.label}:{key}" for key in person.keys]}
    if count := store.value(cypher_forget.COUNT_COMMUNITIES, communities):
        found.append(f"graph: communities of {count} nodes")
    if distinctive := [key for key in person.keys if is_distinctive(key)]:
        for query in (cypher_forget.NODES_WITH, cypher_forget.RELATIONSHIPS_WITH):
            rows = store.rows(query, {"keys": distinctive})
            found += [f"graph: a property of {count} {name}" for name, count in rows]
    return found


def left_in_workspace(workspace: Workspace, names: Names, person: Person, contents: set[str]) -> list[str]:
    """Where the workspace still holds the node, a line each; `contents` are digests of what only it had."""
    distinctive = [key for key in person.keys if is_distinctive(key)]
    found = [holding.place for holding in file_holdings(workspace, names)]
    for path in files(workspace, "", ".parquet", ".partial"):
        table = _table_of(short(workspace, path))
        if count := _count(workspace, path, partial(_rows, table, names, distinctive, contents)):
            found.append(f"{short(workspace, path)}: {count} rows")
    for path in files(workspace, "", *TEXTS) if distinctive else ():
        if not path.endswith(f"/{NAME}") and any(
            key in tokens(content_of(workspace, path).decode(errors="replace")) for key in distinctive
        ):
            found.append(short(workspace, path))
    return list(dict.fromkeys(found))


def _table_of(path: str) -> str:
    """``stage/output/table/part.parquet`` is a file of ``table``; any other path is its own name."""
    parts = path.split("/")
    start = next((i + 1 for i, part in enumerate(parts) if OUTPUT_NAME.fullmatch(part)), 0)
    return "/".join(parts[start:-1])


def _count(workspace: Workspace, path: str, mask: Callable[[pa.RecordBatch], pa.BooleanArray]) -> int:
    with workspace.filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
        return sum(pc.sum(mask(batch)).as_py() or 0 for batch in file.iter_batches())


def _rows(
    table: str, names: Names, distinctive: list[str], contents: set[str], batch: pa.RecordBatch
) -> pa.BooleanArray:
    if table.startswith("landing/"):
        masks = []  # by the source's keys, above
    elif table.startswith("cache/"):
        masks = [pc.is_in(batch["hash"], value_set=pa.array(sorted(contents), pa.string()))]
    else:
        masks = [names.rows(table, batch)]
    return reduce(pc.or_, [*masks, *_anywhere(batch, distinctive)], pa.array([False] * batch.num_rows, pa.bool_()))


def _anywhere(batch: pa.RecordBatch, keys: list[str]) -> Iterator[pa.BooleanArray]:
    """Each column of strings, or of lists of them: whether it is, or holds, one of the keys."""
    wanted = pa.array(keys, pa.string())
    for column in batch.columns if keys else ():
        if pa.types.is_string(column.type):
            yield pc.is_in(column, value_set=wanted)
        elif pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
            yield pa.array([bool(set(keys) & set(values or ())) for values in column.to_pylist()], pa.bool_())
