import json
from pathlib import Path

import pytest

from flows.estimate import BASE, COSTS, Cost, history, memory, seconds, work_of
from flows.settings import Memory
from kg.tables import Workspace

SHARES = Memory(spark=3072, neo4j_heap=1024, neo4j_pages=512, torch=4608)


def run(started: str, took: float, *, skipped: bool = False, status: str = "completed", rows: int = 24_000) -> dict:
    tables = {"skipped": skipped, "rows": {"events/A": 5, "nodes/B": 3}, "figures": {"sources": {"s": {"rows": rows}}}}
    return {
        "run_id": started,
        "started": started,
        "status": status,
        "did": {"texts_encoded": 7, "vectors_written": 8},
        "seconds": {"tables": took},
        "stages": {"tables": tables},
    }


def test_a_cost_is_its_start_and_its_work_by_rate():
    # 2 s to start, 30 nodes at 10/s and 8 relationships at 4/s
    assert Cost(2, {"nodes": 10, "relationships": 4}).seconds({"nodes": 30, "relationships": 8}) == 2 + 3 + 2


def test_without_a_run_the_defaults_count():
    cost = COSTS["tables"]
    assert seconds("tables", {"rows": 24_000}, []) == (cost.start + 24_000 / cost.rates["rows"], "measured defaults")


def test_the_last_run_that_made_a_stage_corrects_its_estimate():
    """It took three times the default for its rows, so it will for others; a run that skipped it says nothing."""
    expected = COSTS["tables"].seconds({"rows": 24_000})
    runs = [run("3", 0.1, skipped=True), run("2", 3 * expected), run("1", 9 * expected)]
    found, by = seconds("tables", {"rows": 240_000}, runs)
    assert found == pytest.approx(3 * COSTS["tables"].seconds({"rows": 240_000}))
    assert by == "2"


def test_what_a_run_worked_on():
    found = work_of(run("1", 1))
    assert (found["rows"], found["events"], found["nodes"], found["vectors"]) == (24_000, 5, 3, 8)
    assert (found["texts"], found["images"], found["nodes_written"]) == (7, 0, 0)


def test_history_has_the_completed_runs_newest_first(tmp_path: Path):
    assert history(Workspace(tmp_path / "none")) == []
    (tmp_path / "history").mkdir()
    for number, status in (("1", "completed"), ("3", "completed"), ("2", "failed")):
        (tmp_path / "history" / f"{number}.json").write_text(json.dumps(run(number, 1, status=status)))
    assert [found["run_id"] for found in history(Workspace(tmp_path))] == ["3", "1"]


def test_memory_grows_with_the_tables_and_ends_at_the_share():
    assert memory("tables", 0, SHARES) == (BASE["spark"], 3072)
    small, large = memory("loaded", 1 << 20, SHARES)[0], memory("loaded", 1 << 30, SHARES)[0]
    assert BASE["neo4j"] <= small < large < 1536
    assert memory("embeddings", 1 << 40, SHARES) == (4608, 4608)
