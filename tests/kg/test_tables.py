"""A stage's output is whole or it is not there."""

import json
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kg.errors import ContractError
from kg.schema import ALIAS, KEY, EdgeType, check, node_schema, relationship_schema
from kg.tables import (
    MANIFEST,
    SEAL,
    Output,
    Workspace,
    code_fingerprint,
    file_fingerprint,
    fingerprint,
    read_output,
)

ROWS = pa.table({"alias": ["b", "c"], "key": ["a", "a"]}, schema=ALIAS)


def test_a_sealed_output_is_found_by_its_fingerprint_and_read_back(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    with stage.create("f" * 32) as draft:
        draft.write("aliases/User", ROWS, ALIAS)
        draft.figures["merged"] = 2
    output = stage.find("f" * 32)
    assert output is not None
    assert output.read("aliases/User").equals(ROWS)
    assert output.manifest.tables == {"aliases/User": 2}
    assert output.manifest.figures == {"merged": 2}
    assert stage.find("e" * 32) is None


def test_a_stage_that_fails_leaves_the_former_output_and_no_folder(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    with stage.create("a" * 32) as draft:
        draft.write("aliases/User", ROWS, ALIAS)
    with pytest.raises(RuntimeError), stage.create("b" * 32):
        raise RuntimeError
    assert stage.find("a" * 32) is not None
    assert len(list((tmp_path / "tables").iterdir())) == 1


def test_the_leftover_of_a_killed_run_is_no_output_and_goes_with_the_next_run(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    leftover = tmp_path / "tables" / "20200101T000000000000-aaaaaaaa"
    leftover.mkdir(parents=True)
    (leftover / "half.parquet").write_text("half")
    assert stage.current() is None
    with stage.create("a" * 32):
        pass
    assert not leftover.exists()


@pytest.fixture
def sealed(tmp_path: Path) -> Output:
    """An output with a table of ours, one as Spark writes it, and a file that is no table."""
    stage = Workspace(tmp_path).stage("tables")
    with stage.create("a" * 32) as draft:
        draft.write("aliases/User", ROWS, ALIAS)
        pq.write_table(ROWS, draft.location("aliases/Film/part-7.snappy.parquet"))
        draft.adopt("aliases/Film", ALIAS)
        for name in ("model/weights.gz", "aliases/Film/_SUCCESS", "aliases/Film/.part-7.crc"):
            Path(draft.location(name)).write_bytes(b"weights")
    [output] = stage.outputs()
    return output


FILES = ("aliases/Film/part-7.snappy.parquet", "aliases/User/part-0.parquet", "model/weights.gz")


def test_a_sealed_output_has_the_checksum_of_every_file(sealed: Output) -> None:
    assert tuple(sealed.manifest.files) == FILES
    # b"weights": CRC-32 as by zlib, seven bytes
    assert sealed.manifest.files["model/weights.gz"] == f"{zlib.crc32(b'weights'):08x}-7"
    sealed.verify()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_is_found(sealed: Output, name: str) -> None:
    path = Path(sealed.location(name))
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 20)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ContractError, match=f"{name}.*bytes are not those"):
            sealed.verify()
    path.write_bytes(whole)
    sealed.verify()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_or_gone_is_named(sealed: Output, name: str) -> None:
    path = Path(sealed.location(name))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ContractError, match=f"{name}.*it has {size - 1} bytes, {size} were written"):
        sealed.verify()
    path.unlink()
    with pytest.raises(ContractError, match=f"{name}.*missing"):
        sealed.verify()


def test_a_damaged_manifest_is_none(sealed: Output) -> None:
    path = Path(sealed.location(MANIFEST))
    whole = path.read_text()
    assert read_output(sealed.filesystem, sealed.path) == sealed
    for damaged in (whole.replace('"aliases/User": 2', '"aliases/User": 3'), whole[:-9], ""):
        path.write_text(damaged)
        assert read_output(sealed.filesystem, sealed.path) is None
    content = json.loads(whole)
    del content[SEAL]  # as manifests were written before they had one
    path.write_text(json.dumps(content))
    assert read_output(sealed.filesystem, sealed.path) == sealed


def test_a_discarded_output_is_gone(sealed: Output, tmp_path: Path) -> None:
    Workspace(tmp_path).stage("tables").discard(sealed)
    assert list((tmp_path / "tables").iterdir()) == []


def test_two_outputs_are_kept(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    for letter in "abc":
        with stage.create(letter * 32):
            pass
    assert [output.manifest.fingerprint[0] for output in stage.outputs()] == ["b", "c"]


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    with (
        pytest.raises(ContractError, match=r"aliases/User: missing columns \['key'\]"),
        stage.create("a" * 32) as draft,
    ):
        draft.write("aliases/User", ROWS.drop_columns(["key"]), ALIAS)


def test_an_unknown_table_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("tables")
    with stage.create("a" * 32) as draft:
        draft.write("aliases/User", ROWS, ALIAS)
    with pytest.raises(ContractError, match=r"aliases/Usr.*aliases/User"):
        stage.outputs()[0].read("aliases/Usr")


def test_a_workspace_may_be_a_uri(tmp_path: Path) -> None:
    with Workspace(f"file://{tmp_path}").stage("tables").create("a" * 32) as draft:
        draft.write("aliases/User", ROWS, ALIAS)
    assert Workspace(tmp_path).stage("tables").find("a" * 32) is not None


def test_fingerprints_follow_content_alone(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 2})
    (tmp_path / "x").write_text("one")
    before = file_fingerprint(tmp_path)
    (tmp_path / "x").touch()
    assert file_fingerprint(tmp_path) == before
    (tmp_path / "x").write_text("two")
    assert file_fingerprint(tmp_path) != before
    import kg.ids
    import kg.schema

    assert code_fingerprint(kg.ids) != code_fingerprint(kg.schema)


def test_check_names_what_was_wanted_and_found() -> None:
    wanted = node_schema([pa.field("year", pa.int64())])
    check("nodes/Film", wanted, wanted)
    with pytest.raises(ContractError, match=r"nodes/Film: column year must be int64; found string"):
        check("nodes/Film", node_schema([pa.field("year", pa.string())]), wanted)
    with pytest.raises(ContractError, match=r"nodes/Film: unknown columns \['extra'\]"):
        check("nodes/Film", wanted.append(pa.field("extra", pa.string())), wanted)
    with pytest.raises(ContractError, match="missing columns"):
        check("nodes/Film", pa.schema([KEY]), wanted)


def test_edge_type_names_round_trip() -> None:
    edge = EdgeType("User", "RATED", "Film")
    assert EdgeType.parse(edge.name) == edge
    assert relationship_schema([], interaction=True).names[-5:] == ["count", "first", "last", "weight", "positive"]
