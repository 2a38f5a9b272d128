"""Statements made from hostile names keep them inside the quotes; the rest is shown by what they do to a real Neo4j."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg import cypher, cypher_existing, cypher_load, cypher_read, cypher_vectors
from kg.cypher_read import Bound, Relations
from kg.schema import EdgeType
from kg.server_home import Connection
from kg.store import Store
from kg.values import into, out_of
from tests.kg.small_graph import operators

HOSTILE = "x`) DETACH DELETE n //"


def unquoted(statement: str) -> str:
    """What Cypher sees as code: everything but names between backticks, in which a doubled backtick is one."""
    outside, inside, i = [], False, 0
    while i < len(statement):
        if statement[i] == "`":
            if inside and statement[i : i + 2] == "``":
                i += 2
                continue
            inside = not inside
        elif not inside:
            outside.append(statement[i])
        i += 1
    assert not inside, "a name never ends"
    return "".join(outside)


def counts(name: str) -> list[str]:
    edge = EdgeType(name, name, name)
    return [
        cypher.count_nodes(name),
        cypher.count_relationships(edge),
        cypher_load.count_label(name),
        cypher_load.count_type(edge),
    ]


def statements(name: str) -> list[str]:
    edge = EdgeType(name, name, name)
    columns = {name: pa.string(), "at": pa.timestamp("us", "UTC")}
    relations = Relations(name, name, (name, name), tuple(columns.items()), interaction=True)
    bounds = [Bound(name, pa.string(), {"min": "a", "max": "b", "one_of": ["a"]})]
    return [
        cypher_load.unique_key(name),
        cypher_load.drop_unique_key(name),
        cypher_load.create_nodes(name, "item", columns),
        cypher_load.merge_nodes(name, "item", columns),
        cypher_load.create_relationships(edge, columns),
        cypher_load.update_relationships(edge, columns),
        cypher_load.set_node_property(name, name, columns["at"]),
        cypher_load.set_relationship_property(edge, name, columns["at"]),
        cypher_load.set_features(name, [name]),
        cypher_load.delete_nodes(name),
        cypher_load.delete_relationships(edge),
        cypher_existing.value_types(cypher_existing.nodes(name)),
        cypher_existing.element_prefix(cypher_existing.relationships(edge)),
        cypher_existing.repeated(name, name),
        cypher_existing.with_other_label(name, [name, name]),
        cypher_existing.types_between(name, name),
        cypher_existing.follow_keys(name, name),
        cypher_existing.restore_keys(name, name),
        cypher_existing.release_keyless(name, name, [name]),
        cypher_existing.adopt_nodes(name, name, "item", "d"),
        cypher_existing.release_nodes(name, [name]),
        cypher_existing.adopt_relationships(edge, {"last": columns["at"]}, of_pair=True),
        cypher_existing.release_relationships(edge, of_pair=True),
        cypher_existing.unmarked(name, name),
        cypher_load.drop_node_property(name, name),
        cypher_load.drop_relationship_property(edge, name),
        cypher_load.last_of_page(name, first=True),
        cypher_load.page_of_nodes(name, columns, first=False),
        cypher_load.page_of_relationships(edge, first=False),
        *counts(name),
        cypher_load.together(counts(name)),
        cypher.node_keys(name),
        cypher_read.totals([name, name], [relations]),
        cypher_read.select_keys(name, bounds),
        cypher_read.select_nodes(name, columns),
        cypher_read.count_ends(relations),
        cypher_read.select_all(relations, until=True, bounds=bounds),
        cypher_read.select_page(relations, until=True, bounds=bounds),
        cypher_read.select_ids(relations),
        cypher_read.select_part(relations, until=True, bounds=bounds),
        cypher_read.neighbours(relations, backward=True, until=True, bounds=bounds),
        cypher_read.neighbours(relations, backward=False, until=False, bounds=bounds),
        cypher_vectors.set_vectors(name),
        cypher_vectors.count_vectors(name, "a"),
        cypher_vectors.replace_recommendations(name, {"d": [name, name]}),
    ]


@given(st.text(min_size=1).filter(lambda name: "\\u" not in name and "\0" not in name))
def test_the_code_of_a_statement_does_not_depend_on_names(name: str) -> None:
    assert [unquoted(s) for s in statements(name)] == [unquoted(s) for s in statements("Plain")]


@pytest.mark.parametrize("name", ["", "a\\u0060b", "a\0b"])
def test_names_that_cannot_be_quoted_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        cypher.quote(name)


def test_neo4j_takes_hostile_names_as_names(clean_connection: Connection) -> None:
    edge = EdgeType(HOSTILE, HOSTILE, HOSTILE)
    columns = {HOSTILE: pa.int64()}
    with Store(clean_connection) as store:
        store.ensure_unique([HOSTILE])
        store.write(cypher_load.merge_nodes(HOSTILE, "item", columns), [[["k1", 7, 1], ["k2", 8, None]]])
        ends = {"sources": ["k1"], "targets": ["k2"]}
        store.write(cypher_load.create_relationships(edge, columns), [[[0, 0, "r", 9, 5]]], ends)
        query = "MATCH (n)-[r]->(m) UNWIND labels(n) AS l WITH n, r, m, l ORDER BY l "
        query += "RETURN collect(l), properties(n), type(r), properties(r), m.key"
        assert store.rows(query) == [
            [
                ["Item", HOSTILE],
                {"key": "k1", "_hash": 7, HOSTILE: 1},
                HOSTILE,
                {"row_id": "r", "_hash": 9, HOSTILE: 5},
                "k2",
            ]
        ]
        for statement in counts(HOSTILE):
            assert store.value(statement) in {1, 2}


@pytest.mark.parametrize(
    ("type_", "travels", "property_"),
    [
        (pa.timestamp("us", "UTC"), -1, "datetime('1969-12-31T23:59:59.999999Z')"),
        (pa.timestamp("us", "UTC"), 1_600_000_000_123_456, "datetime('2020-09-13T12:26:40.123456Z')"),
        (pa.timestamp("us", "UTC"), -62_135_596_800_000_000, "datetime('0001-01-01T00:00:00Z')"),
        (pa.timestamp("us"), -62_135_596_799_999_999, "localdatetime('0001-01-01T00:00:00.000001')"),
        (pa.timestamp("us"), -1, "localdatetime('1969-12-31T23:59:59.999999')"),
        (pa.date32(), -1, "date('1969-12-31')"),
        (pa.date32(), 18262, "date('2020-01-01')"),
        (pa.list_(pa.date32()), [0, 1], "[date('1970-01-01'), date('1970-01-02')]"),
        (pa.list_(pa.timestamp("us", "UTC")), [-1], "[datetime('1969-12-31T23:59:59.999999Z')]"),
        (pa.list_(pa.int64()), [3], "[3]"),
        (pa.string(), "x", "'x'"),
        (pa.timestamp("us", "UTC"), None, "null"),
        (pa.date32(), None, "null"),
        (pa.list_(pa.date32()), None, "null"),
    ],
)
def test_values_become_properties_and_come_back(
    connection: Connection, type_: pa.DataType, travels: object, property_: str
) -> None:
    query = (
        f"WITH $value AS x, {property_} AS p RETURN coalesce({into('x', type_)} = p, x IS NULL), {out_of('p', type_)}"
    )
    with Store(connection) as store:
        assert store.rows(query, {"value": travels}) == [[True, travels]]


def test_keys_come_from_the_index_without_sorting(clean_connection: Connection) -> None:
    with Store(clean_connection) as store:
        store.ensure_unique(["Film"])
        store.write(cypher_load.merge_nodes("Film", "item", {}), [[[f"k{i}", 1] for i in range(5000)]])
    statement = cypher_read.select_keys("Film", []).replace("$start", "''").replace("$limit", "10")
    plan = operators(clean_connection, statement)
    assert plan & {"NodeUniqueIndexSeekByRange", "NodeIndexSeekByRange"}
    assert not plan & {"Sort", "Top"}


def test_neo4j_counts_without_looking_at_relationships(clean_connection: Connection) -> None:
    plan = operators(clean_connection, cypher_read.totals(["Film"], [Relations("Film", "Film", ("R", "S"), ())]))
    assert {"NodeCountFromCountStore", "RelationshipCountFromCountStore"} <= plan
