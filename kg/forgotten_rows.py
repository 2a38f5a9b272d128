"""Spark's side of forgetting: rows that make or name a forgotten node are filtered, whatever else is said of them.

A row that several mappings read is judged by each: the row of a forgotten user's purchase makes no user and no
purchase, but may still make the shop. None of its rows goes to quarantine, for that keeps raw values.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.forgotten import FIELDS, REASON, SEPARATOR, WORDS, Forgotten
from kg.mapping import FILTERED, QUARANTINED, Mapped
from kg.source_rows import MALFORMED, Rows
from kg.spark import kept

PLACE = ["_source", "_file", "_row"]


def is_forgotten(forgotten: Forgotten, label: str, key: Column) -> Column:
    """Whether a node of a label is forgotten; false for a null key."""
    found = [
        F.sha2(F.concat_ws(SEPARATOR, F.lit(group.salt), F.lit(label), key), 256).isin(sorted(group.digests))
        for group in forgotten.groups
        if group.digests
    ]
    return F.coalesce(key.isNotNull() & reduce(lambda a, b: a | b, found, F.lit(False)), F.lit(False))


def forget(frame: DataFrame, condition: Column) -> DataFrame:
    """Filter rows for which a condition holds, those that were refused for another reason too."""
    return frame.withColumns(
        {
            "_reason": F.when(condition, REASON).otherwise(F.col("_reason")),
            "_coerced": F.when(condition, 0).otherwise(F.col("_coerced")),
            "_status": F.when(condition, FILTERED).otherwise(F.col("_status")),
        }
    )


def withhold(mapped: Sequence[Mapped]) -> None:
    """Filter quarantined rows of which another mapping found that they name a forgotten node."""
    named = [part.frame.where(F.col("_reason") == REASON).select(*PLACE) for part in mapped]
    places = kept(reduce(DataFrame.unionAll, named).distinct().withColumn("_named", F.lit(True)))
    for part in mapped:
        frame = part.frame.join(F.broadcast(places), on=PLACE, how="left")
        hit = (F.col("_status") == QUARANTINED) & F.coalesce("_named", F.lit(False))
        part.frame = kept(forget(frame, hit).drop("_named"))


def _word_of(forgotten: Forgotten, label: str) -> Callable[[Column], Column]:
    return lambda word: is_forgotten(forgotten, label, F.trim(word))


def withhold_unreadable(rows: Rows, labels: Iterable[str], forgotten: Forgotten) -> DataFrame:
    """The rows, with `REASON` for why a row cannot be read if one of its fields or words is a forgotten key."""
    line = F.coalesce(F.get_json_object(rows.raw, "$.line"), rows.raw)
    hit = F.lit(False)
    for label in sorted(labels):
        for pattern in (FIELDS, WORDS):
            hit = hit | F.exists(F.split(line, pattern), _word_of(forgotten, label))
    broken = F.col(MALFORMED).isNotNull()
    return rows.frame.withColumn(MALFORMED, F.when(broken & hit, F.lit(REASON)).otherwise(F.col(MALFORMED)))
