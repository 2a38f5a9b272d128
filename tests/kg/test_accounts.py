"""Every row has one status, and accounts that do not add up are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from kg.accounts import SourceAccount, TableAccount, check_sums, quarantine
from kg.errors import ContractError
from kg.nodes import map_nodes
from kg.project import Graph
from kg.sources import read
from kg.spark import kept
from kg.tables import Output

Ingest = Callable[[dict[str, str], dict[str, Any]], Output]

# f1 is a film, b1 a book, x1 neither; f2 has no title: as a film it is refused, as a book filtered. b1 comes twice.
FILES = {
    "things.csv": "id,kind,title,tags\nf1,film,One,a a\nb1,book,Two,\nx1,other,Three,b\nf2,film,,c\nb1,book,Two,\n",
    "notes.csv": "id,note\nf1,fine\nz,unused\n",
}
GRAPH: dict[str, Any] = {
    "sources": {
        "things": {"format": "csv", "path": "things.csv", "max_quarantined": 0.5},
        "notes": {"format": "csv", "path": "notes.csv"},
    },
    "nodes": {
        "Film": {
            "source": "things",
            "key": "id",
            "where": "kind = 'film'",
            "properties": {"title": "title", "note": "note"},
            "required": ["title"],
            "join": [{"source": "notes", "on": "id"}],
        },
        "Book": {"source": "things", "key": "id", "where": "kind = 'book'"},
        "Tag": {"source": "things", "key": "explode(split(tags, ' '))", "where": "kind = 'film'"},
    },
    "features": {"degree": False, "pagerank": False},
}


@pytest.fixture(scope="module")
def figures(ingested: Ingest) -> dict[str, Any]:
    return ingested(FILES, GRAPH).manifest.figures


def test_a_row_that_any_mapping_accepts_is_accepted(figures: dict[str, Any]) -> None:
    things = figures["sources"]["things"]
    counts = {key: things[key] for key in ("rows", "accepted", "duplicate", "filtered", "quarantined")}
    assert counts == {"rows": 5, "accepted": 2, "duplicate": 1, "filtered": 1, "quarantined": 1}
    # By mapping: two rows are no films, three no books, and x1 is tagged but no film
    assert things["reasons"] == {"null:title": 1, "where": 6}


def test_rows_that_are_only_joined_are_accepted(figures: dict[str, Any]) -> None:
    assert figures["sources"]["notes"]["accepted"] == 2


def test_rows_of_one_key_are_merged(figures: dict[str, Any]) -> None:
    # Of the films' tags a, a and c
    tags = figures["tables"]["nodes/Tag"]
    assert (tags["mapped"], tags["rows"], tags["merged"], tags["filtered"]) == (4, 2, 1, 1)


SOURCE = SourceAccount(rows=10, accepted=5, duplicate=1, filtered=2, quarantined=2)
TABLE = TableAccount(mapped=9, rows=4, merged=2, filtered=2, quarantined=1)


def test_sums_that_come_out_pass() -> None:
    check_sums({"s": SOURCE}, {"nodes/A": TABLE})


@pytest.mark.parametrize("wrong", ["rows", "accepted", "duplicate", "filtered", "quarantined"])
def test_a_source_whose_rows_do_not_add_up_is_refused(wrong: str) -> None:
    account = replace(SOURCE, **{wrong: getattr(SOURCE, wrong) + 1})
    with pytest.raises(ContractError, match="source s: rows = accepted"):
        check_sums({"s": account}, {})


@pytest.mark.parametrize("wrong", ["mapped", "rows", "merged", "filtered", "quarantined"])
def test_a_table_whose_rows_do_not_add_up_is_refused(wrong: str) -> None:
    account = replace(TABLE, **{wrong: getattr(TABLE, wrong) - 1})
    with pytest.raises(ContractError, match="nodes/A: mapped = rows"):
        check_sums({}, {"nodes/A": account})


@pytest.mark.parametrize("order", [1, -1])
def test_quarantine_does_not_depend_on_which_mapping_was_ready_first(
    spark: SparkSession, tmp_path: Path, order: int
) -> None:
    (tmp_path / "things.csv").write_text(FILES["things.csv"])
    (tmp_path / "notes.csv").write_text("id,note\nf1,fine\nz\n")
    parts = {
        **{name: GRAPH["nodes"][name] for name in ("Film", "Book", "Tag")},
        "Note": {"source": "notes", "key": "id", "properties": {"note": "note"}, "required": ["note"]},
    }
    graph = Graph.model_validate({**GRAPH, "nodes": parts})
    rows = {}
    for name, source in list(graph.sources.items())[::order]:
        found = read(spark, name, source.model_copy(update={"path": str(tmp_path / f"{name}.csv")}))
        rows[name] = replace(found, frame=kept(found.frame))
    mapped = [map_nodes(graph, label, rows) for label in list(parts)[::order]]
    ready = [replace(part, frame=kept(part.frame)) for part in mapped if part]
    refused = {(row["source"], row["row"], row["reason"]) for row in quarantine(rows, ready).collect()}
    assert refused == {("things", "5", "null:title"), ("notes", "3", "malformed")}
