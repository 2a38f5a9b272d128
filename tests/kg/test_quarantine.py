"""Quarantined rows to a file and back: what was changed in it becomes a correction, what is not known is refused."""

import json
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from kg.corrections import Correction, corrections_fingerprints, read_corrections, write_corrections
from kg.errors import ConfigError, SourceError
from kg.quarantine import Refused, as_text, corrected, counts, read_edits, refused_rows, select
from kg.schema import QUARANTINE
from kg.source_config import Source
from kg.tables import Output, Workspace

AGE = Refused("users", "/u.csv", "3", '{"id":"a","age":"x"}', ("bad_type:age in nodes/User", "type:age"))
NEST = Refused("users", "/u.jsonl", "10", '{"id":"b","tags":["p","q"],"n":3,"name":""}', ("rule:n",))
LINE = Refused("users", "/u.csv", "12", '{"line":"c,1,2"}', ("malformed",))
FILM = Refused("films", "/f.csv", "2", "{}", ("null_key in nodes/Film",))


@pytest.fixture(params=["rows.jsonl", "rows.csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def written(path: Path, *rows: Refused) -> str:
    path.write_text(as_text(rows, path))
    return path.read_text()


def test_a_row_that_two_tables_refused_is_one_with_two_reasons(tmp_path: Path) -> None:
    record = {"source": "users", "file": "/u.csv", "row": "3", "raw": "{}"}
    rows = [record | {"table": "nodes/A", "reason": "null_key"}, record | {"table": "", "reason": "malformed"}]
    rows.append(record | {"row": "20", "table": "", "reason": "malformed"})
    with Workspace(tmp_path).stage("tables").create("f") as draft:
        draft.write("quarantine/users", pa.Table.from_pylist(rows, schema=QUARANTINE), QUARANTINE)
    output = Workspace(tmp_path).stage("tables").current()
    assert isinstance(output, Output)
    found = refused_rows([output])
    assert [(row.row, row.reasons) for row in found] == [
        ("3", ("malformed", "null_key in nodes/A")),
        ("20", ("malformed",)),
    ]
    assert counts(found) == {("users", "malformed"): 2, ("users", "null_key in nodes/A"): 1}


def test_rows_are_selected_by_source_and_by_reason_or_its_kind() -> None:
    rows = [AGE, NEST, LINE, FILM]
    assert select(rows, "films") == [FILM]
    assert select(rows, reason="bad_type") == select(rows, reason="bad_type:age") == [AGE]
    assert select(rows, "users", "null_key") == []


def test_an_untouched_file_corrects_nothing(path: Path) -> None:
    written(path, AGE, NEST, LINE, FILM)
    with pytest.raises(SourceError, match="no row of the file was corrected"):
        corrected(read_edits(path), [AGE, NEST, LINE, FILM], {}, set())


def test_changed_values_become_corrections_of_what_the_row_was(path: Path) -> None:
    text = written(path, AGE, NEST, LINE)
    changes = {"jsonl": [('"age": "x"', '"age": "7"'), ('"n": 3', '"n": 4'), ("c,1,2", "c,1")]}
    changes["csv"] = [(",a,x,", ",a,7,"), (',3,"""""",', ',4,"""""",'), ('"c,1,2"', '"c,1"')]
    for old, new in changes[path.suffix[1:]]:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    path.write_text(text)
    found = corrected(read_edits(path), [AGE, NEST, LINE], {}, set())
    assert found == {
        "users": {
            ("/u.csv", "3"): Correction("/u.csv", "3", AGE.raw, {"id": "a", "age": "7"}),
            # What was no text stays none, and an empty text stays apart from null.
            ("/u.jsonl", "10"): Correction(
                "/u.jsonl", "10", NEST.raw, {"id": "b", "tags": ["p", "q"], "n": 4, "name": ""}
            ),
            ("/u.csv", "12"): Correction("/u.csv", "12", LINE.raw, {"line": "c,1"}),
        }
    }


def test_an_emptied_cell_is_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(written(path, AGE).replace(",a,x", ",a,"))
    found = corrected(read_edits(path), [AGE], {}, set())
    assert found["users"]["/u.csv", "3"].raw == {"id": "a"}


def test_a_dropped_row(path: Path) -> None:
    text = written(path, AGE)
    path.write_text(text.replace('"raw"', '"drop": true, "raw"') if path.suffix == ".jsonl" else _dropped(text))
    assert corrected(read_edits(path), [AGE], {}, set())["users"]["/u.csv", "3"].raw is None


def _dropped(text: str) -> str:
    return text.replace(f",{AGE.was},,", f",{AGE.was},true,")


def test_a_row_that_is_not_there_or_was_another_is_named_with_its_line(path: Path) -> None:
    written(path, AGE, LINE)
    gone = rf"2 rows .*{path.name}:\d+ \(row 3 of users\), .*{path.name}:\d+ \(row 12 of users\).*show --to"
    now = Refused(AGE.source, AGE.file, AGE.row, '{"id":"other"}', AGE.reasons)
    with pytest.raises(SourceError, match=gone):
        corrected(read_edits(path), [now], {}, set())


def test_the_last_correction_of_a_row_wins_over_what_it_was_at_first(path: Path) -> None:
    """The row in quarantine is a corrected one: correcting it again still corrects what the source holds."""
    before = Correction(AGE.file, AGE.row, '{"id":"a","age":"?"}', {"id": "a", "age": "x"})
    path.write_text(written(path, AGE).replace('"x"', '"8"').replace(",a,x", ",a,8"))
    found = corrected(read_edits(path), [AGE], {"users": {before.place: before}}, {("users", AGE.file, AGE.row)})
    assert found["users"][before.place] == Correction(AGE.file, AGE.row, before.was, {"id": "a", "age": "8"})


def test_a_row_that_has_left_quarantine_by_its_correction_can_be_corrected_again(path: Path) -> None:
    before = Correction(AGE.file, AGE.row, AGE.raw, {"id": "a", "age": "7"})
    path.write_text(written(path, AGE).replace('"x"', '"8"').replace(",a,x", ",a,8"))
    found = corrected(read_edits(path), [], {"users": {before.place: before}}, set())
    assert found["users"][before.place].raw == {"id": "a", "age": "8"}
    assert found["users"][before.place].was == AGE.raw


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "{}\n", r"a\.jsonl:1: expected a JSON object with source"),
        ("a.jsonl", "\nno\n", r"a\.jsonl:2: expected a JSON object"),
        ("a.jsonl", '{"source":"s","file":"f","row":1,"was":"w","raw":3}\n', r"a\.jsonl:1: expected `raw`.*found 3"),
        ("a.csv", "source,file,row\ns,f,1\n", r"a\.csv:2: expected a value under 'was'"),
        ("absent.csv", None, "absent.csv: expected a file that"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        read_edits(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.jsonl or \.csv"):
        as_text([AGE], tmp_path / "rows.xlsx")


def test_corrections_are_kept_whole_and_for_their_owner_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    some = [Correction("/f", "2", "{}", None), Correction("/f", "1", '{"a":"ü"}', {"a": "\n"})]
    write_corrections(workspace, "users", some)
    assert list(read_corrections(workspace, "users").values()) == some[::-1]
    path = tmp_path / "corrections" / "users.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["users.jsonl"]
    path.write_text(path.read_text() + json.dumps({"file": "/f"}) + "\n")
    with pytest.raises(SourceError, match=r"users\.jsonl:3: expected a correction"):
        read_corrections(workspace, "users")


def test_a_correction_changes_what_the_tables_are_made_from(tmp_path: Path) -> None:
    workspace, picture = Workspace(tmp_path), tmp_path / "mended.png"
    sources = {"users": Source(format="csv", path="u.csv"), "covers": Source(format="images", path="c")}
    assert corrections_fingerprints(workspace, sources) == {}
    picture.write_bytes(b"one")
    write_corrections(workspace, "users", [Correction("/f", "1", "{}", None)])
    write_corrections(workspace, "covers", [Correction("/c/1.png", "/c/1.png", "{}", {"path": str(picture)})])
    found = corrections_fingerprints(workspace, sources)
    write_corrections(workspace, "users", [Correction("/f", "1", "{}", {"a": 1})])
    picture.write_bytes(b"two")
    other = corrections_fingerprints(workspace, sources)
    assert found.keys() == other.keys() == {"users", "covers"}
    assert found["users"] != other["users"]
    assert found["covers"] != other["covers"]
