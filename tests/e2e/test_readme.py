"""What the README promises: its queries give sensible rows on the enriched graph, its project file is one."""

import re
from pathlib import Path

import pytest

from flows.project import load_project
from kg.store import Store
from kg.tables import Workspace

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
QUERIES = re.findall(r"\n([^\n]+)\n\n```cypher\n(.*?)```", README, re.DOTALL)

# The first test here may pay for the whole demo.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def parameters(demo) -> dict[str, str]:
    """A user with a history in both domains, and a film recommended to them that shares its director or genre."""
    with Store(demo.connection) as store:
        user = store.value(
            "MATCH (u:User) WHERE EXISTS { (u)-[:RATED {positive: true}]->() } AND EXISTS { (u)-[:READ]->() } "
            "RETURN u.key ORDER BY u.degree DESC LIMIT 1"
        )
    output = Workspace(demo.workspace).stage("recommendations").current()
    assert output is not None
    rows = output.read("recommendations").to_pylist()
    [item] = [r["item_id"] for r in rows if (r["user_id"], r["domain"], r["rank"]) == (user, "films", 1)]
    return {"user": user, "item": item, "domain": "books"}


def test_there_are_queries():
    assert len(QUERIES) >= 8


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title[:40] for title, _ in QUERIES])
def test_every_query_gives_rows_without_holes(demo, parameters, title, query):
    with Store(demo.connection) as store:
        rows = store.read(query, parameters).to_pylist()
    assert rows, title
    for row in rows:
        assert all(value not in (None, [], "") for value in row.values()), (title, row)
    for row in rows:
        assert 0 <= row.get("score", 0) <= 1, (title, row)


def test_the_first_project_is_read_as_it_stands(tmp_path):
    [text] = [block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "my-films" in block]
    path = tmp_path / "my-films.yaml"
    path.write_text(text)
    project = load_project(str(path), [])
    assert project.name == "my-films"
    assert set(project.nodes) == {"User", "Film", "Genre"}


def test_the_project_over_a_graph_of_ones_own_is_one(tmp_path):
    [text] = [block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "existing: true" in block]
    path = tmp_path / "shop.yaml"
    path.write_text(f"name: shop\n{text}")
    project = load_project(str(path), [])
    assert {name for name, node in project.nodes.items() if node.existing} == {"Customer", "Product"}
    assert project.relationships["BOUGHT"].existing
