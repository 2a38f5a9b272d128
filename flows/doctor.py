"""What this machine lacks, and how to mend it: the findings behind `crossgraph doctor`."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.settings import load_settings
from kg.errors import CrossGraphError
from kg.jars import find_jars
from kg.java import find_java
from kg.server import answers
from kg.server_home import DEFAULT_PORTS, Connection, is_free, saved_connection, server_status

LIBRARIES = ("pyspark", "graphframes-latest", "neo4j", "dgl", "torch", "transformers", "open_clip_torch", "prefect")
# The jars, a small graph's store and workspace, and the copies that Spark and Neo4j make on the way.
DISK_GIB = 3.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """True: fine. False: a run would fail. None: worth knowing, nothing fails by it."""
    found: str
    advice: str = ""
    """What to do, where something is to be done."""


def diagnose(
    *,
    cache: Path,
    home: Path,
    workspace: Path | None = None,
    connection: Connection | None = None,
    packaged_java: bool = False,
    memory: int = 8192,
) -> list[Finding]:
    """Look at everything a run needs, in the order in which it is needed.

    Args:
        cache: where downloaded jars lie.
        home: what holds the local servers, one folder each in `home / "neo4j"`.
        workspace: where runs are written, if that is a local folder; its disk is looked at.
        connection: the user's own Neo4j; without one the local servers are looked at.
        packaged_java: prefer the packaged Java, as a run would.
        memory: what one run may take in all, in MiB.
    """
    findings = [_python(), _java(packaged_java), _jars(cache), _memory(memory)]
    findings += [_disk(folder) for folder in _disks(cache, home, workspace or home)]
    findings += [_library(name) for name in LIBRARIES]
    findings.append(_gpu())
    if connection:
        return [*findings, _answer("Neo4j", connection)]
    return [*findings, *_local_servers(home / "neo4j")]


def examine() -> int:
    """Print what `diagnose` finds under the settings of this environment; 1 when something is wrong, else 0."""
    settings = load_settings()
    findings = diagnose(
        cache=settings.cache_folder,
        home=settings.home,
        workspace=None if "://" in settings.runs else Path(settings.runs),
        connection=settings.neo4j.connection(),
        packaged_java=settings.packaged_java,
        memory=settings.memory,
    )
    table = Table("", "what", "found", "what to do", box=None)
    for finding in findings:
        mark = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]note[/]"}[finding.ok]
        table.add_row(mark, finding.name, escape(finding.found), "" if finding.ok else escape(finding.advice))
    Console().print(table)
    return int(any(finding.ok is False for finding in findings))


def _python() -> Finding:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    return Finding("Python", sys.version_info[:2] == (3, 11), found, "use Python 3.11: DGL's wheels end there")


def _java(packaged: bool) -> Finding:
    try:
        java = find_java(prefer_packaged=packaged)
    except CrossGraphError as error:
        return Finding("Java", False, "none", str(error))
    return Finding("Java", True, f"{java.version}, {'packaged' if java.packaged else 'the system'}'s: {java.path}")


def _jars(cache: Path) -> Finding:
    try:
        return Finding("jars", True, str(find_jars(cache).neo4j_lib.parent))
    except CrossGraphError as error:
        return Finding("jars", False, "not installed", str(error))


def _memory(wanted_mib: int) -> Finding:
    free = psutil.virtual_memory().available / 2**20
    found = f"{free / 1024:.1f} GiB available, a run takes up to {wanted_mib / 1024:.1f} GiB"
    return Finding("memory", free >= wanted_mib or None, found, "close other programs or lower CROSSGRAPH_MEMORY")


def _disks(*folders: Path) -> list[Path]:
    """One folder of each file system among these; a folder to be made counts as where it will be made."""
    existing = [
        next(place for place in (folder, *folder.parents) if place.exists()) for folder in map(Path.resolve, folders)
    ]
    return list({place.stat().st_dev: place for place in reversed(existing)}.values())


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    advice = f"make room: {DISK_GIB:.0f} GiB are needed for the jars, a small graph and the copies made on the way"
    return Finding("disk", free >= DISK_GIB, f"{free:.1f} GiB free at {folder}", advice)


def _library(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "install the locked environment: `make setup`")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("GPU", False, f"torch does not import: {error}", "install the locked environment: `make setup`")
    if torch.cuda.is_available():
        return Finding("GPU", True, torch.cuda.get_device_name())
    return Finding("GPU", None, "none that torch can use", "everything runs on the CPU, encoding slower than on a GPU")


def _local_servers(homes: Path) -> Iterator[Finding]:
    running = [status for home in sorted(homes.glob("*/")) if (status := server_status(home)).running]
    for status in running:
        yield _answer(f"Neo4j {status.home.name}", saved_connection(status.home))
    if not running:
        yield Finding("Neo4j", None, f"no local server runs ({homes})", "a run starts one; or `crossgraph neo4j start`")
    for port, use in zip(DEFAULT_PORTS, ("Bolt", "HTTP"), strict=True):
        ours = any(status.uri.endswith(f":{port}") for status in running if status.uri)
        if not ours and not is_free(port):
            yield Finding(f"port {port}", None, "in use", f"nothing to do: a free port is chosen for {use} instead")


def _answer(name: str, connection: Connection) -> Finding:
    try:
        if answers(connection):
            return Finding(name, True, f"answers at {connection.uri}")
    except CrossGraphError as error:
        return Finding(name, False, "refuses", str(error))
    advice = "start it, or correct CROSSGRAPH_NEO4J__URI"
    return Finding(name, False, f"no answer at {connection.uri}", advice)
