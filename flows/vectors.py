"""Embeddings as tables by label, and back: what stages keep and what is written to Neo4j."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.ids import IdMap
from kg.interactions import Catalogue
from kg.schema import KEY, ROTATION, SEEN, embedding_schema
from kg.tables import Draft, Output
from kg.vectors import matrix, vector_array

if TYPE_CHECKING:
    from embed.infer import Embeddings

PREFIX = "vectors/"
SEEN_PREFIX = "seen/"
TURN = "rotation"


def to_tables(embeddings: "Embeddings", catalogue: Catalogue) -> dict[str, pa.Table]:
    """One table a label under `embedding_schema`, a vector that its mask leaves out as null."""
    tables = {catalogue.user_label: _table(catalogue.users.keys, embeddings.users, embeddings.user_masks)}
    for label, ids in catalogue.items.items():
        span = catalogue.span(label)
        vectors = {view: rows[span] for view, rows in embeddings.items.items()}
        masks = {view: mask[span] for view, mask in embeddings.item_masks.items()}
        tables[label] = _table(ids.keys, vectors, masks)
    return tables


def _table(keys: pa.Array, vectors: dict[str, np.ndarray], masks: dict[str, np.ndarray]) -> pa.Table:
    columns = [keys, *(vector_array(rows, masks[view]) for view, rows in vectors.items())]
    return pa.table(columns, schema=embedding_schema(vectors))


def write_vectors(draft: Draft, embeddings: "Embeddings", catalogue: Catalogue) -> None:
    """Tables ``vectors/<Label>`` of a draft."""
    for label, table in to_tables(embeddings, catalogue).items():
        draft.write(f"{PREFIX}{label}", table, table.schema)


def read_vectors(output: Output, catalogue: Catalogue) -> "Embeddings":
    """Inverse of `write_vectors`, by key: a node that came later has no view, one that has gone is left out."""
    from embed.infer import Embeddings

    users, user_masks = _arrays(output, {catalogue.user_label: catalogue.users})
    items, item_masks = _arrays(output, catalogue.items)
    return Embeddings(users, items, user_masks, item_masks)


def _arrays(output: Output, labels: dict[str, IdMap]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    parts = [_ordered(output.read(f"{PREFIX}{label}"), ids) for label, ids in labels.items()]
    whole = pa.concat_tables(parts)
    vectors, masks = {}, {}
    for view in whole.column_names[1:]:
        masks[view] = whole[view].is_valid().to_numpy()
        found = matrix(whole[view].drop_null()) if masks[view].any() else np.zeros((0, 0), np.float32)
        vectors[view] = np.zeros((len(whole), found.shape[1]), np.float32)
        vectors[view][masks[view]] = found
    return vectors, masks


def _ordered(table: pa.Table, ids: IdMap) -> pa.Table:
    """The rows of `ids`, in their order; null where the table lacks one."""
    return table.take(pc.index_in(ids.keys, table[KEY.name].combine_chunks()))


def write_space(draft: Draft, rotation: np.ndarray, seen: dict[str, pa.Table]) -> None:
    """What turned the model's vectors into those of the draft, and what it saw of each node (`embed.seen`)."""
    draft.write(TURN, pa.table([vector_array(rotation)], schema=ROTATION), ROTATION)
    for label, table in seen.items():
        draft.write(f"{SEEN_PREFIX}{label}", table, SEEN)


def has_space(output: Output) -> bool:
    """Whether these vectors can be refreshed: whether `write_space` was there when they were made."""
    return TURN in output.manifest.tables


def read_space(output: Output) -> tuple[np.ndarray, dict[str, pa.Table]]:
    """Inverse of `write_space`: float32[d, d], and a table by label."""
    tables = {name.removeprefix(SEEN_PREFIX): output.read(name) for name in output.tables(SEEN_PREFIX)}
    return matrix(output.read(TURN)["row"]), tables
