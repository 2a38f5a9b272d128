"""Files named alike for pyarrow, which looks at them, and for Spark, which reads them.

A path without ``://`` is local. Credentials of a remote file system come from the environment (such as
``AWS_ACCESS_KEY_ID``), which pyarrow and Hadoop both read; more settings of Hadoop's (``spark.hadoop.fs.…``) go into
``CROSSGRAPH_SPARK__CONF``.
"""

import fnmatch
import glob
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from kg.errors import MachineError, SourceError

# How Spark's Hadoop calls what pyarrow's file systems are called, and the schemes that both know.
SCHEMES = {"local": "file", "hdfs": "hdfs", "s3": "s3a", "gcs": "gs", "abfs": "abfs"}
_FOR_SPARK = {"s3": "s3a", "s3n": "s3a", "gcs": "gs"}
_FOR_ARROW = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class File:
    """A file to read, and what its rows say they come from."""

    path: str
    """A local path or a URI, as pyarrow takes it."""
    name: str
    """Its own path, or that of what it is a copy of."""
    before: int = 0
    """How many rows of that name lie in files before it."""


def opened(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path on it."""
    scheme, found, rest = path.partition("://")
    if not found:
        return fs.LocalFileSystem(), path
    if scheme == "file":
        return fs.LocalFileSystem(), "/" + rest.lstrip("/")
    filesystem, plain = fs.FileSystem.from_uri(f"{_FOR_ARROW.get(scheme, scheme)}://{rest}")
    return filesystem, plain


def for_spark(path: str) -> str:
    """The name of a file for Spark, by the scheme that Hadoop knows.

    What pyarrow takes in a URI (`?region=…`, `?endpoint_override=…`), Hadoop takes in its settings.
    """
    scheme, found, rest = _without_query(path)[0].partition("://")
    return f"{_FOR_SPARK.get(scheme, scheme)}://{rest}" if found else path


def _without_query(path: str) -> tuple[str, str]:
    """A path and the query of its URI with its question mark; in other paths a question mark is a wildcard."""
    head, mark, query = path.rpartition("?")
    return (head, mark + query) if "://" in path and "=" in query else (path, "")


def spark_uri(filesystem: fs.FileSystem, path: str) -> str:
    """The URI under which Spark finds a path of a pyarrow file system."""
    kind = filesystem.type_name
    if kind not in SCHEMES:
        raise MachineError(f"Spark cannot write to a workspace on {kind!r}, expected one of {sorted(SCHEMES)}")
    return f"{SCHEMES[kind]}://{path}"


def find_files(path: str) -> list[str]:
    """The files at a path or URI: itself, all below a folder, or what a glob matches; sorted, hidden ones left out.

    Raises `OSError` where a file system refuses or does not answer.
    """
    if "://" in path and not path.startswith("file://"):
        return _remote(path)
    plain = path if "://" not in path else "/" + path.removeprefix("file://").lstrip("/")
    matches = [Path(plain)] if Path(plain).exists() else [Path(p) for p in glob.glob(plain, recursive=True)]
    files = [f for m in matches for f in (m.rglob("*") if m.is_dir() else [m]) if f.is_file()]
    return sorted({str(f.absolute()) for f in files if not _hidden(f.name)})


def source_files(name: str, path: str) -> list[str]:
    """As `find_files`; `SourceError` where there are none or they cannot be listed."""
    try:
        found = find_files(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"source {name}: cannot list {path}: {str(error).splitlines()[0]}") from error
    if not found:
        raise SourceError(f"source {name}: nothing to read at {path}; check its `path` or set it to null")
    return found


def file_size(path: str) -> int:
    """A file's bytes."""
    filesystem, plain = opened(path)
    return int(filesystem.get_file_info(plain).size or 0)


def file_digest(path: str) -> str:
    """A digest of a file's bytes."""
    filesystem, plain = opened(path)
    digest = hashlib.blake2b(digest_size=16)
    with filesystem.open_input_stream(plain, compression=None) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _remote(uri: str) -> list[str]:
    uri, query = _without_query(uri)
    wild = _WILD.search(uri)
    base = uri[: wild.start()].rsplit("/", 1)[0] if wild else uri
    filesystem, plain = opened(base + query)
    info = filesystem.get_file_info(plain)
    infos = [info] if info.is_file else filesystem.get_file_info(fs.FileSelector(plain, True, True))
    named = [_uri(base, plain, i.path) for i in infos if i.is_file and not _hidden(i.base_name)]
    return sorted(n + query for n in named if not wild or fnmatch.fnmatchcase(n, uri.replace("**/", "*")))


def _uri(base: str, plain: str, path: str) -> str:
    """The URI of a path that a file system listed below `base`, which it calls `plain`."""
    scheme, _, rest = base.partition("://")
    authority = rest.split("/", 1)[0]
    if "@" in authority:  # abfss://container@account/…, listed as container/…
        return f"{scheme}://{authority}/{path.split('/', 1)[1]}"
    root = base.rstrip("/").removesuffix(plain.rstrip("/"))
    return f"{root}{path}" if root != base.rstrip("/") else f"{scheme}://{path}"
