"""Embeddings back to the graph, one whole version at a time: properties, vector indexes, and a pointer to them.

Vectors lie in one of two slots: ``z_a``, ``z_b`` and likewise for the other views. A version is written into the
slot that nobody reads, then one transaction makes it the current one. The version before stays in its slot until
the next one is written; `kg.versions.rollback` goes back to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher, cypher_vectors
from kg.errors import ContractError, StoreError, UnknownIdError
from kg.schema import KEY, RECOMMENDATION, check, embedding_schema
from kg.store import Progress, Store, silent
from kg.tables import Draft
from kg.vectors import matrix
from kg.versions import current_version, online

ROWS = 1_000


@dataclass(frozen=True)
class Provenance:
    """Where a version's vectors come from."""

    version: str
    """What is the same for the same vectors: a fingerprint of all below but the run."""
    model: str
    weights: str
    """Fingerprint of the model's weights."""
    input: str
    """Fingerprint of what it was fitted on."""
    run: str
    created: str
    """When it was fitted, ISO 8601."""


def write_back(
    store: Store,
    vectors: Mapping[str, pa.Table],
    provenance: Provenance,
    draft: Draft,
    extra: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> None:
    """Publish the vectors of each label (tables under `embedding_schema`); what was done goes into the draft's figures.

    Nothing is written when the current version is this one and complete. Readers start at the pointer,
    ``MATCH (v:EmbeddingVersion)``: it has the provenance, `slot`, `property`, `dimension`, `item_index`,
    `user_index` and what is in `extra` (numbers, texts, bytes or lists of numbers).

    Raises `ContractError` for vectors that no index takes (of unequal length, zero, not finite),
    `UnknownIdError` for a key that the graph does not hold, both before anything is written.
    """
    given = {label: _counts(table) for label, table in vectors.items()}
    dimension = _check_vectors(vectors)
    now = current_version(store)
    slot = now["slot"] if now else cypher.SLOTS[1]
    draft.meta |= {"version": provenance.version}
    draft.figures |= {"vectors": given, "written": 0, "dimension": dimension}
    if now and now["version"] == provenance.version and _held(store, slot, given) == given:
        return
    for label, table in vectors.items():
        _check_keys(store, [label], table[KEY.name])
    slot = next(other for other in cypher.SLOTS if other != slot)
    _empty_slot(store, slot)
    for label, table in vectors.items():
        _write_label(store, label, table, slot, progress)
    if (held := _held(store, slot, given)) != given:
        raise StoreError(f"of the vectors {given} only {held} are in Neo4j: did others write? Publish again")
    properties = {**(extra or {}), **asdict(provenance), "slot": slot, "property": f"z_{slot}", "dimension": dimension}
    properties |= {f"{side}_index": cypher_vectors.index_name(side, slot) for side in cypher.SIDE_LABELS}
    _create_indexes(store, slot, dimension)
    store.value(cypher_vectors.SWITCH, {"properties": properties})
    draft.figures["written"] = sum(sum(counts.values()) for counts in given.values())


def write_recommendations(
    store: Store,
    rows: pa.Table,
    labels: Mapping[str, Mapping[str, Any]],
    version: str,
    draft: Draft,
    progress: Progress = silent,
) -> None:
    """Make ``(user)-[:RECOMMENDED]->(item)`` what `rows` (under `RECOMMENDATION`) says, user by user.

    `labels` is the manifest's: it says which label holds a domain's items. Nothing is written when all of this
    version is there already. A user's former ones go in the transaction that makes the new; then those of users
    without new ones go.
    """
    check("recommendations", rows.schema, RECOMMENDATION)
    [user] = [label for label, of in labels.items() if of["side"] == "user"]
    domains = rows["domain"].unique().to_pylist()
    items = {domain: [x for x, of in labels.items() if of.get("domain") == domain] for domain in sorted(domains)}
    if unknown := [domain for domain, found in items.items() if not found]:
        raise ContractError("recommendations", f"domains of the graph, not {unknown}")
    draft.figures |= {"relationships": rows.num_rows, "written": 0}
    if store.rows(cypher_vectors.COUNT_RECOMMENDED, {"version": version}) == [[rows.num_rows] * 2]:
        return
    _check_keys(store, [user], rows["user_id"])
    for domain, found in items.items():
        _check_keys(store, found, rows.filter(pc.equal(rows["domain"], domain))["item_id"])
    made = 0
    if items:
        statement = cypher_vectors.replace_recommendations(user, items)
        done = store.write(
            statement,
            _by_user(rows, list(items)),
            {"version": version},
            progress=partial(progress, "recommendations"),
        )
        made = done.returned
    store.sweep(cypher_vectors.DROP_RECOMMENDED, {"version": version})
    if made != rows.num_rows:
        raise StoreError(f"of {rows.num_rows} recommendations {made} were written: did others write? Publish again")
    draft.figures["written"] = made


def _counts(table: pa.Table) -> dict[str, int]:
    views = [view for view in cypher.VIEWS if view in table.column_names]
    check("vectors", table.schema, embedding_schema(views))
    return {view: len(table) - table[view].null_count if view in views else 0 for view in cypher.VIEWS}


def _check_vectors(vectors: Mapping[str, pa.Table]) -> int:
    """The one width of all fused vectors."""
    widths: set[int] = set()
    for label, table in vectors.items():
        if "z" not in table.column_names or table["z"].null_count == len(table):
            continue
        fused = table["z"].drop_null()
        widths |= set(pc.list_value_length(fused).unique().to_pylist())
        if len(widths) != 1 or 0 in widths:
            raise ContractError(f"vectors of {label}", "z of one width", f"found widths {sorted(widths)}")
        lengths = np.linalg.norm(matrix(fused), axis=1)
        if bad := int((~np.isfinite(lengths) | (lengths == 0)).sum()):
            raise ContractError(f"vectors of {label}", "z finite and not zero", f"{bad} are not")
    if not widths:
        raise ContractError("vectors", "at least one z", "found none")
    return widths.pop()


def _held(store: Store, slot: str, given: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        label: dict(zip(cypher.VIEWS, store.rows(cypher_vectors.count_vectors(label, slot))[0], strict=True))
        for label in given
    }


def _check_keys(store: Store, labels: Sequence[str], keys: pa.ChunkedArray) -> None:
    held = [batch["key"] for label in labels for batch in store.stream(cypher.node_keys(label))]
    known = pa.chunked_array(held, pa.string())
    unknown = keys.filter(pc.invert(pc.is_in(keys, value_set=known)))
    if len(unknown):
        name = " or ".join(labels)
        raise UnknownIdError(name, "keys that the graph holds", f"{len(unknown)} others, first {unknown[0].as_py()!r}")


def _empty_slot(store: Store, slot: str) -> None:
    """Give up the version before the current one; without its index, vectors are removed and written faster."""
    store.value(cypher_vectors.FORGET_FORMER)
    store.define(*(cypher_vectors.drop_vector_index(side, slot) for side in cypher.SIDE_LABELS))
    store.sweep(cypher_vectors.clear_vectors(slot))


def _write_label(store: Store, label: str, table: pa.Table, slot: str, progress: Progress) -> None:
    for view in (view for view in cypher.VIEWS if view in table.column_names):
        present = table.select([KEY.name, view]).filter(pc.is_valid(table[view]))
        batches = (
            [list(row) for row in zip(*batch.to_pydict().values(), strict=True)]
            for batch in present.to_batches(max_chunksize=ROWS)
        )
        store.write(
            cypher_vectors.set_vectors(label),
            batches,
            {"name": f"{view}_{slot}"},
            progress=partial(progress, f"{label}.{view}"),
        )


def _create_indexes(store: Store, slot: str, dimension: int) -> None:
    store.define(*(cypher_vectors.create_vector_index(side, slot, dimension) for side in cypher.SIDE_LABELS))
    names = [cypher_vectors.index_name(side, slot) for side in cypher.SIDE_LABELS]
    if not online(store, names):
        raise StoreError(f"the vector indexes {names} did not come online: see Neo4j's log")


def _by_user(rows: pa.Table, domains: list[str]) -> Iterator[list[list[Any]]]:
    """Batches of (user, recommendations of the first domain, of the second, …), each user in one batch."""
    ordered = rows.sort_by([("user_id", "ascending"), ("domain", "ascending"), ("rank", "ascending")])
    batch: list[list[Any]] = []
    for batch_rows in ordered.to_batches(max_chunksize=10 * ROWS):
        for row in batch_rows.to_pylist():
            user, item = row.pop("user_id"), row.pop("item_id")
            if not batch or batch[-1][0] != user:
                if len(batch) >= ROWS:
                    yield batch
                    batch = []
                batch.append([user, *([] for _ in domains)])
            batch[-1][1 + domains.index(row["domain"])].append({"item": item, "properties": row})
    if batch:
        yield batch
