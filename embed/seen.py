"""What a network saw of each node, as digests: two of them tell what changed without the data of before.

Edges are told by the external ids of their ends, so that other row numbers are no change.
"""

from collections.abc import Iterable
from hashlib import blake2b

import dgl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, UInt64
from torch import Tensor

from embed.graph import MESSAGE, Canonical
from embed.model import Inputs, Shape
from embed.snapshot import Snapshot
from kg.schema import SEEN

STEP = 10_000
"""Rows of bytes made at a time: 20 MB with a text and a picture."""

Changed = dict[str, dict[str, Bool[np.ndarray, " n"]]]
"""By part (a column of `kg.schema.SEEN`), then label: which nodes are new or are not as they were."""


def seen(
    graph: dgl.DGLHeteroGraph, inputs: Inputs, rows: dict[str, Tensor], snapshot: Snapshot, shape: Shape
) -> dict[str, pa.Table]:
    """A table under `kg.schema.SEEN` by label of the network; `rows` are the snapshot's of the graph's nodes.

    A digest of edges is a sum over a hash of each (relation, other end, strength of messages): their order does not
    count. Relations that the network has no parameters for are left out.
    """
    keys = {label: snapshot.keys(label).combine_chunks().take(pa.array(rows[label].numpy())) for label in shape.labels}
    names = {label: _names(label, found) for label, found in keys.items()}
    interactions = set(shape.interactions)
    along = {
        "attributes": _edge_sums(graph, names, [r for r in shape.relations if r not in interactions]),
        "interactions": _edge_sums(graph, names, shape.interactions),
    }
    return {
        label: pa.table([keys[label], _own(inputs, label), *(_binary(sums[label]) for sums in along.values())], SEEN)
        for label in shape.labels
    }


def changed(before: dict[str, pa.Table], now: dict[str, pa.Table]) -> Changed:
    """Compare by key; whatever a node lost is a change of its own, nodes that are gone have no row."""
    found: Changed = {part: {} for part in SEEN.names[1:]}
    for label, table in now.items():
        old = before.get(label, SEEN.empty_table()).combine_chunks()
        place = pc.index_in(table["key"].combine_chunks(), value_set=old["key"].combine_chunks())
        for part, masks in found.items():
            same = pc.equal(table[part].combine_chunks(), old[part].combine_chunks().take(place))
            masks[label] = ~pc.fill_null(same, False).to_numpy(zero_copy_only=False)
    return found


def _names(label: str, keys: pa.Array) -> UInt64[np.ndarray, " n"]:
    """A hash of label and key by node."""
    start = f"{label}\0".encode()
    return np.array(
        [int.from_bytes(blake2b(start + key.encode(), digest_size=8).digest()) for key in keys.to_pylist()], np.uint64
    )


def _own(inputs: Inputs, label: str) -> pa.Array:
    """What each node of a label brings with it: its encoded properties, and views with their masks."""
    parts = [inputs.features[label]]
    for view in inputs.views:
        if label in inputs.views[view]:
            parts += [inputs.views[view][label], inputs.masks[view][label][:, None]]
    digests = []
    for start in range(0, len(parts[0]), STEP):
        chunk = [np.ascontiguousarray(part[start : start + STEP].cpu().numpy()).view(np.uint8) for part in parts]
        digests += [blake2b(row, digest_size=16).digest() for row in np.concatenate(chunk, axis=1)]
    return pa.array(digests, pa.binary(16))


def _edge_sums(
    graph: dgl.DGLHeteroGraph, names: dict[str, np.ndarray], relations: Iterable[Canonical]
) -> dict[str, UInt64[np.ndarray, "n 2"]]:
    """By label the sums over incoming edges; each relation has its reverse, so both ends of an edge see it."""
    sums = {label: np.zeros((len(found), 2), np.uint64) for label, found in names.items()}
    known = set(graph.canonical_etypes)
    for etype in (relation for relation in relations if relation in known):
        source, _, target = etype
        src, dst = (ends.numpy() for ends in graph.edges(etype=etype))
        weight = graph.edges[etype].data.get(MESSAGE)
        strength = np.uint64(0) if weight is None else weight.numpy().view(np.uint32).astype(np.uint64)
        for half in range(2):
            kind = blake2b(f"{half}\0{etype}".encode(), digest_size=8).digest()
            hashes = _mixed(_mixed(names[source][src] ^ np.uint64(int.from_bytes(kind))) + strength)
            np.add.at(sums[target][:, half], dst, hashes)
    return sums


def _mixed(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """SplitMix64's last step (Steele et al., 2014): any bit of the input changes half of the output's."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _binary(values: UInt64[np.ndarray, "n 2"]) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(values), [None, pa.py_buffer(values.tobytes())])
