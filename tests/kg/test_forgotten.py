"""Who is forgotten stays so, though the sources still deliver them."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from kg.errors import ContractError
from kg.forgotten import NOTHING, REASON, Forgotten, tokens
from kg.tables import Workspace
from tests.kg.conftest import run_in

GONE = NOTHING.including("User", ["u7", "u8"]).including("Film", ["f2"])


def test_a_record_knows_labels_apart_and_says_no_key(tmp_path: Path):
    workspace = Workspace(tmp_path)
    GONE.write(workspace)
    found = Forgotten.read(workspace)
    assert found == GONE
    assert found.holds("User", "u7")
    assert not found.holds("Film", "u7")
    assert found.mask("User", pa.array(["u1", "u7", None, "u8"])).to_pylist() == [False, True, False, True]
    assert "u7" not in (tmp_path / "forgotten.json").read_text()


def test_records_of_two_salts_unite():
    both = NOTHING.including("User", ["a"]).united(NOTHING.including("User", ["b"]))
    assert both.holds("User", "a")
    assert both.holds("User", "b")
    assert len(both.including("User", ["a", "c"])) == 3
    assert both.united(both) == both


def test_a_record_of_another_format_is_refused():
    with pytest.raises(ContractError, match="format 1; found 2"):
        Forgotten.parse(json.dumps({"format": 2, "groups": []}).encode())


def test_a_line_is_looked_at_by_fields_and_words():
    assert {"Ann Lee", "Ann", "u7", "4"} <= tokens('u7,"Ann Lee",4')


FILES = {
    "users.csv": "id,age,mail,city\nu1,30,a@x,Bern\nu7,31,b@x,Rome\nu8,999,c@x,Rome\nu7,extra,b@x,Rome,5,6\n",
    "films.csv": "id,title,genres\nf1,One,drama\nf2,Two,drama noir\n",
    "seen.csv": "user,film,stars\nu1,f1,5\nu1,f2,3\nu7,f1,4\nu8,nowhere,4\nu1,nowhere,2\n",
    "links.csv": "entity,film\nm1,f1\nm2,f2\n",
    "triples.csv": "head,relation,tail\nm1,made_by,x\nm2,made_by,y\nz,likes,m2\n",
}
GRAPH = {
    "sources": {
        name: {"format": "csv", "path": f"{name}.csv", "max_quarantined": 1}
        for name in ("users", "films", "seen", "links", "triples")
    },
    "nodes": {
        "User": {"source": "users", "key": "id", "properties": {"age": "int(age)"}, "rules": {"old": "age < 120"}},
        "City": {"source": "users", "key": "city", "rules": {"young": "int(age) < 100"}},
        "Film": {"source": "films", "key": "id", "domain": "films", "properties": {"title": "title"}},
        "Genre": {"source": "films", "key": "explode(split(genres, ' '))"},
    },
    "relationships": {
        "SAW": {"source": "seen", "from": {"User": "user"}, "to": {"Film": "film"}, "interaction": True},
        "OF": {"source": "films", "from": {"Film": "id"}, "to": {"Genre": "explode(split(genres, ' '))"}},
        "KB": {
            "source": "triples",
            "triples": {"head": "head", "relation": "relation", "tail": "tail"},
            "link": {"source": "links", "node": "Film", "key": "film", "entity": "entity"},
        },
    },
    "features": {"degree": False, "pagerank": False},
}


def keys(output, table: str) -> list[str]:
    return sorted(output.read(table)["key"].to_pylist())


def test_rows_that_make_or_name_a_forgotten_node_are_filtered(spark, tmp_path: Path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    output = run_in(tmp_path, GRAPH, spark, forgotten=GONE)
    assert keys(output, "nodes/User") == ["u1"]
    assert keys(output, "nodes/Film") == ["f1"]
    assert keys(output, "nodes/Genre") == ["drama", "noir"]
    assert keys(output, "nodes/City") == ["Bern", "Rome"]
    assert keys(output, "nodes/Entity") == ["x"]
    assert output.read("events/User-SAW-Film").num_rows == 1
    assert output.read("relationships/Film-OF-Genre")["from_key"].to_pylist() == ["f1"]
    # Neither who is forgotten and refused by a rule, nor a line that cannot be read, goes to quarantine.
    assert "quarantine/users" not in output.manifest.tables
    [row] = output.read("quarantine/seen").to_pylist()
    assert row["reason"] == "unknown_end:to"
    assert json.loads(row["raw"])["user"] == "u1"
    sources = output.manifest.figures["sources"]
    assert {name: account["filtered"] for name, account in sources.items()} == {
        "users": 2,  # u8's, which is no city either by its rule, and the line that cannot be read; u7's makes a city
        "films": 0,  # f2's makes a genre
        "seen": 3,  # f2 of u1, u7, u8
        "links": 1,
        "triples": 2,
    }
    # By mapping: the users u7 and u8, the city of u8, and the line.
    assert sources["users"]["reasons"] == {REASON: 4}
    assert all(account["coerced"] == 0 for account in sources.values())
