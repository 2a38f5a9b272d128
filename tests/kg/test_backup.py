"""Archives are whole or refused, and never leave the folder they are unpacked in."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from kg import backup, store, tables
from kg.dump import check_version
from kg.errors import ArchiveError

OUTPUT = "tables/20260101T000000000000-0123abcd"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for name in (
        f"{OUTPUT}/manifest.json",
        f"{OUTPUT}/nodes/User/part-0.parquet",
        "tables/20260101T000000000001-0123abce/nodes/User/part-0.parquet",
        "cache/m/part-1.parquet",
        "run.json",
        "run.json.tmp",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def archive(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kept" / "p.tar"
    backup.write_archive(path, "p", backup.workspace_files(root), "5.26.30")
    return path


def test_what_is_not_whole_stays_out(root: Path):
    whole = {f"workspace/{OUTPUT}/manifest.json", f"workspace/{OUTPUT}/nodes/User/part-0.parquet", "workspace/run.json"}
    assert set(backup.workspace_files(root)) == whole | {"workspace/cache/m/part-1.parquet"}
    assert set(backup.workspace_files(root, cache=False)) == whole


def test_what_was_saved_comes_back(root: Path, archive: Path, tmp_path: Path):
    assert backup.check_archive(archive, "p").neo4j == "5.26.30"
    backup.unpack(archive, "workspace", tmp_path / "new")
    found = {p.relative_to(tmp_path / "new").as_posix(): p.read_text() for p in (tmp_path / "new").rglob("*.*")}
    assert found == {
        name.removeprefix("workspace/"): name.removeprefix("workspace/") for name in backup.workspace_files(root)
    }
    assert [path.name for path in archive.parent.iterdir()] == ["p.tar"]


def test_a_folder_takes_backups_by_name_and_gives_its_newest(root: Path, tmp_path: Path):
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "p-20200101T000000.tar").write_text("old")
    made = backup.archive_path(str(folder), "p")
    backup.write_archive(made, "p", backup.workspace_files(root), None)
    assert backup.find_archive(str(folder), "p") == made
    with pytest.raises(ArchiveError, match=r"q-….tar"):
        backup.find_archive(str(folder), "q")


def test_another_project_or_format_is_refused(archive: Path, monkeypatch):
    with pytest.raises(ArchiveError, match="project 'p', not of 'q'"):
        backup.check_archive(archive, "q")
    before = tables.FORMAT
    monkeypatch.setattr(tables, "FORMAT", 99)
    with pytest.raises(ArchiveError, match=f"tables in format {before}, wanted 99"):
        backup.check_archive(archive, "p")


def test_a_damaged_or_cut_archive_is_refused(archive: Path):
    whole = archive.read_bytes()
    at = whole.index(b"cache/m/part-1.parquet", whole.index(b"cache/m/part-1.parquet") + 1)
    archive.write_bytes(whole[:at] + b"C" + whole[at + 1 :])
    with pytest.raises(ArchiveError, match=r"damaged, 1 files differ, such as workspace/cache/m/part-1\.parquet"):
        backup.check_archive(archive, "p")
    for size in (len(whole) // 3, 700):
        archive.write_bytes(whole[:size])
        with pytest.raises(ArchiveError, match="no whole backup"):
            backup.check_archive(archive, "p")


@pytest.mark.parametrize("name", ["../out", "workspace/../../out", "/workspace/out", "other", "workspace"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(ArchiveError, match="no backup of ours"):
        backup.check_archive(path, "p")


def test_links_are_refused(tmp_path: Path):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("workspace/link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(ArchiveError, match="no backup of ours"):
        backup.check_archive(path, "p")


def test_a_write_that_fails_leaves_the_backup_before_it(archive: Path, tmp_path: Path):
    before = archive.read_bytes()
    with pytest.raises(FileNotFoundError):
        backup.write_archive(archive, "p", {"workspace/x": tmp_path / "is not there"}, None)
    assert archive.read_bytes() == before
    assert [path.name for path in archive.parent.iterdir()] == ["p.tar"]


def test_a_dump_of_a_newer_neo4j_is_refused():
    check_version("5.25.1", "5.26.30")
    check_version("5.26.31", "5.26.30")
    with pytest.raises(ArchiveError, match=r"Neo4j 5.27.0, here is 5.26.30"):
        check_version("5.27.0", "5.26.30")


def test_the_manifest_says_the_formats(archive: Path):
    with tarfile.open(archive) as tar:
        assert tar.getnames()[-1] == "manifest.json"
        content = json.loads(tar.extractfile("manifest.json").read())
    assert (content["tables_format"], content["store_format"]) == (tables.FORMAT, store.FORMAT)
    assert content["files"]["workspace/run.json"][0] == len("run.json")
