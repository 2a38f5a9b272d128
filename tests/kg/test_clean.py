"""Two domains, double persons and one bad row of every kind, with the accounts that must come out."""

from collections.abc import Callable
from typing import Any

import pytest

from kg.errors import ConfigError, QuarantineError, SourceError
from kg.tables import Output

Ingest = Callable[[dict[str, str], dict[str, Any]], Output]

FILES = {
    # ann and Ann are one person; line 4 repeats line 3; 7 has no key, 8 too many values, 9 an age that is no number,
    # 10 an age that no one has
    "film_users.csv": (
        "id,email,age\nu1,ann@x,30\nu2,bob@x,40\nu2,bob@x,40\nu3,cy@x,\n\n"
        ",nobody@x,20\nu4,d@x,1,2\nu5,e@x,V\nu6,f@x,200\n"
    ),
    "book_users.jsonl": '{"id": "b1", "email": "ANN@X ", "city": "Rome"}\n{"id": "b2", "email": "zoe@x"}\nnot json\n',
    # f2 twice: the later edition wins by `prefer`; f3's year is required and no number; f4 has none
    "films.csv": (
        "id,title,year,genres,kind\nf1,One,1990,Drama War,film\nf2,Two,1991,War,film\nf2,Two again,1995,,film\n"
        "f3,Three,unkonwn,War,film\nf4,Four,,War,film\nx1,Trailer,1999,War,trailer\n"
    ),
    "books.csv": "id,title\nk1,Book\n",
    # ends that are not there (lines 6, 7), a time and a weight that are none (8, 9), a rule (10), no time (11)
    "ratings.csv": (
        "user,film,stars,at\nu1,f1,5,100\nu1,f1,2,200\nu2,f1,3,150\nu1,f2,4,1970-01-01 00:05:00\n"
        "u9,f1,4,1\nu1,f9,4,1\nu1,f2,4,soon\nu1,f2,many,1\nu1,f2,9,1\nu1,f2,4,\n"
    ),
    "reads.csv": "user,book,at\nb1,k1,50\nu1,k1,60\n",
}
GRAPH: dict[str, Any] = {
    "sources": {
        "film_users": {"format": "csv", "path": "film_users.csv", "max_quarantined": 0.5},
        "book_users": {"format": "jsonl", "path": "book_users.jsonl", "max_quarantined": 0.5},
        "films": {"format": "csv", "path": "films.csv", "max_quarantined": 0.5},
        "books": {"format": "csv", "path": "books.csv"},
        "ratings": {"format": "csv", "path": "ratings.csv", "max_quarantined": 0.9},
        "reads": {"format": "csv", "path": "reads.csv"},
        "covers": {"format": "images", "path": None},
    },
    "nodes": {
        "User": {
            "source": ["film_users", "book_users"],
            "key": "id",
            "properties": {"email": "email", "age": "int(age)", "city": "city"},
            "rules": {"plausible_age": "age between 1 and 120"},
        },
        "Film": {
            "source": "films",
            "domain": "films",
            "key": "id",
            "properties": {"year": "int(year)"},
            "required": ["year"],
            "where": "kind = 'film'",
            "text": ["title", "genres"],
            "prefer": "int(year)",
        },
        "Genre": {"source": "films", "key": "explode(split(genres, ' '))", "where": "kind = 'film'"},
        "Book": {
            "source": "books",
            "domain": "books",
            "key": "id",
            "join": [{"source": "covers", "on": "id = stem"}],
            "image": "path",
        },
        "Cover": {"source": "covers", "key": "stem"},
    },
    "relationships": {
        "RATED": {
            "source": "ratings",
            "from": {"User": "user"},
            "to": {"Film": "film"},
            "interaction": True,
            "weight": "stars",
            "time": "at",
            "positive": "stars >= 4",
            "rules": {"five_stars": "stars <= 5"},
        },
        "READ": {
            "source": "reads",
            "from": {"User": "user"},
            "to": {"Book": "book"},
            "interaction": True,
            "time": "at",
        },
        "SHOWN_ON": {"source": "covers", "from": {"Cover": "stem"}, "to": {"Book": "stem"}},
    },
    "resolution": {"User": {"match": ["lower(trim(email))"]}},
}


@pytest.fixture(scope="module")
def output(ingested: Ingest) -> Output:
    return ingested(FILES, GRAPH)


def rows(output: Output, table: str, *columns: str) -> list[tuple[Any, ...]]:
    found = output.read(table, list(columns)).to_pylist()
    return sorted((tuple(row[c] for c in columns) for row in found), key=str)


def test_every_row_of_every_source_is_accounted_for(output: Output) -> None:
    sources = output.manifest.figures["sources"]
    assert sources["film_users"] == {
        # 8 rows: u2 twice; no key, malformed, an age over 120 quarantined; the age V is lost but its row is not
        "rows": 8,
        "accepted": 4,
        "duplicate": 1,
        "filtered": 0,
        "quarantined": 3,
        "coerced": 1,
        "reasons": {"malformed": 1, "null_key": 1, "rule:plausible_age": 1},
    }
    assert sources["book_users"]["rows"] == 3
    assert sources["book_users"]["reasons"] == {"malformed": 1}
    # The trailer is filtered by both mappings and counts as one row.
    assert {k: sources["films"][k] for k in ("rows", "accepted", "filtered", "quarantined")} == {
        "rows": 6,
        "accepted": 3,
        "filtered": 1,
        "quarantined": 2,
    }
    assert sources["films"]["reasons"] == {"bad_type:year": 1, "null:year": 1, "where": 2}
    assert sources["ratings"] == {
        "rows": 10,
        "accepted": 4,
        "duplicate": 0,
        "filtered": 0,
        "quarantined": 6,
        "coerced": 0,
        "reasons": {
            "bad_type:time": 1,
            "bad_type:weight": 1,
            "null:time": 1,
            "rule:five_stars": 1,
            "unknown_end:from": 1,
            "unknown_end:to": 1,
        },
    }


def test_every_mapped_row_of_every_table_is_accounted_for(output: Output) -> None:
    tables = output.manifest.figures["tables"]
    # u1 to u6 once, no key, b1, b2: 8 rows, of which one has no key and one a bad age; b1 is u1
    assert tables["nodes/User"] == {
        "mapped": 8,
        "rows": 5,
        "merged": 1,
        "filtered": 0,
        "quarantined": 2,
        "coerced": 1,
    }
    for name, account in tables.items():
        assert account["rows"] == output.manifest.tables[name]
        assert account["mapped"] == sum(account[k] for k in ("rows", "merged", "filtered", "quarantined"))


def test_a_quarantined_row_keeps_its_line_values_and_reason(output: Output) -> None:
    assert rows(output, "quarantine/film_users", "row", "table", "reason", "raw") == [
        ("10", "nodes/User", "rule:plausible_age", '{"id":"u6","email":"f@x","age":"200"}'),
        ("7", "nodes/User", "null_key", '{"email":"nobody@x","age":"20"}'),
        ("8", "", "malformed", '{"line":"u4,d@x,1,2"}'),
    ]
    assert rows(output, "quarantine/ratings", "row", "reason") == [
        ("10", "rule:five_stars"),
        ("11", "null:time"),
        ("6", "unknown_end:from"),
        ("7", "unknown_end:to"),
        ("8", "bad_type:time"),
        ("9", "bad_type:weight"),
    ]


def test_persons_of_two_domains_are_one_node_that_keeps_what_both_know(output: Output) -> None:
    # u1 has an email and an age, b1 an email and a city: as many values, so the smaller key is kept, b1.
    assert rows(output, "aliases/User", "alias", "key") == [("u1", "b1")]
    assert ("b1", "ANN@X ", 30, "Rome") in rows(output, "nodes/User", "key", "email", "age", "city")
    assert [key for (key,) in rows(output, "nodes/User", "key")] == ["b1", "b2", "u2", "u3", "u5"]


def test_repeated_events_aggregate_and_ends_follow_their_aliases(output: Output) -> None:
    found = output.read("relationships/User-RATED-Film").to_pylist()
    by_ends = {(r["from_key"], r["to_key"]): r for r in found}
    assert set(by_ends) == {("b1", "f1"), ("b1", "f2"), ("u2", "f1")}
    twice = by_ends["b1", "f1"]
    assert (twice["count"], twice["weight"], twice["positive"]) == (2, 2.0, True)
    assert (twice["first"].timestamp(), twice["last"].timestamp()) == (100, 200)
    assert by_ends["b1", "f2"]["first"].timestamp() == 300
    assert rows(output, "relationships/User-READ-Book", "from_key", "to_key", "count") == [("b1", "k1", 2)]


def test_events_are_kept_one_by_one_under_ids_of_their_own(output: Output) -> None:
    assert rows(output, "events/User-RATED-Film", "from_key", "to_key", "weight", "positive") == [
        ("b1", "f1", 2.0, False),
        ("b1", "f1", 5.0, True),
        ("b1", "f2", 4.0, True),
        ("u2", "f1", 3.0, False),
    ]
    assert len(set(output.read("events/User-RATED-Film")["row_id"].to_pylist())) == 4


def test_the_preferred_row_of_a_key_wins_as_a_whole(output: Output) -> None:
    assert rows(output, "nodes/Film", "key", "year", "text") == [
        ("f1", 1990, "One\nDrama War"),
        ("f2", 1995, "Two again"),
    ]
    assert rows(output, "nodes/Genre", "key") == [("Drama",), ("War",)]


def test_what_needs_an_absent_source_is_null_or_left_out_by_name(output: Output) -> None:
    assert rows(output, "nodes/Book", "key", "image") == [("k1", None)]
    assert set(output.manifest.figures["left_out"]) == {"sources.covers", "nodes.Cover", "relationships.SHOWN_ON"}
    assert "nodes/Cover" not in output.manifest.tables


def test_meta_says_sides_and_domains(output: Output) -> None:
    labels, edges = output.manifest.meta["labels"], output.manifest.meta["edges"]
    assert [(labels[x]["side"], labels[x]["domain"]) for x in ("User", "Book", "Genre")] == [
        ("user", None),
        ("item", "books"),
        ("entity", None),
    ]
    interaction = {"interaction": True, "target": True, "domain": "films", "key": ["from", "to"]}
    assert edges["User-RATED-Film"] == interaction


def test_meta_says_what_a_change_of_keys_is_recognised_by(output: Output) -> None:
    labels = output.manifest.meta["labels"]
    assert (labels["User"]["key"], labels["Genre"]["key"]) == ("id", "explode(split(genres, ' '))")
    assert labels["Genre"]["sources"] == ["films"]


def test_every_node_has_features(output: Output) -> None:
    assert rows(output, "features/User", "key", "degree") == [("b1", 3), ("b2", 0), ("u2", 1), ("u3", 0), ("u5", 0)]
    assert all(rank > 0 for (rank,) in rows(output, "features/Film", "pagerank"))


def test_the_same_input_gives_the_same_ids(output: Output, ingested: Ingest) -> None:
    small = {"film_users.csv", "films.csv", "ratings.csv"}
    graph = GRAPH | {
        "sources": {n: s for n, s in GRAPH["sources"].items() if n in {"film_users", "films", "ratings"}},
        "nodes": {"User": GRAPH["nodes"]["User"] | {"source": "film_users", "properties": {}}}
        | {"Film": GRAPH["nodes"]["Film"]},
        "relationships": {"RATED": GRAPH["relationships"]["RATED"]},
        "resolution": {},
        "features": {"degree": False, "pagerank": False},
    }
    files = {name: FILES[name] for name in small}
    header, *lines = files["ratings.csv"].splitlines()
    turned = files | {"ratings.csv": "\n".join([header, *reversed(lines)]) + "\n"}
    first, second = ingested(files, graph), ingested(turned, graph)
    for table in ("events/User-RATED-Film", "relationships/User-RATED-Film"):
        assert rows(first, table, "row_id", "from_key") == rows(second, table, "row_id", "from_key")
    assert first.tables("features/") == []


SMALL: dict[str, Any] = {
    "sources": {"users": {"format": "csv", "path": "users.csv"}},
    "nodes": {"User": {"source": "users", "key": "id"}},
}


def test_too_many_bad_rows_fail_with_examples_and_leave_nothing(ingested: Ingest) -> None:
    with pytest.raises(
        QuarantineError, match=r"source users: 2 of 4 rows .*50%, allowed 20%.*row 3: null_key in nodes"
    ):
        ingested({"users.csv": "id,x\na,1\n,2\nb,3\n,4\n"}, SMALL)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"key": "user_id"}, SourceError, r"nodes\.User\.key: no column 'user_id'.*\['id', 'x'\]"),
        ({"key": "upper(id"}, ConfigError, r"nodes\.User\.key: 'upper\(id' is no SQL expression"),
        ({"properties": {"p": "struct(id)"}}, SourceError, r"nodes\.User\.properties\.p: .*struct.*expected a string"),
        ({"properties": {"p": "count(id)"}}, ConfigError, r"nodes\.User\.properties\.p"),
        ({"join": [{"source": "users", "on": "nope"}]}, SourceError, r"join\[0\]\.on: no column 'nope'"),
    ],
)
def test_a_wrong_mapping_is_named(
    ingested: Ingest, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    graph = SMALL | {"nodes": {"User": SMALL["nodes"]["User"] | change}}
    with pytest.raises(error, match=message) as caught:
        ingested({"users.csv": "id,x\na,1\n"}, graph)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(ingested: Ingest) -> None:
    with pytest.raises(SourceError, match=r"source users: nothing to read at .*users\.csv"):
        ingested({}, SMALL)
