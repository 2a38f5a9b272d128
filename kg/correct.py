"""Corrections read in place of their rows, before the contract and any mapping.

A frame gets ``_corrected``: what became of the row's correction (`CORRECTED`, `DROPPED` or `STALE`), null without one.
A corrected row is a duplicate where it equals an earlier one; the repeats of what it was stay repeats.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.corrections import Correction
from kg.pictures import is_picture
from kg.schema import CORRECTION
from kg.source_config import Source
from kg.source_files import parse_line
from kg.source_rows import DROPPED, LOST, MALFORMED, Rows, mark_duplicates

CORRECTED, STALE = "corrected", "stale"
LINE = "line"
NESTED = T.MapType | T.StructType | T.ArrayType


def correct(rows: Rows, source: Source, corrections: Sequence[Correction]) -> Rows:
    """The rows with corrections applied; a correction that does not fit the columns quarantines its row.

    A value that is none of its column's type, or is under an unknown name, gives the reason ``correction:<column>``.
    """
    if not corrections:
        return rows
    frame = _beside(rows, source, corrections)
    frame = frame.withColumns({"_corrected": _outcome(rows.raw), "_broken": F.col(MALFORMED)})
    line = _applied() & (F.col("_broken") == "malformed") & F.col("_new_line").isNotNull()
    frame = frame.withColumn("_is_line", F.coalesce(line, F.lit(False)))
    parsed, broken = parse_line(source, T.StructType([rows.frame.schema[c] for c in rows.columns]), "_new_line")
    frame = frame.withColumn("_parsed", F.when(F.col("_is_line"), parsed))
    values, bad = _values(frame.schema, rows.columns)
    reason = F.when(F.col("_is_line"), F.when(broken, F.lit("malformed"))).otherwise(F.coalesce(*bad))
    frame = frame.withColumns({"_bad": F.when(_applied(), reason), **values})
    # What could not be applied stays as it was written.
    written = F.when(F.col("_bad").isNotNull(), F.col("_new_text"))
    frame = frame.withColumn("_raw", F.when(_applied(), written).otherwise(F.col("_raw")))
    frame = frame.withColumn(MALFORMED, F.when(_applied(), F.col("_bad")).otherwise(F.col(MALFORMED)))
    if LOST in frame.columns:
        frame = frame.withColumn(LOST, F.when(~_applied(), F.col(LOST)))
    if source.duplicates == "drop" and not rows.by_path:
        frame = mark_duplicates(frame, rows.columns)
    gone = (F.col("_corrected") == DROPPED) & ~F.col("_duplicate")
    frame = frame.withColumn(MALFORMED, F.when(gone, F.lit(DROPPED)).otherwise(F.col(MALFORMED)))
    return replace(rows, frame=frame.select(*rows.frame.columns, "_corrected"))


def _applied() -> Column:
    return F.coalesce(F.col("_corrected") == CORRECTED, F.lit(False))


def _outcome(raw: Column) -> Column:
    kind = F.when(F.col("_new_drop"), DROPPED).otherwise(CORRECTED)
    # One in the other, so that the raw values of rows without a correction are not made.
    return F.when(F.col("_new_was").isNotNull(), F.when(F.col("_new_was") == raw, kind).otherwise(STALE))


def _beside(rows: Rows, source: Source, corrections: Sequence[Correction]) -> DataFrame:
    """Each row beside its correction, if it has one: ``_new_was``, …, and ``_new_0``, … for the columns' values."""
    label = F.col("_file") if rows.by_path else F.col("_row").cast("string")
    new = F.broadcast(_frame(rows, source, corrections))
    here = (F.col("_file") == F.col("_new_file")) & (label == F.col("_new_row"))
    return rows.frame.join(new, here, how="left")


def _frame(rows: Rows, source: Source, corrections: Sequence[Correction]) -> DataFrame:
    names = ["file", "row", "was", "drop", "text", "line", "unknown", "broken", *map(str, range(len(rows.columns)))]
    records = [_record(rows, source, correction) for correction in corrections]
    schema = ", ".join(f"_new_{name} {'boolean' if name == 'drop' else 'string'}" for name in names)
    return rows.frame.sparkSession.createDataFrame(pd.DataFrame(records, columns=names, dtype=object), schema)


def _record(rows: Rows, source: Source, correction: Correction) -> list[object]:
    """A correction as strings: its place, its text, what is wrong with it, and its values by column."""
    raw = correction.raw or {}
    line = raw[LINE] if set(raw) == {LINE} and set(json.loads(correction.was)) == {LINE} else None
    unknown = next((name for name in raw if name not in rows.columns), None)
    broken = None
    if source.format == "images" and raw and not is_picture(str(raw.get(rows.columns[0]))):
        broken = "broken_image"
    values = [_text(raw.get(name)) for name in rows.columns]
    text = json.dumps(raw, ensure_ascii=False, separators=(",", ":"))
    drop = correction.raw is None
    return [correction.file, correction.row, correction.was, drop, text, line, unknown, broken, *values]


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _values(schema: T.StructType, columns: list[str]) -> tuple[dict[str, Column], list[Column]]:
    """The columns' values, corrected where they are, and what may be wrong with a correction, null where nothing is."""
    values, bad = {}, [F.col("_new_broken"), F.concat(F.lit("correction:"), F.col("_new_unknown"))]
    for number, name in enumerate(columns):
        text, type_ = F.col(f"_new_{number}"), schema[name].dataType
        value = _as(text, type_)
        corrected = F.when(F.col("_is_line"), F.col(f"_parsed.`{name}`")).otherwise(value)
        values[name] = F.when(_applied(), corrected).otherwise(F.col(f"`{name}`"))
        bad.append(F.when(text.isNotNull() & value.isNull(), F.lit(f"correction:{name}")))
    return values, bad


def _as(text: Column, type_: T.DataType) -> Column:
    if isinstance(type_, NESTED):
        return F.from_json(text, type_.simpleString())
    return F.unbase64(text) if isinstance(type_, T.BinaryType) else text.cast(type_)


def correction_table(rows: Rows, corrections: Sequence[Correction]) -> pa.Table:
    """`CORRECTION` rows of a source: what became of each; those whose row is gone are stale."""
    label = F.col("_file") if rows.by_path else F.col("_row").cast("string")
    met = rows.frame.where("_corrected is not null").select("_file", label, "_corrected").collect()
    became: Mapping[tuple[str, str], str] = {(file, row): outcome for file, row, outcome in met}
    records = [
        {"source": rows.name, "file": c.file, "row": c.row, "outcome": became.get(c.place, STALE)} for c in corrections
    ]
    return pa.Table.from_pylist(records, schema=CORRECTION)


def counts(tables: Sequence[pa.Table]) -> dict[str, dict[str, int]]:
    """By source, how many corrections were applied, dropped their row, or are stale."""
    found: dict[str, dict[str, int]] = {}
    for table in tables:
        for record in table.to_pylist():
            of = found.setdefault(record["source"], dict.fromkeys((CORRECTED, DROPPED, STALE), 0))
            of[record["outcome"]] += 1
    return found
