from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from embed.graph import reverse_types, simple, to_hetero, without_leaves
from embed.mirror import heterograph
from embed.snapshot import Snapshot
from kg.errors import ContractError
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from tests.embed.planted import ABOUT, GROUPS, KIN, LIKES


def test_the_mirror_equals_the_snapshot(snapshot: Snapshot) -> None:
    mirror = heterograph(snapshot)
    for label, table in snapshot.nodes.items():
        assert mirror.node_table(label).equals(table.combine_chunks()), label
    for edge, table in snapshot.edges.items():
        assert mirror.edge_table(edge).to_pydict() == table.to_pydict(), edge
    assert mirror.graph.nodes["User"].data["age"].dtype == torch.int64
    assert mirror.graph.nodes["User"].data["age__present"].tolist()[:2] == [False, True]


def test_the_models_graph_has_the_given_interactions_alone(
    snapshot: Snapshot, catalogue: Catalogue, interactions: Interactions
) -> None:
    some = replace(interactions.take(np.arange(0, len(interactions), 3)))
    graph = to_hetero(snapshot, catalogue, some)
    for label, edge in (("Film", LIKES), ("Book", EdgeType("User", "READS", "Book"))):
        span = catalogue.span(label)
        mine = some.take((some.item >= span.start) & (some.item < span.stop))
        u, v = graph.edges(etype=(edge.source, edge.type, label))
        assert set(zip(u.tolist(), v.tolist(), strict=True)) == set(
            zip(mine.user.tolist(), (mine.item - span.start).tolist(), strict=True)
        )
        back = graph.edges(etype=(label, f"rev_{edge.type}", "User"))
        assert torch.equal(back[0], v) and torch.equal(back[1], u)
    weights = graph.edges["User", "LIKES", "Film"].data["weight"]
    assert weights.min() >= 2  # weight 1 was no positive
    assert graph.num_edges(("Topic", "rev_ABOUT", "Film")) == snapshot.edges[ABOUT].num_rows


def test_parallel_edges_become_one_with_the_last_values() -> None:
    kept = simple(np.array([0, 1, 0, 0]), np.array([0, 1, 0, 1]), 2)
    assert kept.tolist() == [2, 3, 1]  # (0, 0) from its last row, then (0, 1), (1, 1)


def test_an_unknown_sign_counts_as_positive_and_none_means_the_snapshots_own(
    snapshot: Snapshot, catalogue: Catalogue, interactions: Interactions
) -> None:
    graph = to_hetero(snapshot, catalogue, None)
    assert graph.num_edges("LIKES") + graph.num_edges("READS") == len(interactions)
    table = snapshot.edges[LIKES]
    unsigned = table.set_column(table.column_names.index("positive"), "positive", pa.nulls(len(table), pa.bool_()))
    other = replace(snapshot, edges=snapshot.edges | {LIKES: unsigned})
    assert to_hetero(other, catalogue, None).num_edges("LIKES") == table.num_rows


def test_rare_relations_share_one_type(snapshot: Snapshot, catalogue: Catalogue) -> None:
    more = EdgeType("Film", "SEEN_WITH", "Topic")
    edges = snapshot.edges | {more: pa.table({"src": [0, 1], "dst": [GROUPS, GROUPS]})}
    other = replace(snapshot, edges=edges, edge_meta=snapshot.edge_meta | {more: {"interaction": False}})
    graph = to_hetero(other, catalogue, None, max_relations=1)
    assert graph.num_edges(("Film", "RELATED", "Topic")) == 2
    assert ("Film", "SEEN_WITH", "Topic") not in graph.canonical_etypes
    assert set(reverse_types(graph)) == set(graph.canonical_etypes)


def test_leaves_that_bring_nothing_go(snapshot: Snapshot, catalogue: Catalogue) -> None:
    graph, rows = without_leaves(to_hetero(snapshot, catalogue, None), {"Topic"})
    # The last topic hangs on one book; the others have several films.
    assert rows["Topic"].tolist() == list(range(GROUPS))
    assert graph.num_nodes("Topic") == GROUPS and graph.num_nodes("Film") == snapshot.count("Film")
    # Of four rows one is a repeat and one leads to the leaf.
    assert graph.num_edges(("Book", "KIN", "Topic")) == snapshot.edges[KIN].num_rows - 2


def test_ends_outside_the_node_table_are_refused(snapshot: Snapshot) -> None:
    with pytest.raises(ContractError, match="src in 0 … 23"):
        snapshot.check_ends(ABOUT, pa.table({"src": [24], "dst": [0]}))
