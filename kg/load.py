"""Tables to the graph: what changed is written, what vanished is deleted, everything is accounted for.

Each node and relationship carries a digest of its row, `_hash`, so loading again writes nothing, a killed load
goes on where it was, and what we did not write is left alone. Properties that others add stay.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher
from kg.errors import StoreError
from kg.load_check import check_tables, columns_of, identity_of, scan
from kg.schema import EdgeType
from kg.store import Progress, Store, silent
from kg.tables import Draft, Output
from kg.values import to_wire

NODE_ROWS, EDGE_ROWS = 10_000, 20_000
BATCH_BYTES = 8 << 20
"""Rows of long texts go in smaller batches, for the server holds a transaction in memory."""


@dataclass(frozen=True)
class Account:
    """What became of a table's rows: ``rows = created + updated + unchanged``."""

    rows: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    """Of an earlier load, not in the table any more."""
    kept: int = 0
    """Likewise, but left in the graph: they have relationships of others, or were there before us."""

    @property
    def written(self) -> int:
        """How many nodes or relationships the graph was changed by."""
        return self.created + self.updated + self.deleted + self.kept


def load(store: Store, tables: Output, draft: Draft, project: str, progress: Progress = silent) -> None:
    """Make the graph equal to the output of stage `tables`; the accounts go into the draft's figures.

    Nothing is written when the tables break their contract (`ContractError`) or the database is another
    project's (`StoreError`). Killed anywhere, a second call ends with the same graph.
    """
    check_tables(tables)
    store.claim(project)
    wanted = _Ledger.of(tables)
    before = _Ledger.read(store)
    before.merged(wanted).write(store)
    store.ensure_unique(wanted.nodes)
    nodes = {label: _load_nodes(store, tables, label, progress) for label in wanted.nodes}
    edges = {name: _load_relationships(store, tables, name, progress) for name in wanted.edges}
    features = {label: _load_features(store, tables, label, progress) for label in wanted.features}
    for name in {**wanted.edges, **before.edges}:
        edges[name] = _delete_relationships(store, tables, name, edges.get(name, Account(0)))
    for label in {**wanted.nodes, **before.nodes}:
        nodes[label] = _delete_nodes(store, tables, label, nodes.get(label, Account(0)))
    _drop_stale(store, before, wanted)
    wanted.write(store)
    draft.meta["database"] = store.database_id()
    draft.meta["tables"] = tables.manifest.fingerprint
    for kind, accounts in (("nodes", nodes), ("relationships", edges), ("features", features)):
        draft.figures[kind] = {name: asdict(account) for name, account in accounts.items()}
    draft.figures["written"] = sum(a.written for a in (*nodes.values(), *edges.values(), *features.values()))


def digest(store: Store) -> str:
    """A digest of all that we loaded: labels, keys, types, properties (features too, vectors not), in any order."""
    total = 0
    for query in (cypher.OUR_NODES, cypher.OUR_RELATIONSHIPS):
        for batch in store.stream_rows(query, {"without": [*cypher.VECTORS, "_adopted"]}):
            for row in batch:
                values = [sorted(value) if isinstance(value, list) else value for value in row]
                digest = hashlib.blake2b(json.dumps(values, default=str).encode(), digest_size=16)
                total += int.from_bytes(digest.digest())
    return f"{total % (1 << 128):032x}"


@dataclass(frozen=True)
class _Ledger:
    """What the graph holds of ours: property names by label, by edge name, and feature names by label."""

    nodes: dict[str, list[str]]
    edges: dict[str, list[str]]
    features: dict[str, list[str]]

    @classmethod
    def of(cls, tables: Output) -> "_Ledger":
        """What it holds once `tables` is loaded."""

        def below(prefix: str) -> dict[str, list[str]]:
            return {name.removeprefix(prefix): sorted(columns_of(tables, name)) for name in tables.tables(prefix)}

        nodes = {label: sorted({*columns, *_constants(tables, label)}) for label, columns in below("nodes/").items()}
        return cls(nodes, below("relationships/"), below("features/"))

    @classmethod
    def read(cls, store: Store) -> "_Ledger":
        text = store.value(cypher.READ_LEDGER)
        return cls(**json.loads(text)) if text else cls({}, {}, {})

    def write(self, store: Store) -> None:
        if _Ledger.read(store) != self:
            store.value(cypher.WRITE_LEDGER, {"ledger": json.dumps(asdict(self), sort_keys=True)})

    def merged(self, other: "_Ledger") -> "_Ledger":
        """Both: what the graph may hold while a load is under way."""
        return _Ledger(
            *(
                {k: sorted({*mine.get(k, ()), *theirs.get(k, ())}) for k in {**mine, **theirs}}
                for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )


def _constants(tables: Output, label: str) -> dict[str, str]:
    """Properties that all nodes of a label share."""
    domain = tables.manifest.meta["labels"][label].get("domain")
    return {"domain": domain} if domain else {}


def _load_nodes(store: Store, tables: Output, label: str, progress: Progress) -> Account:
    table, side = f"nodes/{label}", tables.manifest.meta["labels"][label]["side"]
    columns, constants = columns_of(tables, table), _constants(tables, label)
    types = {**columns, **dict.fromkeys(constants, pa.string())}
    salt = _salt(label, side, constants, list(types))
    batches = _rows(tables, table, salt, NODE_ROWS, list(constants.values()))
    done = store.write(cypher.merge_nodes(label, side, types), batches, progress=partial(progress, table))
    return _account(tables, table, done.returned, done.nodes_created)


def _load_relationships(store: Store, tables: Output, name: str, progress: Progress) -> Account:
    table = f"relationships/{name}"
    columns = columns_of(tables, table)
    batches = _rows(tables, table, _salt(name, list(columns)), EDGE_ROWS)
    statement = cypher.merge_relationships(EdgeType.parse(name), columns)
    done = store.write(statement, batches, progress=partial(progress, table))
    return _account(tables, table, done.returned, done.relationships_created)


def _load_features(store: Store, tables: Output, label: str, progress: Progress) -> Account:
    table = f"features/{label}"
    names = list(columns_of(tables, table))
    batches = (_values(batch, ["key", *names]) for batch in scan(tables, table, NODE_ROWS))
    done = store.write(cypher.set_features(label, names), batches, progress=partial(progress, table))
    return _account(tables, table, done.returned, 0)


def _account(tables: Output, table: str, changed: int, created: int) -> Account:
    rows = tables.manifest.tables[table]
    if not 0 <= created <= changed <= rows:
        raise StoreError(f"{table}: {created} created and {changed} changed of {rows} rows: is another load running?")
    return Account(rows, created, changed - created, rows - changed)


def _delete_relationships(store: Store, tables: Output, name: str, account: Account) -> Account:
    edge = EdgeType.parse(name)
    deleted = 0
    if store.value(cypher.count_relationships(edge)) != account.rows:
        vanished = _vanished(store, cypher.relationship_identities(edge), tables, f"relationships/{name}")
        deleted = store.write(cypher.delete_relationships(edge), vanished).relationships_deleted
    _check_count(name, account.rows, store.value(cypher.count_relationships(edge)))
    return replace(account, deleted=deleted)


def _delete_nodes(store: Store, tables: Output, label: str, account: Account) -> Account:
    deleted = kept = 0
    if store.value(cypher.count_nodes(label)) != account.rows:
        for keys in _vanished(store, cypher.node_keys(label), tables, f"nodes/{label}"):
            deleted += store.write(cypher.delete_nodes(label), [keys]).nodes_deleted
            kept += store.write(cypher.disown_nodes(label), [keys]).returned
    _check_count(label, account.rows, store.value(cypher.count_nodes(label)))
    return replace(account, deleted=deleted, kept=kept)


def _vanished(store: Store, query: str, tables: Output, table: str) -> Iterator[list[list[Any]]]:
    """Identities that the graph holds and the table does not; a table that is gone holds none."""
    last = identity_of(table)[-1]
    known = (
        tables.read(table, [last])[last].combine_chunks()
        if table in tables.manifest.tables
        else pa.array([], pa.string())
    )
    for batch in store.stream(query):
        gone = batch.filter(pc.invert(pc.is_in(batch[last], value_set=known)))
        if gone.num_rows:
            yield _values(gone, gone.schema.names)


def _check_count(table: str, rows: int, held: int) -> None:
    if rows != held:
        raise StoreError(f"{table}: {rows} rows were loaded but Neo4j holds {held}: did others write? Load again")


def _drop_stale(store: Store, before: _Ledger, wanted: _Ledger) -> None:
    """Remove the properties that an earlier load wrote under names that are not in the tables any more."""
    for label in wanted.nodes:
        known = {*wanted.nodes[label], *wanted.features.get(label, ())}
        for name in sorted({*before.nodes.get(label, ()), *before.features.get(label, ())} - known):
            store.sweep(cypher.drop_node_property(label, name))
    for edge, columns in wanted.edges.items():
        for name in sorted(set(before.edges.get(edge, ())) - set(columns)):
            store.sweep(cypher.drop_relationship_property(EdgeType.parse(edge), name))


def _salt(*parts: Any) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _rows(
    tables: Output, table: str, salt: bytes, limit: int, constants: Sequence[Any] = ()
) -> Iterator[list[list[Any]]]:
    """Rows of (*identity, hash, *columns, *constants); the hash is of the columns, salted with what else counts."""
    identity = identity_of(table)
    names = [*identity, *columns_of(tables, table)]
    for batch in scan(tables, table, limit):
        for part in _parts(batch):
            yield [
                [*row[: len(identity)], _hash(row[len(identity) :], salt), *row[len(identity) :], *constants]
                for row in _values(part, names)
            ]


def _hash(values: list[Any], salt: bytes) -> int:
    """64 bits, signed as Neo4j's integers are; 0 is what a node has before its first row is written."""
    found = hashlib.blake2b(repr(values).encode(), digest_size=8, key=salt).digest()
    return int.from_bytes(found, signed=True) or 1


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _values(batch: pa.RecordBatch, names: list[str]) -> list[list[Any]]:
    return [list(row) for row in zip(*(to_wire(batch[name]) for name in names), strict=True)]
