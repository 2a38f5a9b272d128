"""What a finished load leaves at the marker node and in its output, however the graph was made: online or imported.

The next load believes its predecessor's output when the id of the load in it is the one at the marker node: whoever
changes the graph otherwise, restores it or dies in between leaves the two apart, and the graph itself is read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from kg import cypher_load
from kg.errors import GraphChangedError
from kg.load_check import stored_columns
from kg.load_state import State
from kg.store import Store
from kg.tables import Draft, Output


@dataclass(frozen=True)
class Account:
    """What became of a table's rows: ``rows = created + updated + unchanged + refused``."""

    rows: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    """Of an earlier load, not in the table any more."""
    kept: int = 0
    """Likewise, but left in the graph: they have relationships of others, or were there before us."""
    refused: int = 0
    """Not written: Neo4j does not take the row, or its end."""

    @property
    def written(self) -> int:
        """How many nodes or relationships the graph was changed by."""
        return self.created + self.updated + self.deleted + self.kept


@dataclass(frozen=True)
class Held:
    """What the graph holds of ours: property names by label, by edge name, and feature names by label."""

    nodes: dict[str, list[str]] = field(default_factory=dict)
    edges: dict[str, list[str]] = field(default_factory=dict)
    features: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Output) -> Self:
        """What it holds once `tables` is loaded."""

        def below(prefix: str) -> dict[str, list[str]]:
            return {name.removeprefix(prefix): sorted(stored_columns(tables, name)) for name in tables.tables(prefix)}

        nodes = {label: sorted({*columns, *constants(tables, label)}) for label, columns in below("nodes/").items()}
        return cls(nodes, below("relationships/"), below("features/"))

    def merged(self, other: "Held") -> "Held":
        """Both: what the graph may hold while a load is under way."""
        return Held(
            *(
                {k: sorted({*mine.get(k, ()), *theirs.get(k, ())}) for k in {**mine, **theirs}}
                for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )

    def tables(self) -> list[str]:
        """The tables that all this came from."""
        return [
            *(f"nodes/{label}" for label in self.nodes),
            *(f"relationships/{name}" for name in self.edges),
            *(f"features/{label}" for label in self.features),
        ]


@dataclass(frozen=True)
class Marker:
    """What the marker node says of the loads."""

    load: str | None = None
    """The last finished load."""
    loading: str | None = None
    """The load that is under way, or died."""
    held: Held = field(default_factory=Held)
    schema: dict[str, Any] = field(default_factory=dict)
    """`schema_record` of the last finished load."""
    accepted: str | None = None
    """The load that may change the schema in ways that delete what is there."""

    @classmethod
    def read(cls, store: Store) -> Self:
        """What it says; nothing where there is none yet."""
        found = store.rows(cypher_load.READ_MARKER)
        if not found:
            return cls()
        [[load, loading, held, schema, accepted]] = found
        return cls(load, loading, Held(**json.loads(held or "{}")), json.loads(schema or "{}"), accepted)

    def properties(self) -> dict[str, Any]:
        """As they are stored; nulls are properties that the node does not have."""
        return {
            "load": self.load,
            "loading": self.loading,
            "held": _json(asdict(self.held)),
            "schema": _json(self.schema),
            "accepted": self.accepted,
        }

    def write(self, store: Store) -> None:
        """Make the marker node say so, in one transaction; it must be there (`Store.claim`)."""
        store.value(cypher_load.WRITE_MARKER, {"properties": self.properties()})


def finish(
    store: Store, draft: Draft, tables: Output, load: str, state: State, accounts: Mapping[str, Account]
) -> None:
    """Say in the draft and at the marker node that the graph is now what `tables` and `state` say.

    `load` is this load's id, another one for each; `accounts` are by table (``nodes/Film``), vanished ones too. Call it
    after everything is written and checked: constraints of vanished labels and the ledger of batches go now. What
    the output says of changes is since the load that its meta names in `since`.
    """
    for table, of in accounts.items():
        if of.rows != of.created + of.updated + of.unchanged + of.refused:
            raise GraphChangedError(f"{table}: rows = created + updated + unchanged + refused is wanted, found {of}")
    wanted, before = Held.of(tables), Marker.read(store)
    store.define(*(cypher_load.drop_unique_key(label) for label in before.held.nodes if label not in wanted.nodes))
    after = Marker(load, None, wanted, schema_record(tables))
    if after != before:
        after.write(store)
    store.sweep(cypher_load.DROP_BATCHES, {"keep": ""})
    draft.meta |= {
        "database": store.database_id(),
        "load": load,
        "since": before.load,
        "tables": tables.manifest.fingerprint,
        "output": output_id(tables),
        "state": state.meta(),
    }
    for kind in ("nodes", "relationships", "features"):
        found = {t.partition("/")[2]: asdict(a) for t, a in accounts.items() if t.startswith(f"{kind}/")}
        draft.figures[kind] = found
    draft.figures["written"] = sum(account.written for account in accounts.values())


def output_id(tables: Output) -> str:
    """What tells one output of stage `tables` from any other, equal ones too."""
    return f"{tables.manifest.fingerprint} {tables.manifest.created}"


def schema_record(tables: Output) -> dict[str, Any]:
    """What a schema change is recognised by: keys, sides and sources of labels, keys of relationships."""
    labels, edges = tables.manifest.meta["labels"], tables.manifest.meta["edges"]

    def record(of: Mapping[str, Any], *names: str) -> dict[str, Any]:
        existing = {"existing": True} if of.get("existing") else {}
        return {name: of.get(name) for name in names} | existing

    return {
        "labels": {label: record(of, "key", "sources", "side", "domain") for label, of in labels.items()},
        "edges": {name: record(of, "key") for name, of in edges.items()},
    }


def constants(tables: Output, label: str) -> dict[str, str]:
    """Properties that all nodes of a label share."""
    of = tables.manifest.meta["labels"][label]
    theirs = not of.get("existing", {}).get("domain", True)
    return {"domain": of["domain"]} if of.get("domain") and not theirs else {}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
