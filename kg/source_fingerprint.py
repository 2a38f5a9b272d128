"""Whether a source's contents changed since they were read last; no Spark is needed to see it."""

from collections.abc import Mapping
from pathlib import Path

from kg.errors import SourceError
from kg.landing import Landing
from kg.locations import file_digest, opened, source_files
from kg.source_config import Source
from kg.tables import fingerprint


def source_fingerprints(sources: Mapping[str, Source], landing: Landing | None = None) -> dict[str, str | None]:
    """A digest of each source's contents, of what has landed where it lands; None for what is not there to be.

    `SourceError` names every source that is missing. Nothing is asked of a database or an API.
    """
    found: dict[str, str | None] = {}
    missing = []
    for name, source in sources.items():
        try:
            found[name] = _of(name, source, landing)
        except SourceError as error:
            missing.append(str(error))
    if missing:
        raise SourceError("\n".join(missing))
    return found


def _of(name: str, source: Source, landing: Landing | None) -> str | None:
    if source.place is None:
        return None
    if not source.lands:
        return _of_files(source_files(name, source.place))
    state = landing.source(name).state() if landing else None
    return state.fingerprint if state else None


def _of_files(paths: list[str]) -> str:
    return fingerprint([(Path(path).name, _of_file(path)) for path in paths])


def _of_file(path: str) -> str:
    """Of a local file its bytes; of a remote one, which is dear to read, its size and time."""
    filesystem, plain = opened(path)
    if filesystem.type_name == "local":
        return file_digest(path)
    info = filesystem.get_file_info(plain)
    return fingerprint(info.size, str(info.mtime))
