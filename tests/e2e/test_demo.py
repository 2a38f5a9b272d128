"""The demo from sources to recommendations, held against what was planted in it."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from kg.store import Store
from kg.tables import Workspace

# The first test here pays for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def current(demo, stage: str):
    output = Workspace(demo.workspace).stage(stage).current()
    assert output is not None
    return output


def events(demo) -> dict[str, set[str]]:
    """What each user touched, under any of their ids."""
    found: dict[str, set[str]] = {}
    for table in ("events/User-RATED-Film", "events/User-READ-Book"):
        for row in current(demo, "tables").read(table, ["from_key", "to_key"]).to_pylist():
            found.setdefault(row["from_key"], set()).add(row["to_key"])
    return found


def test_every_dirty_row_is_accounted_for_as_planted(demo, first):
    accounts = first["stages"]["tables"]["figures"]["sources"]
    for name, planted in demo.truth["dirty"].items():
        found = accounts[name]
        assert found["quarantined"] == planted["quarantined"], name
        assert found["duplicate"] == planted.get("duplicate", 0), name
        assert found["coerced"] == planted.get("coerced", 0), name
        assert found["rows"] == sum(found[k] for k in ("accepted", "duplicate", "filtered", "quarantined")), name
    reasons = accounts["book_reads"]["reasons"]
    assert reasons == {"bad_type:weight": 4, "unknown_end:to": 3}
    assert accounts["covers"]["reasons"] == {"broken_image": 1}


def test_a_quarantined_row_keeps_its_place_and_its_values(demo):
    output = current(demo, "tables")
    rows = output.read("quarantine/book_reads").to_pylist()
    wrong = [row for row in rows if row["reason"] == "bad_type:weight"]
    lines = (demo.data / "book_reads.tsv").read_text().splitlines()
    assert len(wrong) == 4
    for row in wrong:
        assert json.loads(row["raw"])["rating"] == "five"
        assert lines[int(row["row"]) - 1].split("\t")[2] == "five"


def test_double_persons_came_out_as_one(demo):
    output = current(demo, "tables")
    merged = {frozenset((row["alias"], row["key"])) for row in output.read("aliases/User").to_pylist()}
    assert merged == {frozenset(pair) for pair in demo.truth["doubles"]}
    with Store(demo.connection) as store:
        found = store.value(
            "MATCH (u:User)-[:RATED]->(), (u)-[:READ]->() WHERE u.key IN $ids RETURN count(DISTINCT u)",
            {"ids": [i for pair in demo.truth["doubles"] for i in pair]},
        )
    assert found == len(demo.truth["doubles"])


def test_recommendations_match_planted_tastes_in_both_domains(demo):
    """Held against what a random pick of the same user's unseen items would match."""
    rows = [r for r in current(demo, "recommendations").read("recommendations").to_pylist() if r["rank"] <= 5]
    truth, seen = demo.truth, events(demo)
    for domain, items in truth["items"].items():
        mine = [row for row in rows if row["domain"] == domain and row["user_id"] in seen]
        fits = [items[row["item_id"]] in truth["likes"][row["user_id"]] for row in mine]
        chance = [
            np.mean([theme in truth["likes"][user] for item, theme in items.items() if item not in seen[user]])
            for user in {row["user_id"] for row in mine}
        ]
        assert np.mean(fits) > 2 * np.mean(chance), (domain, np.mean(fits), np.mean(chance))


def test_a_taste_crosses_over_to_a_domain_that_the_user_never_touched(demo):
    output = current(demo, "recommendations")
    truth = demo.truth
    with (demo.data / "users_books.csv").open(newline="") as file:
        readers = {line["user_id"] for line in csv.DictReader(file)} | {
            user for pair in truth["doubles"] for user in pair
        }
    rows = [
        row
        for row in output.read("recommendations").to_pylist()
        if row["domain"] == "books" and row["rank"] <= 10 and row["user_id"] not in readers
    ]
    assert rows
    fits = [truth["items"]["books"][row["item_id"]] in truth["likes"][row["user_id"]] for row in rows]
    assert np.mean(fits) > 0.3


def test_export_has_every_user_ranked_without_what_was_seen(demo):
    output = current(demo, "recommendations")
    table = output.read("recommendations")
    with open(output.location("recommendations.csv"), newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == table.num_rows
    assert lines[0].keys() == {"user_id", "item_id", "domain", "rank", "score", "reason", "model"}
    graph = current(demo, "graph")
    users = graph.read("nodes/User")["key"].to_pylist()
    assert set(table["user_id"].to_pylist()) == set(users)
    ratings = pq.read_table(demo.data / "film_ratings.parquet").to_pylist()
    seen = {(r["user_id"], r["film_id"]) for r in ratings if r["rating"] <= 5}
    assert not seen & {(r["user_id"], r["item_id"]) for r in table.to_pylist() if r["domain"] == "films"}


def test_ours_beats_popularity_on_both_cuts(first):
    for cut, report in first["stages"]["evaluation"]["figures"].items():
        models = report["slices"]["all"]["overall"]["models"]
        assert models["ours"]["ndcg@10"] > 1.5 * models["popularity"]["ndcg@10"], cut


def test_vectors_in_neo4j_are_one_complete_version(demo, first):
    with Store(demo.connection) as store:
        [[pointer]] = store.rows("MATCH (v:EmbeddingVersion) RETURN properties(v)")
        counts = store.rows(
            "MATCH (n) WHERE n:Item OR n:User RETURN count(n), count(n[$name])", {"name": pointer["property"]}
        )
        near = store.rows(
            "MATCH (v:EmbeddingVersion) MATCH (f:Film) WITH v, f LIMIT 1 "
            "CALL db.index.vector.queryNodes(v.item_index, 5, f[v.property]) YIELD node, score RETURN node.key, score"
        )
    assert counts[0][0] == counts[0][1] > 0
    assert len(near) == 5
    assert pointer["version"] == first["stages"]["published"]["figures"].get("version", pointer["version"])


def test_the_summary_tells_where_everything_is(demo):
    text = (demo.folder / "first.out").read_text()
    for told in ("bolt://127.0.0.1:", "password", "crossgraph neo4j stop demo", "popularity", "because you liked"):
        assert told in text


def test_an_unchanged_second_run_does_nothing(demo, first):
    before, graph = demo.outputs(), demo.graph_digest()
    demo.run("run", *demo.project())
    second = demo.figures()
    assert set(second["did"].values()) == {0}
    assert second["skipped"] == list(first["stages"])
    assert demo.outputs() == before
    assert demo.graph_digest() == graph
    assert second["seconds"]["total"] < 45


def test_one_user_is_answered_from_neo4j_alone(demo):
    film_id, book_id = demo.truth["doubles"][0]
    answers = [demo.run("query", "demo", user, "--top", "3").stdout for user in (film_id, book_id)]
    # Both ids of a person are that person.
    assert answers[0] == answers[1]
    assert answers[0].count("films") >= 3
    assert "because you liked" in answers[0]
    unknown = demo.run("query", "demo", "nobody", check=False)
    assert unknown.returncode == 4
    assert "nobody" in unknown.stderr
    assert len(unknown.stderr.strip().splitlines()) == 1


def test_evaluate_requires_what_it_is_told(demo):
    demo.run("evaluate", *demo.project(), "--require", "popularity")
    assert set(demo.figures()["did"].values()) == {0}
    wrong = demo.run("evaluate", *demo.project(), "--require", "magic", check=False)
    assert wrong.returncode == 2
    assert "popularity" in wrong.stderr


def test_the_ablation_tables_every_view_and_fusion_and_leaves_neo4j_alone(demo, first):
    graph, before = demo.graph_digest(), demo.outputs()
    told = demo.run("embed", *demo.project(), "--ablate").stdout
    assert demo.graph_digest() == graph
    made = current(demo, "ablation")
    own = [row for row in made.manifest.figures["rows"] if row["own"]]
    best = max(first["stages"]["trained/user_time"]["figures"]["history"]["metrics"])
    assert [row["values"]["all"]["ndcg@10"] for row in own] == [[pytest.approx(best, abs=1e-6)]]
    names = [
        "graph alone (h)",
        "text alone (v)",
        "image alone (c)",
        "all views, concat",
        "without text",
        "without image",
    ]
    assert all(f"| {name} | 0." in told for name in names)
    after = demo.outputs()
    assert {name for name in after if after[name] != before.get(name)} <= {
        n for n in after if n.startswith("ablation/")
    }
    demo.run("embed", *demo.project(), "--ablate")
    assert set(demo.figures()["did"].values()) == {0}
