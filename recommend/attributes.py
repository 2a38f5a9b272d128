"""What items have in common in the graph: genres, people, topics; read from a snapshot's tables."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from kg.interactions import Catalogue
from kg.schema import EdgeType
from kg.tables import Output

TITLES = ("title", "name", "label")
"""Properties that hold a node's name, best first; a node without them is called by its key."""


@dataclass(frozen=True)
class Attributes:
    """Facets of items: a facet is a node that items are related to, by one relationship type."""

    matrix: sparse.csr_matrix
    """CSR[items, facets] float32 of ones."""
    relations: list[str]
    """Relationship type of each facet."""
    names: list[str]
    """Name of each facet's node."""
    titles: list[str]
    """Name of each item."""

    @cached_property
    def frequency(self) -> np.ndarray:
        """int64[facets]: how many items have each facet."""
        return np.bincount(self.matrix.indices, minlength=self.matrix.shape[1])

    def weighted(self) -> sparse.csr_matrix:
        """CSR[items, facets] with rare facets weighing more (inverse document frequency), rows of length 1."""
        weights = np.log(max(self.matrix.shape[0], 1) / np.maximum(self.frequency, 1)).astype(np.float32)
        found = sparse.csr_matrix(self.matrix @ sparse.diags(weights), dtype=np.float32)
        lengths = np.sqrt(np.asarray(found.multiply(found).sum(1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.maximum(lengths, 1e-9)) @ found, dtype=np.float32)


def names(output: Output, label: str) -> list[str]:
    """The names of a label's nodes, in the order of its table."""
    columns = output.scan(f"nodes/{label}").schema.names
    chosen = [column for column in TITLES if column in columns]
    table = output.read(f"nodes/{label}", ["key", *chosen])
    values = [pc.cast(table[column], pa.string()) for column in (*chosen, "key")]
    return [str(name) for name in pc.coalesce(*values).to_pylist()]


def _ends(output: Output, catalogue: Catalogue, edge: EdgeType) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Item index and other end's row of an edge type that touches items, and the other end's label."""
    table = output.read(f"edges/{edge.name}", ["src", "dst"])
    source, target = table["src"].to_numpy(), table["dst"].to_numpy()
    if edge.source in catalogue.items:
        return _positions(output, catalogue, edge.source)[source], target, edge.target
    if edge.target in catalogue.items:
        return _positions(output, catalogue, edge.target)[target], source, edge.source
    return None


def _positions(output: Output, catalogue: Catalogue, label: str) -> np.ndarray:
    """The catalogue's index of each row of a label's node table."""
    keys = output.read(f"nodes/{label}", ["key"])["key"]
    return catalogue.items[label].encode(keys) + catalogue.offsets[label]


def _facets(output: Output, catalogue: Catalogue, edge: EdgeType) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Item index and facet of each pair, and the facets' names. Items linked to items are each other's facets."""
    if (ends := _ends(output, catalogue, edge)) is None:
        return None
    item, other, label = ends
    facets, column = np.unique(other, return_inverse=True)
    called = names(output, label)
    if label in catalogue.items:
        item = np.concatenate([item, _positions(output, catalogue, label)[facets]])
        column = np.concatenate([column, np.arange(len(facets))])
    return item, column, [called[row] for row in facets]


def read_attributes(output: Output, catalogue: Catalogue) -> Attributes:
    """The facets of all items from the tables ``nodes/<Label>`` and ``edges/<name>`` of a snapshot.

    Interactions are no facets. `UnknownIdError` when the snapshot holds an item that the catalogue lacks.
    """
    items, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    relations: list[str] = []
    called: list[str] = []
    for table in output.tables("edges/"):
        edge = EdgeType.parse(table.removeprefix("edges/"))
        if output.manifest.meta["edges"][edge.name]["interaction"]:
            continue
        if found := _facets(output, catalogue, edge):
            items.append(found[0])
            columns.append(found[1] + len(called))
            relations += [edge.type] * len(found[2])
            called += found[2]
    rows, cols = np.concatenate(items), np.concatenate(columns)
    shape = (catalogue.n_items, len(called))
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, cols)), shape=shape)
    matrix.data[:] = 1
    titles: list[str] = [""] * catalogue.n_items
    for label in catalogue.items:
        for position, name in zip(_positions(output, catalogue, label), names(output, label), strict=True):
            titles[position] = name
    return Attributes(matrix, relations, called, titles)
