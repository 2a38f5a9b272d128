"""Corrected rows of a source, kept in the workspace as ``corrections/<source>.jsonl``, one line a row.

A correction is known by the row's file and place, and holds the values that the row had: where the source has others
by now it is not applied. Rows are personal data, so a local file is its owner's alone.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pyarrow import fs

from kg.errors import SourceError
from kg.locations import file_digest
from kg.source_config import Source
from kg.tables import Workspace, fingerprint

FOLDER = "corrections"
Place = tuple[str, str]


@dataclass(frozen=True)
class Correction:
    """What a row of a source becomes."""

    file: str
    row: str
    """As in quarantine: the line, the number of the row, or the path of a picture."""
    was: str
    """The values as the source has them, the JSON text that quarantine shows."""
    raw: dict[str, Any] | None
    """The values to read in their place, or ``{"line": …}`` for a line that could not be read; None drops the row."""

    @property
    def place(self) -> Place:
        """File and row: what it is known by within its source."""
        return self.file, self.row


def read_corrections(workspace: Workspace, source: str) -> dict[Place, Correction]:
    """The corrections of a source by place; none where there is no file. `SourceError` names a line that is none."""
    path = f"{workspace.root}/{FOLDER}/{source}.jsonl"
    if not workspace.filesystem.get_file_info(path).is_file:
        return {}
    with workspace.filesystem.open_input_stream(path) as stream:
        lines = stream.read().decode("utf-8").split("\n")
    found = {}
    for number, line in enumerate(filter(None, lines), 1):
        try:
            correction = Correction(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise SourceError(f"{path}:{number}: expected a correction with file, row, was and raw") from error
        found[correction.place] = correction
    return found


def write_corrections(workspace: Workspace, source: str, corrections: Iterable[Correction]) -> None:
    """Replace a source's corrections in one step."""
    lines = [json.dumps(asdict(c), ensure_ascii=False) + "\n" for c in sorted(corrections, key=lambda c: c.place)]
    write_private(workspace.filesystem, workspace.file(f"{FOLDER}/{source}.jsonl"), "".join(lines).encode())


def write_private(filesystem: fs.FileSystem, path: str, content: bytes) -> None:
    """Write a file whole or not at all; on a local disk nobody but its owner may read it."""
    draft = f"{path}.tmp"
    if isinstance(filesystem, fs.LocalFileSystem):
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        os.chmod(draft, 0o600)  # a draft that a killed run left may be open to others
    else:
        with filesystem.open_output_stream(draft) as stream:
            stream.write(content)
    filesystem.move(draft, path)


def corrections_fingerprints(workspace: Workspace, sources: Mapping[str, Source]) -> dict[str, str]:
    """A digest of each source's corrections where it has some, and of the pictures that they name."""
    found = {}
    for name, source in sources.items():
        corrections = read_corrections(workspace, name)
        if corrections:
            pictures = [_picture(c, source) for c in corrections.values() if source.format == "images"]
            found[name] = fingerprint([asdict(c) for c in corrections.values()], pictures)
    return found


def _picture(correction: Correction, source: Source) -> str | None:
    try:
        return file_digest(str((correction.raw or {}).get(source.rename.get("path", "path"))))
    except OSError:
        return None
