"""What the demo's sources got wrong: shown, written out, corrected, replayed into a graph of its own."""

import csv
import json
import shutil
import stat
from collections import Counter
from pathlib import Path

import pytest

from kg.store import Store

# The first test here may pay for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_quarantine_is_shown_with_counts_and_reasons(demo):
    shown = demo.run("quarantine", "show", *demo.project(), "--source", "films").stdout
    assert "rows in quarantine: 4" in shown
    assert "rule:plausible_year in nodes/Film" in shown
    assert "null_key in nodes/Film" in shown
    assert "film_ratings" not in shown
    one = demo.run("quarantine", "show", *demo.project(), "--reason", "broken_image").stdout
    assert "rows in quarantine: 1" in one
    assert "f0001.jpg" in one


def test_a_source_that_is_none_is_named(demo):
    done = demo.run("quarantine", "show", *demo.project(), "--source", "film", check=False)
    assert done.returncode == 2
    assert "--source film: expected one of" in done.stderr


def test_corrected_rows_reach_the_graph_and_dropped_ones_leave_quarantine(demo, tmp_path, clean_connection):
    workspace = Path(shutil.copytree(demo.workspace, tmp_path / "copy"))
    where = {
        "CROSSGRAPH_NEO4J__URI": clean_connection.uri,
        "CROSSGRAPH_NEO4J__PASSWORD": clean_connection.password,
    }
    project = [*demo.project(), "--workspace", str(workspace)]
    path = tmp_path / "rows.jsonl"
    demo.run("quarantine", "show", *project, "--to", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = {name: of["quarantined"] for name, of in demo.truth["dirty"].items() if of["quarantined"]}
    assert Counter(row["source"] for row in rows) == wanted
    films = [row for row in rows if row["source"] == "films"]
    mended, _left = (row for row in films if "null_key" in row["reason"])
    mended["raw"]["film_id"] = "mended-film"
    wrong, gone = (row for row in films if "rule:" in row["reason"])
    wrong["raw"]["year"] = "3000"
    gone["drop"] = True
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    demo.run("quarantine", "replay", *project[:1], str(path), *project[1:], **where)

    figures = demo.figures(workspace)
    films = figures["stages"]["tables"]["figures"]["sources"]["films"]
    assert films["reasons"]["dropped"] == 1
    assert films["quarantined"] == 2  # one that nobody looked at, and one that is still wrong
    assert films["rows"] == sum(films[name] for name in ("accepted", "duplicate", "filtered", "quarantined"))
    assert figures["stages"]["tables"]["figures"]["corrections"]["films"] == {
        "corrected": 2,
        "dropped": 1,
        "stale": 0,
    }
    assert (figures["did"]["rows_corrected"], figures["did"]["rows_dropped"]) == (2, 1)
    assert stat.S_IMODE((workspace / "corrections" / "films.jsonl").stat().st_mode) == 0o600
    with Store(clean_connection) as store:
        assert store.value("MATCH (n:Film {key: 'mended-film'}) RETURN count(n)") == 1
    again = tmp_path / "again.csv"
    demo.run("quarantine", "show", *project, "--source", "films", "--reason", "rule", "--to", str(again))
    assert [row["raw.year"] for row in csv.DictReader(again.read_text().splitlines())] == ["3000"]
    demo.run("quarantine", "replay", *project[:1], str(path), *project[1:], **where)
    assert demo.figures(workspace)["skipped"] == ["tables", "cuts", "loaded", "graph"]
