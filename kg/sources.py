"""One entry to all sources: rows with their columns, where they came from, and the ones that cannot be read."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kg.errors import SourceError
from kg.existing_rows import read_existing
from kg.landing import Landing
from kg.locations import File, file_size, source_files
from kg.source_config import BY_PATH, Source
from kg.source_files import read_csv, read_jsonl, read_parquet
from kg.source_images import read_images, with_pictures
from kg.source_rows import LOST, MALFORMED, PROVENANCE, Rows, mark_duplicates
from kg.source_videos import read_videos
from kg.spark import translated

# Bytes of files; of Parquet they hold some 700,000 rows of a few columns.
LARGE = 8 << 20
Reader = Callable[[SparkSession, str, Source, list[File]], DataFrame]
READERS: dict[str, Reader] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "images": read_images,
    "neo4j": read_existing,
}
# How rows that were asked for lie in the workspace, and the options for reading them there.
LANDED: dict[str, tuple[str, dict[str, str | bool | int]]] = {
    "jdbc": ("parquet", {"mergeSchema": True}),
    "http": ("jsonl", {}),
}


def read(spark: SparkSession, name: str, source: Source, landing: Landing | None = None) -> Rows:
    """Read a source whose place is set; nothing but headers, types and broken pictures is looked at before an action.

    Where a source's rows land first, what has landed is read (`kg.land` brings it). Raises `SourceError` for a missing
    path, an unreadable file, a header that differs between files or a `rename` of a column that is not there.
    """
    files = _files(name, source, landing)
    pictures = landing.pictures(name) if landing else ""
    if not landing and (source.images or source.format == "videos"):
        raise SourceError(f"source {name}: its pictures need a workspace to be kept in")
    with translated(f"source {name} at {source.place}"):
        frame = _frame(spark, name, source, files, pictures)
    by_path = source.format in BY_PATH
    columns = [c for c in frame.columns if c not in (*PROVENANCE, MALFORMED, "_raw", LOST)]
    frame = frame.withColumn("_duplicate", F.lit(False))
    if source.duplicates == "drop" and not by_path:
        frame = mark_duplicates(frame, columns)
    large = _size(source, files) > LARGE
    return Rows(name, frame.withColumn("_source", F.lit(name)), columns, by_path, large)


def are_small(sources: Mapping[str, Source], landing: Landing) -> bool:
    """Whether all rows that there are to read lie in so few bytes that compiling queries costs more than running them.

    A source that is not there is small: whoever reads it says so.
    """
    total = 0
    for name, source in sources.items():
        if source.place is not None:
            with suppress(SourceError):
                total += _size(source, _files(name, source, landing))
    return total <= LARGE


def _size(source: Source, files: Iterable[File]) -> int:
    """Bytes of the files that rows are read from; those of pictures hold none."""
    return 0 if source.format in BY_PATH else sum(file_size(file.path) for file in files)


def _files(name: str, source: Source, landing: Landing | None) -> list[File]:
    """The files that hold a source's rows."""
    if not source.lands:
        return [File(path, path) for path in source_files(name, str(source.path))]
    landed = landing.source(name) if landing else None
    state = landed.state() if landed else None
    if landed is None or state is None:
        raise SourceError(f"source {name}: nothing of {source.place} has landed in a workspace yet")
    return landed.files(state)


def _frame(spark: SparkSession, name: str, source: Source, files: list[File], pictures: str) -> DataFrame:
    if source.format == "videos":
        return read_videos(spark, name, source, files, pictures)
    kind, options = LANDED.get(source.format, (source.format, source.options))
    frame = READERS[kind](spark, name, source.model_copy(update={"options": options}), files)
    return with_pictures(name, source, frame, pictures) if source.images else frame
