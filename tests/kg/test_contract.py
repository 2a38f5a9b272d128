"""A contract quarantines bad raw rows once, each by the first promise it breaks, and no mapping sees them."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from kg.contract_config import Contract, contract_problems, reading_order
from kg.errors import ConfigError, QuarantineError, SourceError
from kg.tables import Output

Ingest = Callable[[dict[str, str], dict[str, Any]], Output]

FILES = {
    # Lines: 3 repeats 2; 4 no email; 5 an age with a fraction; 6 too old; 7 an email that is none; 8 an unknown
    # country; 9 u1 again, with other values; 10 a rule; 11 not of the kinds; 12 age and kind blank: all is well;
    # 13 is refused by its boss, 14 refers to 13, which passed all but references, and is fine; 15 no date
    "people.csv": (
        "id,email,age,country,kind,boss,born\n"
        "u1,a@x,30,it,user,,1990-01-31\n"
        "u1,a@x,30,it,user,,1990-01-31\n"
        "u2,,30,it,user,,\n"
        "u3,c@x,30.5,it,user,,\n"
        "u4,d@x,200,it,user,,\n"
        "u5,e-at-x,30,it,user,,\n"
        "u6,f@x,30,xx,user,,\n"
        "u1,g@x,31,it,user,,\n"
        "u8,h@x,12,fr,admin,,\n"
        "u9,i@x,30,it,robot,,\n"
        "u10,j@x, ,fr,,u1,\n"
        "u11,k@x,30,it,user,u99,\n"
        "u12,l@x,30,it,user,u11,\n"
        "u13,m@x,30,it,user,,1890-12-31\n"
    ),
    # France comes twice, Atlantis has no code, so that nobody can refer to it
    "countries.csv": "code,name,size\nit,Italy,1\nfr,France,2\nfr,France again,3\nxx,Atlantis,big\n",
}
CONTRACT: dict[str, Any] = {
    "columns": {
        "id": {"nullable": False, "unique": True},
        "email": {"nullable": False, "pattern": "[^@]+@[^@]+"},
        "age": {"type": "int", "min": 0, "max": 150},
        "kind": {"values": ["user", "admin"]},
        "born": {"type": "date", "min": "1900-01-01"},
        "country": {"references": "countries.code"},
        "boss": {"references": "people.id"},
    },
    "rules": {"grown_admins": "kind <> 'admin' or age >= 18"},
}
GRAPH: dict[str, Any] = {
    "sources": {
        "people": {"format": "csv", "path": "people.csv", "max_quarantined": 0.9, "contract": CONTRACT},
        "countries": {
            "format": "csv",
            "path": "countries.csv",
            "max_quarantined": 0.9,
            "contract": {"columns": {"code": {"unique": True}, "size": {"type": "int"}}},
        },
    },
    "nodes": {
        # Were u9 seen, its rule would refuse it a second time.
        "Person": {
            "source": "people",
            "key": "id",
            "properties": {"email": "email"},
            "rules": {"known": "kind <> 'robot'"},
        },
        "Country": {"source": "countries", "key": "code", "properties": {"name": "name"}},
    },
    "relationships": {"LIVES_IN": {"source": "people", "from": {"Person": "id"}, "to": {"Country": "country"}}},
    "features": {"degree": False, "pagerank": False},
}


@pytest.fixture(scope="module")
def output(ingested: Ingest) -> Output:
    return ingested(FILES, GRAPH)


def refused(output: Output, source: str) -> dict[str, str]:
    table = output.read(f"quarantine/{source}").to_pylist()
    assert {row["table"] for row in table} == {""}
    assert len({row["row"] for row in table}) == len(table)
    return {row["row"]: row["reason"] for row in table}


def test_each_bad_row_is_quarantined_once_by_the_first_promise_it_breaks(output: Output) -> None:
    assert refused(output, "people") == {
        "4": "null:email",
        "5": "type:age",
        "6": "range:age",
        "7": "pattern:email",
        "8": "reference:country",
        "9": "unique:id",
        "10": "rule:grown_admins",
        "11": "values:kind",
        "13": "reference:boss",
        "15": "range:born",
    }
    assert refused(output, "countries") == {"4": "unique:code", "5": "type:size"}


def test_the_accounts_still_add_up_and_no_mapping_sees_a_bad_row(output: Output) -> None:
    people = output.manifest.figures["sources"]["people"]
    counts = {name: people[name] for name in ("rows", "accepted", "duplicate", "filtered", "quarantined")}
    # u1, u10 and u12 of fourteen rows
    assert counts == {"rows": 14, "accepted": 3, "duplicate": 1, "filtered": 0, "quarantined": 10}
    assert people["reasons"] == dict.fromkeys(sorted(refused(output, "people").values()), 1)
    assert sorted(output.read("nodes/Person")["key"].to_pylist()) == ["u1", "u10", "u12"]
    assert output.manifest.figures["tables"]["relationships/Person-LIVES_IN-Country"]["mapped"] == 3


def test_a_quarantined_row_keeps_its_raw_values(output: Output) -> None:
    raws = {row["row"]: row["raw"] for row in output.read("quarantine/people").to_pylist()}
    assert raws["5"] == '{"id":"u3","email":"c@x","age":"30.5","country":"it","kind":"user"}'


def test_types_of_their_own_are_checked_as_text_is(ingested: Ingest) -> None:
    """JSON brings numbers and booleans: 2.5 is no int, 3.0 is one; 7 is out of range; true is among the values."""
    lines = ['{"id":1,"n":3.0,"ok":true}', '{"id":2,"n":2.5,"ok":true}', '{"id":3,"n":7}', '{"id":4,"ok":false}']
    contract = {"columns": {"n": {"type": "int", "max": 5}, "ok": {"type": "boolean", "values": [True]}}}
    source = {"format": "jsonl", "path": "a.jsonl", "max_quarantined": 1, "contract": contract}
    graph = {"sources": {"a": source}, "nodes": {"A": {"source": "a", "key": "id"}}}
    found = ingested({"a.jsonl": "\n".join(lines) + "\n"}, graph | {"features": {"degree": False, "pagerank": False}})
    assert refused(found, "a") == {"2": "type:n", "3": "range:n", "4": "values:ok"}


SMALL: dict[str, Any] = {
    "sources": {"users": {"format": "csv", "path": "users.csv"}},
    "nodes": {"User": {"source": "users", "key": "id"}},
    "features": {"degree": False, "pagerank": False},
}
USERS = {"users.csv": "id,x\na,1\nb,2\n"}


def with_contract(contract: dict[str, Any], **more: Any) -> dict[str, Any]:
    return SMALL | {"sources": {"users": SMALL["sources"]["users"] | {"contract": contract} | more}}


@pytest.mark.parametrize(
    ("contract", "error", "message"),
    [
        (
            {"columns": {"age": {}}},
            SourceError,
            r"sources\.users\.contract\.columns\.age: no column 'age'.*\['id', 'x'",
        ),
        ({"rules": {"r": "x >"}}, ConfigError, r"sources\.users\.contract\.rules\.r: 'x >' is no SQL expression"),
        ({"rules": {"r": "y > 1"}}, SourceError, r"contract\.rules\.r: no column 'y'"),
        ({"columns": {"x": {"pattern": "("}}}, ConfigError, r"columns\.x\.pattern: '\(' is no regular expression"),
        ({"columns": {"x": {"references": "users.y"}}}, SourceError, r"columns\.x\.references: no column 'y'"),
        ({"columns": {"x": {"type": "date", "min": "soon"}}}, ConfigError, r"columns\.x: expected a date.*'soon'"),
    ],
)
def test_a_wrong_contract_is_named_with_its_place(
    ingested: Ingest, contract: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        ingested(USERS, with_contract(contract))
    assert "\n" not in str(caught.value)


def test_too_many_broken_promises_fail_the_stage(ingested: Ingest) -> None:
    with pytest.raises(QuarantineError, match=r"source users: 1 of 2 rows.*row 3: range:x"):
        ingested(USERS, with_contract({"columns": {"x": {"max": 1}}}))


def test_a_reference_to_a_source_that_is_left_out_is_not_checked_and_said(ingested: Ingest) -> None:
    contract = {"columns": {"x": {"references": "others.id"}}}
    graph = with_contract(contract)
    graph["sources"]["others"] = {"format": "csv", "path": None}
    found = ingested(USERS, graph)
    assert found.manifest.figures["left_out"]["sources.users.contract.references"] == "without others"
    assert found.manifest.figures["sources"]["users"]["accepted"] == 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"min": "a"}, "expected numbers as `min`"),
        ({"type": "date", "min": 3}, "expected texts as `min` and `max` of a date"),
        ({"min": 3, "max": 1}, "no greater than"),
        ({"references": "users"}, "pattern"),
        ({"type": "number"}, "int"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(column: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Contract.model_validate({"columns": {"x": column}})


def contract(*references: str) -> Contract:
    return Contract.model_validate({"columns": {f"c{i}": {"references": r} for i, r in enumerate(references)}})


def test_sources_are_read_after_those_that_they_refer_to() -> None:
    assert reading_order({"a": contract("b.x", "a.y"), "b": contract("c.x"), "c": None, "d": contract("c.x")}) == [
        ["c"],
        ["b", "d"],
        ["a"],
    ]


def test_a_circle_and_an_unknown_source_are_problems_of_the_file() -> None:
    found = list(contract_problems({"a": contract("b.x"), "b": contract("a.x", "z.x")}))
    assert found[0][0] == ("sources", "b", "contract", "columns", "c1", "references")
    assert "unknown source 'z'" in found[0][1]
    assert found[1][1] in {
        "expected no circle of `references` (found a to b to a)",
        "expected no circle of `references` (found b to a to b)",
    }
