"""Whether a source's contents changed since they were read last; no Spark is needed to see it."""

import glob
from collections.abc import Mapping
from pathlib import Path

from pyarrow import fs

from kg.errors import SourceError
from kg.source_config import Source
from kg.tables import file_fingerprint, fingerprint


def source_fingerprints(sources: Mapping[str, Source]) -> dict[str, str | None]:
    """A digest of each source's contents; `SourceError` names every source that is not there."""
    found: dict[str, str | None] = {}
    missing = []
    for name, source in sources.items():
        try:
            found[name] = _source_fingerprint(source)
        except FileNotFoundError:
            missing.append(f"source {name}: nothing to read at {source.path}; check its `path` or set it to null")
    if missing:
        raise SourceError("\n".join(missing))
    return found


def _source_fingerprint(source: Source) -> str | None:
    if source.path is None:
        return None
    if "://" in source.path:
        return _remote_fingerprint(source.path)
    matches = sorted(Path(p) for p in glob.glob(source.path, recursive=True))
    if Path(source.path).exists():
        matches = [Path(source.path)]
    if not matches:
        raise FileNotFoundError(source.path)
    return fingerprint([file_fingerprint(path) for path in matches])


def _remote_fingerprint(uri: str) -> str:
    """Of what cannot be read twice cheaply: names, sizes and times."""
    filesystem, path = fs.FileSystem.from_uri(uri)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(uri)
    infos = [info] if info.is_file else filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    return fingerprint(sorted((i.path, i.size, str(i.mtime)) for i in infos if i.is_file))
