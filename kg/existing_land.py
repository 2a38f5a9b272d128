"""What is in the user's Neo4j already, read into the workspace: checked, then a Parquet file a label or type.

What we have added ourselves stays out (marks, features, vectors), so that an unchanged graph lands unchanged. A row
carries `ELEMENT`, the number of its node or relationship within the database, by which a load finds it again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kg import cypher, cypher_existing
from kg.errors import SourceError
from kg.existing_config import END_COLUMNS, source_name
from kg.existing_types import ELEMENT, column_type, expression
from kg.landing import Landed, LandedFile, Landing, State
from kg.load_record import Held, Marker
from kg.project import Graph, Relationship, edge_type
from kg.row_hash import key_hashes, row_hashes, table_digest
from kg.store import Store
from kg.values import from_wire

KEY_TYPES = {"STRING NOT NULL", "INTEGER NOT NULL"}
EXAMPLES = 3
Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Part:
    """A label or type to be read."""

    place: str
    """In the project file."""
    name: str
    what: str
    """As Cypher writes it."""
    matched: str
    ours: frozenset[str]
    """Property names that are ours on it."""
    reserved: frozenset[str]
    """Names that it may not have, for we write or need them."""
    ends: Mapping[str, str]
    """Expressions of columns that are no properties."""


def land_existing(
    store: Store, graph: Graph, landing: Landing, progress: Progress = lambda step: None
) -> dict[str, int]:
    """Read all existing parts; gives by source the rows of those whose content has changed, 0 for the others.

    Raises `SourceError` before anything is kept: for a label, type or key that the graph does not hold, a key that
    several nodes have, nodes of two declared labels, and properties that have names of ours.
    """
    parts = list(_parts(graph, Marker.read(store).held))
    for label, node in graph.nodes.items():
        if node.existing:
            _check_label(store, graph, label, node.key)
    columns = {part.name: _columns(store, graph, part) for part in parts}
    found = {}
    for part in parts:
        progress(f"reading {part.what} from Neo4j")
        source = source_name(part.name)
        found[source] = _land(store, part, columns[part.name], landing.source(source))
    return found


def _parts(graph: Graph, held: Held) -> Iterator[_Part]:
    for label, node in graph.nodes.items():
        if node.existing:
            marks = {"key"} - {node.key}
            ours = marks | {*held.nodes.get(label, ()), *held.features.get(label, ())} if label in held.nodes else set()
            reserved = (marks | {*graph.features.columns, *cypher.VECTORS}) - ours
            # Vectors are written after a load, which does not record them.
            ours |= {*cypher.VECTORS} if label in held.nodes else set()
            matched = cypher_existing.nodes(label)
            yield _Part(f"nodes.{label}", label, f"(:{label})", matched, frozenset(ours), frozenset(reserved), {})
    for name, part in graph.relationships.items():
        if part.existing:
            yield _relationship(graph, name, part, held)


def _relationship(graph: Graph, name: str, part: Relationship, held: Held) -> _Part:
    edge = edge_type(name, part)
    marks = {"row_id", *(cypher_existing.EVENT_MARKS if part.interaction else ())}
    known = edge.name in held.edges
    ours = {"row_id", *held.edges.get(edge.name, ())} if known else set()
    keys = (("a", graph.nodes[edge.source].key), ("b", graph.nodes[edge.target].key))
    ends = {
        column: cypher_existing.key_text(variable, key)
        for column, (variable, key) in zip(END_COLUMNS.values(), keys, strict=True)
    }
    what = f"(:{edge.source})-[:{edge.type}]->(:{edge.target})"
    return _Part(
        f"relationships.{name}",
        name,
        what,
        cypher_existing.relationships(edge),
        frozenset(ours),
        frozenset((marks - ours) | set(ends)),
        ends,
    )


def _check_label(store: Store, graph: Graph, label: str, key: str) -> None:
    place, where = f"nodes.{label}", f"Neo4j at {store.connection.uri}"
    if not store.value(cypher_existing.count(cypher_existing.nodes(label))):
        loaded = store.value(cypher.count_nodes(label))
        names = [name for [name] in store.rows(cypher_existing.LABELS) if not name.startswith("CrossGraph")]
        found = f"; the {loaded} there are were loaded by CrossGraph" if loaded else f"; its labels are {names}"
        raise SourceError(f"{place}: expected nodes with the label {label}, {where} holds none of yours{found}")
    types = _types(store, cypher_existing.nodes(label))
    if key not in types:
        raise SourceError(
            f"{place}.key: expected a property {key!r} of the nodes {label} in {where}; they have {sorted(types)}"
        )
    if strange := types[key] - KEY_TYPES:
        kinds = ", ".join(sorted(of.removesuffix(" NOT NULL") for of in strange))
        raise SourceError(f"{place}.key: expected texts or integers in {key!r}, found {kinds}")
    if twice := store.rows(cypher_existing.repeated(label, key), {"limit": EXAMPLES}):
        shown = ", ".join(f"{value!r} on {times} nodes" for value, times in twice)
        raise SourceError(f"{place}.key: expected each {key!r} on one node of {label}, found {shown}: merge the nodes")
    declared = [name for name in graph.nodes if name != label]
    both = store.rows(cypher_existing.with_other_label(label, declared), {"others": declared}) if declared else []
    for other, times in both:
        raise SourceError(
            f"{place}: expected nodes with one label of the project file, found {times} with {label} and {other}"
        )


def _types(store: Store, matched: str, without: Iterable[str] = ()) -> dict[str, set[str]]:
    """The types of values by property."""
    found: dict[str, set[str]] = {}
    for name, type_ in store.rows(cypher_existing.value_types(matched), {"without": list(without)}):
        found.setdefault(name, set()).add(type_)
    return found


def _columns(store: Store, graph: Graph, part: _Part) -> dict[str, set[str]]:
    """The properties that are the user's own, with the types of their values."""
    found = dict(sorted(_types(store, part.matched, part.ours).items()))
    if taken := sorted(part.reserved & set(found)):
        raise SourceError(
            f"{part.place}: {part.what} has a property {taken[0]!r} of its own in Neo4j, and we would write one of "
            "that name; properties of yours are never changed: rename it"
        )
    if part.ends and not store.value(cypher_existing.count(part.matched)):
        edge = edge_type(part.name, graph.relationships[part.name])
        types = [name for [name] in store.rows(cypher_existing.types_between(edge.source, edge.target))]
        raise SourceError(
            f"{part.place}: expected relationships {part.what}, Neo4j at {store.connection.uri} holds none; "
            f"from {edge.source} to {edge.target} there are {types}"
        )
    return found


def _land(store: Store, part: _Part, columns: Mapping[str, set[str]], landed: Landed) -> int:
    """Write what a part holds now; where that is what has landed already, the state stays."""
    state = landed.state()
    landed.sweep(state)
    numbers = [int(file.path[5:11]) for file in state.files] if state else []
    name = f"rows-{max(numbers, default=0) + 1:06d}.parquet"
    schema = pa.schema(
        [ELEMENT, *(pa.field(end, pa.string()) for end in part.ends)]
        + [pa.field(column, column_type(types)) for column, types in columns.items()]
    )
    values = {**part.ends, **{column: expression("n", column, types) for column, types in columns.items()}}
    landed.filesystem.create_dir(landed.path, recursive=True)
    rows, digest = 0, 0
    with (
        landed.filesystem.open_output_stream(f"{landed.path}/{name}") as sink,
        pq.ParquetWriter(sink, schema, compression="zstd") as writer,
    ):
        for records in store.stream_rows(cypher_existing.rows(part.matched, values)):
            batch = _batch(records, schema)
            writer.write_batch(batch)
            rows += batch.num_rows
            # Whatever the order in which Neo4j gives them.
            digest += table_digest(key_hashes(batch[ELEMENT.name]), row_hashes(batch, schema.names))
    file = LandedFile(name, part.what, f"{digest % (1 << 64):016x} {rows} {schema.to_string()}", rows=0)
    found = State(part.what, (file,))
    changed = state is None or state.fingerprint != found.fingerprint
    if changed:
        landed.seal(found)
    landed.sweep(landed.state())
    return rows if changed else 0


def _batch(records: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*records, strict=True) if records else ([] for _ in schema)
    arrays = [from_wire(list(values), type_) for values, type_ in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
