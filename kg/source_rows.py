"""The rows of a source: its columns, where each row came from, and why what cannot be read cannot.

Every frame has, beside the source's own columns, `PROVENANCE`:

- ``_source``, the source's name, and ``_file``, the path, or the table or URL that was asked;
- ``_row`` (long): the line of a text file (a header is line 1), the number of the row from 1 elsewhere. With
  ``multiLine: true`` a record of a CSV file may span lines, and the number counts records (the header is 1);
- ``_position``: sorts rows as they were delivered: by file, then row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import SourceError
from kg.locations import File, for_spark

PROVENANCE = ("_source", "_file", "_row", "_position")
MALFORMED = "_malformed"
# The reason of a row that a correction takes out: it is filtered, not quarantined.
DROPPED = "dropped"
# Where it is there: names of the columns whose picture could not be read and became null.
LOST = "_lost"
# monotonically_increasing_id counts rows within a task in its lower 33 bits.
WITHIN_TASK = (1 << 33) - 1
# Beyond so many files a lookup in a literal map costs more than a join.
FEW = 20


@dataclass(frozen=True)
class Rows:
    """What was read of one source.

    `frame` holds `PROVENANCE`, the columns, ``_malformed`` (string: why no mapping may see the row, else null),
    ``_raw`` (string: what to keep of a row whose columns do not hold what was read, else null) and ``_duplicate``
    (whether it repeats an earlier row).
    """

    name: str
    frame: DataFrame
    columns: list[str]
    by_path: bool = False
    """Whether a row is named by its path in quarantine (pictures), not by its number."""
    large: bool = False
    """Whether there is so much of it that it is better kept on disk."""

    @property
    def raw(self) -> Column:
        """The values as read, as a JSON object: made only where it is asked for, as few rows ever need it."""
        return F.coalesce("_raw", as_json(self.columns))

    @property
    def good(self) -> DataFrame:
        """The rows that mappings see: readable ones, each once."""
        seen = self.frame.where("_malformed is null and not _duplicate")
        return seen.drop(MALFORMED, "_duplicate", "_raw", LOST, "_corrected")


def as_json(columns: Sequence[str]) -> Column:
    """Columns as one JSON object."""
    return F.to_json(F.struct(*[F.col(f"`{c}`") for c in columns]))


def column_names(name: str, found: list[str], rename: dict[str, str]) -> list[str]:
    """The columns' names after `rename`."""
    if missing := [c for c in rename if c not in found]:
        raise SourceError(f"source {name}: no column {missing[0]!r} to rename; it has {found}")
    names = [rename.get(c, c) for c in found]
    if repeated := sorted({c for c in names if names.count(c) > 1}):
        raise SourceError(f"source {name}: more than one column is called {repeated[0]!r}; it has {found}")
    if ours := [c for c in names if c.startswith("_")]:
        raise SourceError(f"source {name}: column {ours[0]!r} must not start with `_`; give it a name by `rename`")
    return names


def located(frame: DataFrame, files: list[File], row: Column) -> DataFrame:
    """Add provenance; `frame` has ``_uri``, the file as Spark names it."""
    frame = frame.withColumn("_row", row.cast("long"))
    if len(files) == 1:
        frame = frame.withColumns({"_nth": F.lit(0), "_file": F.lit(files[0].name), "_before": F.lit(files[0].before)})
    else:
        frame = _with_file(frame.withColumn("_uri", F.regexp_replace("_uri", "^file:/+", "file:/")), files)
    frame = frame.withColumn("_row", F.col("_row") + F.col("_before"))
    position = F.col("_nth").cast("long") * (WITHIN_TASK + 1) + F.col("_row")
    return frame.withColumn("_position", position).drop("_uri", "_nth", "_before")


def _with_file(frame: DataFrame, files: list[File]) -> DataFrame:
    uris = [_uri(file.path) for file in files]
    if len(files) > FEW:
        known = [(uri, n, file.name, file.before) for n, (uri, file) in enumerate(zip(uris, files, strict=True))]
        names = frame.sparkSession.createDataFrame(known, "_uri string, _nth int, _file string, _before long")
        return frame.join(F.broadcast(names), on="_uri", how="left")
    frame = frame.withColumn(
        "_nth", F.map_from_arrays(_literals(uris), _literals(list(range(len(uris)))))[F.col("_uri")]
    )
    file = F.element_at(_literals([file.name for file in files]), F.col("_nth") + 1)
    before = F.element_at(_literals([file.before for file in files]), F.col("_nth") + 1)
    return frame.withColumns({"_file": file, "_before": before})


def _uri(path: str) -> str:
    return Path(path).as_uri().replace("file://", "file:") if path.startswith("/") else for_spark(path)


def _literals(values: list[str] | list[int]) -> Column:
    return F.array(*[F.lit(v) for v in values])


def mark_duplicates(frame: DataFrame, columns: list[str]) -> DataFrame:
    """Mark the readable rows that equal an earlier one which is no duplicate itself; marks stay."""
    # JSON text compares what Spark cannot compare itself, such as maps and structs.
    nested = [c for c in columns if isinstance(frame.schema[c].dataType, T.MapType | T.StructType | T.ArrayType)]
    key = [F.col(f"`{c}`") for c in columns if c not in nested] + ([as_json(nested)] if nested else [])
    # Rows are sorted to meet their equals, and by a number that is faster.
    key = [F.xxhash64(*key), *key]
    counted = F.col(MALFORMED).isNull() & ~F.col("_duplicate")
    # Rows that do not count are each their own.
    apart = F.when(~counted, F.col("_position"))
    nth = F.row_number().over(Window.partitionBy(*key, apart).orderBy("_position"))
    return frame.withColumn("_duplicate", F.col("_duplicate") | ((nth > 1) & counted))


def unpacked(parsed: DataFrame, names: list[str]) -> DataFrame:
    """``_values`` as columns, and the reason code instead of the malformed line, which ``_raw`` has."""
    broken = F.col(f"_values.{MALFORMED}").isNotNull()
    values = [F.col(f"_values.`{c}`").alias(c) for c in names]
    line = F.to_json(F.struct(F.col("value").alias("line")))
    reason = F.when(broken, F.lit("malformed")).alias(MALFORMED)
    return parsed.select("_file", "_row", "_position", *values, reason, F.when(broken, line).alias("_raw"))
