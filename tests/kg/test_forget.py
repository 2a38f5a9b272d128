"""What a workspace holds of a node is found wherever it lies, and goes; the rest stays as it was."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from kg.errors import ContractError
from kg.evaluate import evaluate
from kg.forget import holdings, keys_of, leftovers
from kg.forget_files import WITHHELD, file_holdings, own_contents
from kg.forgotten import NOTHING
from kg.id_columns import Names, Person
from kg.project import Graph
from kg.proof import is_distinctive, left_in_workspace
from kg.schema import ALIAS, CUT, EVENT, FEATURE, QUARANTINE, RECOMMENDATION, embedding_schema, node_schema
from kg.tables import Draft, Output, Workspace
from kg.vectors import content_hash

AT = datetime(2020, 1, 1, tzinfo=UTC)
GRAPH = Graph.model_validate(
    {
        "sources": {
            "users": {"format": "csv", "path": "users.csv", "rename": {"User Id": "id"}},
            "seen": {"format": "jsonl", "path": "seen.jsonl"},
            "mails": {"format": "parquet", "path": "mails"},
        },
        "nodes": {
            "User": {"source": ["users", "mails"], "key": "id"},
            "Film": {"source": "seen", "key": "lower(film)", "domain": "films"},
        },
        "relationships": {
            "SAW": {"source": "seen", "from": {"User": "user"}, "to": {"Film": "lower(film)"}, "interaction": True}
        },
    }
)


def no_spark(expression: str, records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """`lower(film)`, the only expression here, without Spark."""
    assert expression == "lower(film)"
    return [[record["film"].lower()] if record.get("film") else [] for record in records]


def names(ids) -> Names:
    return Names(GRAPH, ids, no_spark)


def put(draft: Draft, table: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    draft.write(table, pa.Table.from_pylist(rows, schema), schema)


def raw(source: str, row: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"source": source, "file": "f", "row": str(row), "raw": json.dumps(values), "table": "", "reason": "x"}


def write_tables(draft: Draft) -> None:
    users = [{"key": "7", "text": "mine"}, {"key": "8", "text": "both"}, {"key": "9", "text": "both"}]
    put(draft, "nodes/User", users, node_schema([]))
    put(draft, "nodes/Film", [{"key": "7"}, {"key": "f"}], node_schema([]))
    events = [{"row_id": f"{u}{f}", "from_key": u, "to_key": f, "time": AT} for u in "789" for f in ("7", "f")]
    put(draft, "events/User-SAW-Film", events, EVENT)
    put(draft, "features/User", [{"key": key, "degree": 7} for key in "789"], FEATURE)
    named = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("community", pa.string())])
    put(draft, "features/Film", [{"key": "7", "community": "User:7"}, {"key": "f", "community": "Film:7"}], named)
    matches = pa.schema([pa.field(name, pa.string()) for name in ("left", "right", "rule")])
    put(
        draft,
        "matches/User",
        [{"left": "70", "right": "7", "rule": "8"}, {"left": "80", "right": "8", "rule": "7"}],
        matches,
    )
    put(draft, "matches/User-SAME_AS-Film", [{"left": "8", "right": "7", "rule": "7"}], matches)
    put(draft, "aliases/User", [{"alias": "70", "key": "7"}, {"alias": "80", "key": "8"}], ALIAS)
    put(
        draft,
        "quarantine/users",
        [
            raw("users", 2, {"id": "7", "age": "8"}),
            raw("users", 3, {"id": "8", "age": "7"}),
            raw("users", 4, {"line": "70,x,y"}),
            raw("users", 5, {"line": "700,x"}),
        ],
        QUARANTINE,
    )
    put(
        draft,
        "quarantine/seen",
        [raw("seen", 1, {"user": 7, "film": "F"}), raw("seen", 2, {"user": 8, "film": "7"})],
        QUARANTINE,
    )


def write_cuts(draft: Draft) -> None:
    rows = [
        {"edge": "User-SAW-Film", "row_id": f"{u}7", "from_key": u, "to_key": "7", "time": AT, "split": "train"}
        for u in "78"
    ]
    put(draft, "user_time", rows, CUT)


def write_vectors(draft: Draft) -> None:
    put(draft, "vectors/User", [{"key": "8", "z": [1.0]}], embedding_schema(["z"]))


def write_recommendations(draft: Draft) -> None:
    rows = [
        {"user_id": user, "item_id": item, "domain": "films", "rank": 1, "score": 1.0, "reason": "", "model": "m"}
        for user, item in (("7", "f"), ("8", "7"), ("8", "f"))
    ]
    put(draft, "recommendations", rows, RECOMMENDATION)
    with draft.filesystem.open_output_stream(draft.location("recommendations.csv")) as stream:
        pacsv.write_csv(pa.Table.from_pylist(rows, RECOMMENDATION), stream)


STAGES = {
    "tables": write_tables,
    "cuts": write_cuts,
    "embeddings": write_vectors,
    "recommendations": write_recommendations,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "run")
    for name, write in STAGES.items():
        with found.stage(name).create("f") as draft:
            write(draft)
    root = tmp_path / "run"
    for place, text in {
        "landing/users/1.csv": "User Id,age\n7,1\n8,7\n",
        "landing/users/state.json": "{}",
        "landing/seen/1.jsonl": '{"user": 7, "film": "x"}\n{"user": 8, "film": "F"}\n',
        "corrections/users.jsonl": json.dumps({"was": json.dumps({"id": "7"}), "raw": {"id": "1"}})
        + "\n"
        + json.dumps({"was": json.dumps({"id": "8"}), "raw": None})
        + "\n",
        "run.json": json.dumps({"error": "source users: such as 7", "seconds": {"7": 7}, "run_id": "7"}),
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    (root / "landing/mails").mkdir()
    pq.write_table(pa.table({"id": [7, 8], "age": [8, 7]}), root / "landing/mails/1.parquet")
    (root / "cache/m").mkdir(parents=True)
    hashes = [content_hash(text.encode()) for text in ("mine", "both", "else")]
    pq.write_table(pa.table({"hash": hashes, "vector": [[1.0]] * 3}), root / "cache/m/part-1.parquet")
    (root / "graph/20200101T000000000000-aaaaaaaa").mkdir(parents=True)
    return found


def found(workspace: Workspace, ids) -> list:
    return [*file_holdings(workspace, names(ids)), *holdings(workspace, names(ids))]


def remove(workspace: Workspace, ids) -> None:
    for holding in found(workspace, ids):
        holding.remove()


def output(workspace: Workspace, stage: str) -> Output:
    current = workspace.stage(stage).current()
    assert current
    return current


def column(workspace: Workspace, stage: str, table: str, name: str) -> list[Any]:
    return output(workspace, stage).read(table)[name].to_pylist()


USER = Person("User", ("7", "70"))


def test_a_user_goes_from_everywhere_and_others_stay(workspace: Workspace, tmp_path: Path):
    contents = own_contents(workspace, names(USER))
    assert contents == {content_hash(b"mine")}
    assert left_in_workspace(workspace, names(USER), USER, contents)
    remove(workspace, USER)
    root = tmp_path / "run"
    assert column(workspace, "tables", "nodes/User", "key") == ["8", "9"]
    assert column(workspace, "tables", "nodes/Film", "key") == ["7", "f"]
    assert column(workspace, "tables", "events/User-SAW-Film", "row_id") == ["87", "8f", "97", "9f"]
    assert column(workspace, "tables", "aliases/User", "alias") == ["80"]
    assert column(workspace, "tables", "features/Film", "key") == ["f"]
    assert column(workspace, "tables", "matches/User", "left") == ["80"]
    assert column(workspace, "tables", "matches/User-SAME_AS-Film", "left") == ["8"]
    assert column(workspace, "tables", "quarantine/users", "row") == ["3", "5"]
    assert column(workspace, "tables", "quarantine/seen", "row") == ["2"]
    assert output(workspace, "tables").manifest.tables["nodes/User"] == 2
    assert column(workspace, "cuts", "user_time", "from_key") == ["8"]
    assert workspace.stage("embeddings").outputs() == []
    assert column(workspace, "recommendations", "recommendations", "user_id") == ["8", "8"]
    written = pacsv.read_csv(output(workspace, "recommendations").location("recommendations.csv"))
    assert written["user_id"].to_pylist() == [8, 8]
    assert (root / "landing/users/1.csv").read_text() == "User Id,age\n\n8,7\n"
    assert (root / "landing/seen/1.jsonl").read_text() == '\n{"user": 8, "film": "F"}\n'
    assert pq.read_table(root / "landing/mails/1.parquet")["id"].to_pylist() == [8]
    assert len((root / "corrections/users.jsonl").read_text().splitlines()) == 1
    assert json.loads((root / "run.json").read_text()) == {"error": WITHHELD, "seconds": {"7": 7}, "run_id": "7"}
    assert pq.read_table(root / "cache/m/part-1.parquet")["hash"].to_pylist() == [
        content_hash(b"both"),
        content_hash(b"else"),
    ]
    assert found(workspace, USER) == []
    assert left_in_workspace(workspace, names(USER), USER, contents) == []


def test_what_was_rewritten_has_new_checksums_and_damage_elsewhere_is_still_seen(workspace: Workspace):
    before = {stage: output(workspace, stage).manifest.files for stage in ("tables", "cuts", "recommendations")}
    remove(workspace, USER)
    for stage, files in before.items():
        now = output(workspace, stage)
        now.verify()
        assert list(now.manifest.files) == list(files)
        assert now.manifest.files != files
    tables = output(workspace, "tables")
    assert tables.manifest.files["nodes/Film/part-0.parquet"] == before["tables"]["nodes/Film/part-0.parquet"]
    path = Path(tables.location("nodes/Film/part-0.parquet"))
    path.write_bytes(path.read_bytes().replace(b"parquet-cpp", b"parquet-cqp"))  # still readable
    remove(workspace, Person("User", ("8",)))
    with pytest.raises(ContractError, match=r"nodes/Film/part-0\.parquet"):
        output(workspace, "tables").verify()


def test_killed_before_the_csv_was_written_it_is_written_by_the_next_call(workspace: Workspace):
    kept = output(workspace, "recommendations")
    [part] = Path(kept.location("recommendations")).glob("*.parquet")
    rows = pq.read_table(part)
    pq.write_table(rows.filter(pc.not_equal(rows["user_id"], "7")), part)
    remove(workspace, USER)
    written = pacsv.read_csv(kept.location("recommendations.csv"))
    assert written["user_id"].to_pylist() == [8, 8]
    output(workspace, "recommendations").verify()


def test_an_item_takes_the_reasons_of_others_with_it(workspace: Workspace):
    film = Person("Film", ("f",))
    remove(workspace, film)
    assert column(workspace, "tables", "nodes/Film", "key") == ["7"]
    assert column(workspace, "tables", "quarantine/seen", "row") == ["2"]  # whose key is an expression
    assert workspace.stage("recommendations").outputs() == []
    assert left_in_workspace(workspace, names(film), film, set()) == []


def test_digests_find_what_keys_find(workspace: Workspace):
    forgotten = NOTHING.including("User", USER.keys)
    places = [(h.place, h.what) for h in found(workspace, USER)]
    assert [(h.place, h.what) for h in found(workspace, forgotten)] == places
    assert len(places) == len(set(places)) > 10


def test_killed_after_any_step_a_second_call_ends_the_same(workspace: Workspace):
    steps = len(found(workspace, USER))
    forgotten = NOTHING.including("User", USER.keys)
    for _ in range(steps):
        rest = found(workspace, forgotten)
        if not rest:
            break
        rest[0].remove()
    assert found(workspace, forgotten) == []
    for stage in ("tables", "cuts", "recommendations"):
        output(workspace, stage).verify()


def test_counts_of_a_call_that_was_killed_are_mended(workspace: Workspace):
    tables = output(workspace, "tables")
    path = f"{tables.location('nodes/User')}/part-0.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    [holding] = found(workspace, Person("User", ("nobody",)))
    assert "nodes/User" in holding.what
    holding.remove()
    assert output(workspace, "tables").manifest.tables["nodes/User"] == 1
    output(workspace, "tables").verify()


def test_the_proof_names_what_is_left(workspace: Workspace, tmp_path: Path):
    remove(workspace, USER)
    folder = tmp_path / "run/tables/20200101T000000000000-aaaaaaaa/features/User"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"key": ["70"]}), folder / "part-0.parquet")
    left = left_in_workspace(workspace, names(USER), USER, set())
    assert left == ["tables/20200101T000000000000-aaaaaaaa/features/User/part-0.parquet: 1 rows"]
    long = Person("User", ("user-4711",))
    (tmp_path / "run/notes.txt").write_text("call (user-4711) back")
    pq.write_table(pa.table({"anything": [["x", "user-4711"]]}), tmp_path / "run/other.parquet")
    assert left_in_workspace(workspace, names(long), long, set()) == ["other.parquet: 1 rows", "notes.txt"]


def test_outputs_of_killed_runs_go(workspace: Workspace):
    [holding] = leftovers(workspace)
    holding.remove()
    assert leftovers(workspace) == []


def test_a_node_is_known_by_any_of_its_ids(workspace: Workspace):
    assert keys_of(workspace, "User", "70") == ("7", "70")
    assert keys_of(workspace, "User", "7") == ("7", "70")
    assert keys_of(workspace, "User", "9") == ("9",)
    assert keys_of(workspace, "Film", "7") == ("7",)


def test_short_numbers_are_not_distinctive():
    assert [key for key in ("7", "12345", "ab", "u17", "123456") if is_distinctive(key)] == ["u17", "123456"]


def test_spark_evaluates_key_expressions(spark):
    records = [{"film": "A B", "n": 1}, {"n": 2}, {"film": "C"}]
    assert evaluate(spark, "explode(split(lower(film), ' '))", records) == [["a", "b"], [], ["c"]]
    assert evaluate(spark, "concat('n', n)", records) == [["n1"], ["n2"], []]
    assert evaluate(spark, "unknown", records) == [[], [], []]
