import json
from pathlib import Path

import pyarrow as pa
import pytest

from flows.quarantine import mend, project_run, show
from flows.tasks import Run
from kg.corrections import read_corrections
from kg.errors import ConfigError, SourceError
from kg.schema import CORRECTION, QUARANTINE

PROJECT = """\
name: tiny
sources: {items: {format: csv, path: items.csv}}
nodes: {Item: {source: items, key: id}}
"""
BAD = {"source": "items", "file": "/items.csv", "table": "", "reason": "malformed"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "tiny.yaml").write_text(PROJECT)
    return project_run(str(tmp_path / "tiny.yaml"), [], None)


def write(draft, rows: list[dict], source: str = "items") -> None:
    draft.write(f"quarantine/{source}", pa.Table.from_pylist(rows, schema=QUARANTINE), QUARANTINE)


def ingest(run: Run, *rows: str, applied: str | None = None, outcome: str = "corrected") -> None:
    """As if an ingest had refused rows with these raw values, of lines 2, 3, …"""
    with run.workspace.stage("tables").create("made") as draft:
        write(draft, [BAD | {"row": str(line), "raw": raw} for line, raw in enumerate(rows, 2)])
        if applied:
            of = {"source": "items", "file": "/items.csv", "row": applied, "outcome": outcome}
            draft.write("corrections/items", pa.Table.from_pylist([of], schema=CORRECTION), CORRECTION)


def edited(run: Run, **raw: dict) -> Path:
    """What `show --to` writes, with other values for some rows."""
    path = Path("rows.jsonl")
    show(run, to=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(of | {"raw": raw.get(f"row{of['row']}", of["raw"])}) + "\n" for of in lines))
    return path


def test_before_the_first_ingest_it_is_named(run):
    with pytest.raises(ConfigError, match="holds no tables yet"):
        show(run)


def test_rows_are_shown_up_to_a_limit_with_counts_of_all(run, capsys):
    ingest(run, *(f'{{"line":"a{i}"}}' for i in range(30)))
    show(run, limit=2)
    shown = capsys.readouterr().out
    assert "rows in quarantine: 30" in shown
    assert "a1" in shown
    assert "a2" not in shown
    show(run)
    assert capsys.readouterr().out.count("items.csv") == 20


def test_what_the_database_refused_of_these_tables_is_shown_and_not_of_others(run, capsys):
    ingest(run)
    for tables, shown in (("made", True), ("other", False)):
        with run.workspace.stage("loaded").create(tables) as draft:
            write(draft, [BAD | {"source": "nodes/Item", "row": "k1", "raw": "{}", "reason": "refused"}], "Item")
            draft.meta["tables"] = tables
        show(run)
        assert ("nodes/Item" in capsys.readouterr().out) == shown


def test_an_ingest_that_failed_by_its_quarantine_keeps_it_to_be_mended(run, capsys):
    ingest(run, '{"line":"old"}')
    with pytest.raises(ValueError, match="too many"), run.workspace.stage("tables").create("other") as draft:
        write(draft, [BAD | {"row": "7", "raw": '{"line":"new"}'}])
        run.keep_refused(draft)
        raise ValueError("too many")
    show(run)
    shown = capsys.readouterr().out
    assert "new" in shown
    assert "old" not in shown
    mend(run, edited(run, row7={"line": "mended"}))
    assert read_corrections(run.workspace, "items")["/items.csv", "7"].raw == {"line": "mended"}
    ingest(run, '{"line":"newest"}')
    show(run)
    assert "newest" in capsys.readouterr().out


def test_a_correction_of_a_corrected_row_still_knows_what_the_source_holds(run):
    ingest(run, '{"line":"a"}', '{"line":"b"}')
    mend(run, edited(run, row2={"line": "a1"}))
    ingest(run, '{"line":"a1"}', '{"line":"b"}', applied="2")
    mend(run, edited(run, row2={"line": "a2"}))
    found = read_corrections(run.workspace, "items")
    assert {place[1]: (c.was, c.raw) for place, c in found.items()} == {"2": ('{"line":"a"}', {"line": "a2"})}
    assert run.report.content["did"]["rows_corrected"] == 2


def test_stale_corrections_are_said(run, capsys):
    ingest(run, applied="9", outcome="stale")
    show(run)
    assert "source items: 1 corrections are stale" in capsys.readouterr().out


def test_a_file_with_an_unknown_row_changes_nothing(run):
    ingest(run, '{"line":"a"}', '{"line":"b"}')
    path = edited(run, row2={"line": "a1"}, row3={"line": "b1"})
    ingest(run, '{"line":"a"}', '{"line":"other"}')
    with pytest.raises(SourceError, match=r"1 rows .*rows\.jsonl:2 \(row 3 of items\)"):
        mend(run, path)
    assert read_corrections(run.workspace, "items") == {}
