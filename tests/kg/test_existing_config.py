"""What a project file may say of existing parts, and what their values become as columns."""

from typing import Any

import pyarrow as pa
import pytest

from kg.existing_types import column_type, expression
from kg.project import Graph
from tests.kg.shop import PROJECT, changed

PRODUCT, BOUGHT = PROJECT["nodes"]["Product"], PROJECT["relationships"]["BOUGHT"]


def test_existing_parts_have_sources_and_ends_of_their_own() -> None:
    graph = Graph.model_validate(PROJECT)
    assert list(graph.problems()) == []
    assert sorted(graph.sources) == [
        "neo4j_BOUGHT", "neo4j_Category", "neo4j_Customer", "neo4j_IN", "neo4j_Product", "tags",
    ]  # fmt: skip
    assert (graph.sources["neo4j_IN"].duplicates, graph.sources["tags"].duplicates) == ("keep", "drop")
    assert graph.relationships["BOUGHT"].from_ == {"Customer": "from_key"}
    assert graph.relationships["BOUGHT"].to == {"Product": "to_key"}
    # A graph is made of a project's parts again and again.
    again = Graph(**{name: getattr(graph, name) for name in Graph.model_fields})
    assert again == graph


def test_a_project_may_be_all_existing() -> None:
    graph = Graph.model_validate({"nodes": {"Product": PRODUCT}})
    assert (list(graph.sources), list(graph.problems())) == (["neo4j_Product"], [])


def test_a_source_of_an_existing_part_takes_a_contract_and_serves_other_mappings() -> None:
    project = changed(
        sources__neo4j_Product={
            "format": "neo4j",
            "max_quarantined": 0.5,
            "contract": {"rules": {"some": "count > 0"}},
        },
        nodes__Word={"source": "neo4j_Product", "key": "explode(tags)"},
    )
    graph = Graph.model_validate(project)
    assert list(graph.problems()) == []
    assert (graph.sources["neo4j_Product"].max_quarantined, graph.sources["neo4j_Product"].duplicates) == (0.5, "keep")


@pytest.mark.parametrize(
    ("parts", "place", "said"),
    [
        ({"nodes__Product": {**PRODUCT, "source": "tags"}}, "nodes.Product.source", "expected no source beside"),
        ({"nodes__Product": {**PRODUCT, "key": "lower(sku)"}}, "nodes.Product.key", "the name of the property"),
        ({"relationships__BOUGHT": {**BOUGHT, "from": {"Customer": "id"}}}, "relationships.BOUGHT.from", "label alone"),
        (
            {"relationships__BOUGHT": {**BOUGHT, "from": "Tag"}},
            "relationships.BOUGHT.from",
            "an existing label, one of",
        ),
        ({"relationships__Product": {**BOUGHT}}, "relationships.Product", "another name than that of a label"),
        ({"sources__neo4j_Film": {"format": "neo4j"}}, "sources.neo4j_Film", "expected the name of an existing part"),
        (
            {"sources__graph": {"format": "neo4j", "url": "x"}},
            "sources.graph.format",
            "expected the name of an existing",
        ),
        (
            {"sources__neo4j_Product": {"format": "neo4j", "rename": {"sku": "id"}}},
            "sources.neo4j_Product.rename",
            "by the names that they have in Neo4j",
        ),
        (
            {"sources__neo4j_Product": {"format": "neo4j", "mode": "append"}},
            "sources.neo4j_Product.mode",
            "what the graph holds now is all there is",
        ),
    ],
)
def test_what_does_not_fit_is_named(parts: dict[str, Any], place: str, said: str) -> None:
    found = [(".".join(map(str, where)), what) for where, what in Graph.model_validate(changed(**parts)).problems()]
    assert any(where.startswith(place) and said in what for where, what in found), found


def test_nodes_of_ones_own_are_never_merged() -> None:
    project = {**changed(), "resolution": {"Customer": {"match": ["id"]}}}
    [(place, what)] = Graph.model_validate(project).problems()
    assert place == ("resolution", "Customer")
    assert "never merged" in what


@pytest.mark.parametrize(
    ("types", "column"),
    [
        ({"INTEGER NOT NULL"}, pa.int64()),
        ({"INTEGER NOT NULL", "FLOAT NOT NULL"}, pa.float64()),
        ({"INTEGER NOT NULL", "STRING NOT NULL"}, pa.string()),
        ({"DURATION NOT NULL"}, pa.string()),
        ({"LOCAL DATETIME NOT NULL"}, pa.timestamp("us")),
        ({"LIST<NOTHING> NOT NULL", "LIST<DATE NOT NULL> NOT NULL"}, pa.list_(pa.date32())),
        ({"LIST<NOTHING> NOT NULL"}, pa.list_(pa.string())),
        ({"LIST<INTEGER NOT NULL> NOT NULL", "LIST<FLOAT NOT NULL> NOT NULL"}, pa.list_(pa.float64())),
        ({"LIST<INTEGER NOT NULL> NOT NULL", "INTEGER NOT NULL"}, pa.list_(pa.string())),
    ],
)
def test_values_of_several_types_become_one_column(types: set[str], column: pa.DataType) -> None:
    assert column_type(types) == column


def test_what_a_column_holds_as_it_is_travels_as_it_is() -> None:
    assert expression("n", "title", {"STRING NOT NULL"}) == "n.`title`"
    assert expression("n", "x", {"POINT NOT NULL"}) == "toString(n.`x`)"
