"""The model that training starts from, where the project file names one (`embed.pretrained`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from flows.tasks import Run
from kg.checksums import checksums
from kg.errors import ConfigError
from kg.tables import Workspace, fingerprint

if TYPE_CHECKING:
    from embed.checkpoint import Checkpoint

STAGE, MODEL, DESCRIPTION = "embeddings", "model", "model.json"


@dataclass(frozen=True)
class Start:
    """Where a model lies."""

    filesystem: fs.FileSystem
    folder: str
    fingerprint: str
    """Of its files: another model is another start."""

    def read(self, device: str) -> "Checkpoint":
        """The model; `ContractError` where it is none of ours."""
        from embed.checkpoint import read

        return read(self.filesystem, self.folder, device)


def find_start(run: Run) -> Start | None:
    """What `embed.pretrained` names, None where it is null; `ConfigError` where that holds no model or is one's own."""
    named = run.embed_config.pretrained
    if named is None:
        return None
    try:
        place = Workspace(_location(run, named))
        folder = _model_folder(place, run, named)
        found = fingerprint(checksums(place.filesystem, folder, {}))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"embed.pretrained: {named} cannot be read: {str(error).splitlines()[0]}") from error
    return Start(place.filesystem, folder, found)


def _location(run: Run, named: str) -> str:
    """A path or URI stands for itself, as does a folder that is there; anything else is a project's name."""
    if "://" in named or len(Path(named).parts) > 1 or Path(named).is_dir():
        return named
    return run.settings.workspace_of(named)


def _model_folder(place: Workspace, run: Run, named: str) -> str:
    if place.filesystem.get_file_info(f"{place.root}/{DESCRIPTION}").type == fs.FileType.File:
        return place.root
    if place.root == run.workspace.root and place.filesystem.type_name == run.workspace.filesystem.type_name:
        # Each training would be another start for the next.
        raise ConfigError(f"embed.pretrained: {named} is this project's own workspace, expected another's")
    newest = place.stage(STAGE).current()
    if newest is None:
        raise ConfigError(
            f"embed.pretrained: {place.location} holds no model, expected a workspace with {STAGE} or a folder with "
            f"{DESCRIPTION}: run `crossgraph embed` for that project first"
        )
    return newest.location(MODEL)
