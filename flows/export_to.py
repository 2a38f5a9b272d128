"""`crossgraph export`: a snapshot of the loaded graph, or of a part of it, in a folder for others to read."""

import json
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyarrow import fs
from pydantic import ValidationError

from flows.code import code_of
from flows.document import read_document
from flows.export import CODE
from flows.ingest import loaded_graph
from flows.progress import by_table
from flows.project import explained
from flows.tasks import Run, locked
from kg.errors import ConfigError, ContractError, StoreError
from kg.selection import Selection
from kg.store import Store
from kg.tables import Draft, Output, Workspace, fingerprint, read_output, replace_file

STAGE = "export"
FOLDERS = "exports.json"
"""Where a workspace keeps the folders that were exported to: what is forgotten may still be there."""


@dataclass(frozen=True)
class Exported:
    """A snapshot in a folder, and how it came there."""

    output: Output
    unchanged: bool
    """Whether the folder held it already."""
    seconds: float


def read_selection(path: Path) -> Selection:
    """A selection in a YAML file, written as under `export:` in a project file; paths in it count from the file."""
    document = read_document(path)
    try:
        found = Selection.model_validate(document.values)
    except ValidationError as error:
        raise explained(document, error, Selection) from error
    return found.anchored(path.resolve().parent)


def narrowed(base: Selection, seeds: dict[str, list[str]], hops: int | None, given: dict[str, Any]) -> Selection:
    """A selection with what was `given` (neither None nor empty) in the place of its own; `ConfigError` for no such."""
    changes = {name: value for name, value in given.items() if value}
    around = base.around.model_dump() if base.around else {}
    if seeds or hops is not None:
        changes["around"] = around | ({"seeds": seeds} if seeds else {}) | ({"hops": hops} if hops is not None else {})
    try:
        return Selection.model_validate(base.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise ConfigError(f"--hops {hops}: expected --seed LABEL:KEY too, to say from where") from error
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (found {first['input']!r})") from error


def export_to(run: Run, to: str, selection: Selection) -> Exported:
    """Write a sealed snapshot of the graph as it was loaded last; a folder that holds the same is left as it is.

    It may have types that were derived from interactions of all rows, where it names them. `ConfigError` for a folder
    that holds anything but such a snapshot, and where the newest tables are not loaded; a snapshot that was there
    before is replaced when the new one is whole.
    """
    with locked(run):
        root, tables, begun = _root(to), run.output("tables"), time.monotonic()
        loaded = loaded_graph(run, tables)
        selection = selection.resolved()
        wanted = fingerprint(STAGE, tables.manifest.fingerprint, selection.model_dump(mode="json"), code_of(*CODE))
        before = _held(root)
        _remember(run.workspace, root)
        if before and before.manifest.fingerprint == wanted and _whole(before):
            return Exported(before, unchanged=True, seconds=time.monotonic() - begun)
        _write(run, root, tables, loaded, selection, wanted)
        made = read_output(fs.LocalFileSystem(), str(root))
        assert made
        return Exported(made, unchanged=False, seconds=time.monotonic() - begun)


def exports(workspace: Workspace) -> list[str]:
    """The folders that were exported to and still hold a snapshot of ours."""
    return [folder for folder in _remembered(workspace) if read_output(fs.LocalFileSystem(), folder)]


def _root(to: str) -> Path:
    if "://" in to:
        raise ConfigError(f"--to {to}: expected a local folder; copy it from there by your storage's own tools")
    return Path(to).absolute()


def _held(root: Path) -> Output | None:
    """The snapshot that a folder holds; None for a new or an empty one."""
    found = read_output(fs.LocalFileSystem(), str(root))
    if found and found.manifest.stage == STAGE:
        return found
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise ConfigError(f"--to {root}: expected a new or an empty folder, or one that holds an export")
    return None


def _whole(output: Output) -> bool:
    with suppress(ContractError):
        output.verify()
        return True
    return False


def _write(run: Run, root: Path, tables: Output, loaded: Output, selection: Selection, wanted: str) -> None:
    from kg.export import export
    from kg.load import holds_load

    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    draft = Draft(fs.LocalFileSystem(), str(partial))
    try:
        with Store(run.connection) as store, by_table("export", tables.manifest.tables) as progress:
            store.check_project(run.project.name)
            if not holds_load(store, loaded):
                raise StoreError("Neo4j does not hold what was loaded last: run `crossgraph ingest` first")
            export(store, tables, draft, selection, progress, derived=True)
        draft.seal(STAGE, wanted, datetime.now(UTC).isoformat())
        shutil.rmtree(root, ignore_errors=True)
        partial.replace(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _remembered(workspace: Workspace) -> list[str]:
    path = f"{workspace.root}/{FOLDERS}"
    if not workspace.filesystem.get_file_info(path).is_file:
        return []
    with workspace.filesystem.open_input_stream(path) as stream:
        return [str(folder) for folder in json.loads(stream.read())]


def _remember(workspace: Workspace, root: Path) -> None:
    folders = sorted({*exports(workspace), str(root)})
    replace_file(workspace.filesystem, workspace.file(FOLDERS), json.dumps(folders, indent=1).encode())
