"""`crossgraph backup` and `restore`: a project's workspace and local Neo4j as one file, and back."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from flows.forget import reapply
from flows.servers import local_server, server_home
from flows.tasks import Run, locked
from kg import backup as archives
from kg.backup import Archive
from kg.dump import check_version, dump, has_database, load, neo4j_version, running
from kg.errors import ConfigError
from kg.forgotten import NAME, Forgotten
from kg.store import Store
from kg.tables import Workspace


@dataclass
class Saved:
    """An archive and where it lies, and what must be said about it."""

    path: Path
    archive: Archive
    notes: list[str] = field(default_factory=list)


def backup(run: Run, target: str, *, cache: bool = True) -> Saved:
    """Write a project's backup to a file, or under a name of its own into a folder.

    A local server is stopped for its dump and started again if it ran. Of a server of the user's own only the workspace
    is saved. `ConfigError` for a workspace that is no local folder or empty.
    """
    with locked(run):
        members = archives.workspace_files(_root(run), cache=cache)
        if not members:
            raise ConfigError(f"{run.location} holds nothing yet: run `crossgraph run {run.project.name}` first")
        path = archives.archive_path(target, run.project.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dump-", dir=path.parent) as folder:
            neo4j, notes = _dumped(run, Path(folder))
            if neo4j:
                members[archives.DUMP] = Path(folder) / "neo4j.dump"
            return Saved(path, archives.write_archive(path, run.project.name, members, neo4j), notes)


def _dumped(run: Run, folder: Path) -> tuple[str | None, list[str]]:
    """The version of Neo4j that dumped the database into a folder, or None and why it did not."""
    if own := run.settings.neo4j.connection():
        return None, [_own_server("dump", own.uri, own.database, "--to-path")]
    if not has_database(server_home(run.settings, run.project.name)):
        return None, ["there is no local Neo4j of this project yet: only the workspace is in the backup"]
    dump(local_server(run.settings, run.project.name), folder)
    return neo4j_version(run.jars), []


def _own_server(verb: str, uri: str, database: str, option: str) -> str:
    return (
        f"Neo4j at {uri} is your own, only the workspace is dealt with: for its database run "
        f"`neo4j-admin database {verb} {database} {option}=FOLDER` there"
    )


def restore(run: Run, source: str, *, replace: bool = False) -> Saved:
    """Make workspace and local database what they were when the backup was made, less what was forgotten since.

    Everything is checked first. `ArchiveError` for what is damaged or of another format or project, `ConfigError` where
    there is a workspace or a graph already and `replace` is false. Killed in between, the same call with `replace`
    completes it. Forgotten is whatever the backup's record or the present one names; a present record that is lost
    cannot be heeded: forget again what was forgotten after the backup.
    """
    with locked(run):
        root = _root(run)
        path = archives.find_archive(source, run.project.name)
        found = archives.check_archive(path, run.project.name)
        own = run.settings.neo4j.connection()
        if found.neo4j and not own:
            check_version(found.neo4j, neo4j_version(run.jars))
        if not replace:
            _refuse(run, root, graph=bool(found.neo4j and not own))
        new = root.with_name(f"{root.name}.restoring")
        shutil.rmtree(new, ignore_errors=True)
        archives.unpack(path, archives.WORKSPACE, new)
        _unite(run, new)
        if found.neo4j and not own:
            _load(run, path, new.parent)
        shutil.rmtree(root, ignore_errors=True)
        new.replace(root)
        again = reapply(run)
        return Saved(path, found, _notes(run, found, len(again)))


def _refuse(run: Run, root: Path, *, graph: bool) -> None:
    if root.is_dir() and any(child.name != NAME for child in root.iterdir()):
        raise ConfigError(
            f"{root} is not empty: restore with --replace to lose what is there, or name another workspace"
        )
    if graph and has_database(server_home(run.settings, run.project.name)):
        server = local_server(run.settings, run.project.name)
        with running(server) as connection, Store(connection) as store:
            nodes = store.value("MATCH (n) RETURN count(n)")
        if nodes:
            raise ConfigError(
                f"the Neo4j of {run.project.name} holds {nodes} nodes: restore with --replace to lose them"
            )


def _unite(run: Run, new: Path) -> None:
    """What is forgotten now must not come back by an older record."""
    if now := Forgotten.read(run.workspace):
        there = Workspace(new)
        Forgotten.read(there).united(now).write(there)


def _load(run: Run, path: Path, near: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".dump-", dir=near) as folder:
        archives.unpack(path, "neo4j", Path(folder))
        load(local_server(run.settings, run.project.name), Path(folder))


def _notes(run: Run, found: Archive, again: int) -> list[str]:
    notes = [f"forgotten again: {again} places"] if again else []
    notes.append(f"whom you forgot after {found.created} and whose record is not in this workspace, forget again")
    if own := run.settings.neo4j.connection():
        notes.append(_own_server("load", own.uri, own.database, "--from-path"))
    elif not found.neo4j:
        notes.append("the backup holds no database: the next run loads the graph")
    return notes


def _root(run: Run) -> Path:
    if run.workspace.filesystem.type_name != "local":
        raise ConfigError(
            f"{run.location} is no local folder: copy it with your storage's own tools, and the database by neo4j-admin"
        )
    return Path(run.workspace.root)
