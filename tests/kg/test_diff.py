"""Tables against what was loaded: on small tables against sets, and how far a change reaches against networkx."""

from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.affected import affected
from kg.diff import CREATED, UNCHANGED, UPDATED, diff
from kg.load_state import State, write_rows
from kg.tables import Draft, Output, Workspace
from tests.kg.small_graph import Rows, rows, tables

TABLE = "nodes/User"
EDGES = "relationships/User-RATED-Film"


def state(folder: Path, table: str, found: pa.Table) -> State:
    workspace = Workspace(folder)
    written = write_rows(Draft(workspace.filesystem, workspace.root), "", table, found.to_batches())
    return State(workspace.filesystem, workspace.root, {table: written[0]}, {table: written[1]})


def nodes(hashes: dict[str, int]) -> pa.Table:
    schema = pa.schema([pa.field("key", pa.string(), False), pa.field("hash", pa.int64(), False)])
    return pa.table([list(hashes), list(hashes.values())], schema=schema)


some = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3))


@given(some, some)
def test_each_row_is_what_two_sets_say(
    tmp_path_factory: pytest.TempPathFactory, new: dict[str, int], old: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    found = diff(TABLE, state(folder / "new", TABLE, nodes(new)), state(folder / "old", TABLE, nodes(old)))
    expected = [CREATED if k not in old else UPDATED if old[k] != h else UNCHANGED for k, h in new.items()]
    assert found.status.tolist() == expected
    assert set(found.deleted["key"].to_pylist()) == set(old) - set(new)
    assert found.changes == (new != old)


def test_a_relationship_with_other_ends_is_deleted_and_created(tmp_path: Path) -> None:
    def edges(target: str, hash_: int) -> pa.Table:
        columns = ["row_id", "from_key", "to_key"]
        schema = pa.schema([*(pa.field(c, pa.string(), False) for c in columns), pa.field("hash", pa.int64(), False)])
        return pa.table([["r1", "r2"], ["u", "u"], [target, "f"], [hash_, 5]], schema=schema)

    found = diff(EDGES, state(tmp_path / "new", EDGES, edges("g", 2)), state(tmp_path / "old", EDGES, edges("f", 1)))
    assert found.status.tolist() == [CREATED, UNCHANGED]
    assert found.deleted.to_pylist() == [{"row_id": "r1", "from_key": "u", "to_key": "f"}]


def test_hops_are_networkxs(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, 40, (45, 2))})
    content: Rows = {
        "nodes/User": [{"key": f"n{i}"} for i in range(40)],
        "nodes/Film": [{"key": f"n{i}"} for i in range(40)],
        EDGES: [{"row_id": f"{a}-{b}", "from_key": f"n{a}", "to_key": f"n{b}", "count": 1} for a, b in pairs],
    }
    graph = nx.Graph((("User", f"n{a}"), ("Film", f"n{b}")) for a, b in pairs)
    graph.add_nodes_from((label, f"n{i}") for label in ("User", "Film") for i in range(40))
    seeds = {"User": pa.array(["n3", "gone"]), "Film": pa.array(["n3", "n8"])}
    sources = {("User", "n3"), ("Film", "n3"), ("Film", "n8")}
    for hops in (0, 1, 3):
        found = {
            (label, row["key"]): row["hops"]
            for label, near in affected(tables(tmp_path, content), seeds, hops)
            for row in near.to_pylist()
        }
        assert found == nx.multi_source_dijkstra_path_length(graph, sources, cutoff=hops)


def test_nothing_is_affected_by_nothing(tmp_path: Path) -> None:
    output: Output = tables(tmp_path, rows())
    assert all(near.num_rows == 0 for _, near in affected(output, {}, 3))
