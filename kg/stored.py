"""Frames that are kept on disk: for sources that are too large to be held in memory row by row.

`kg.spark.kept` holds some 300 bytes of Java heap for every row: of five million rows it filled a heap of 3 GiB, which
was then collected more than it was used. Columns on disk take a tenth of it, and a step reads those that it needs.
"""

import uuid

from pyarrow import fs
from pyspark.sql import DataFrame

from kg.spark import kept, location
from kg.tables import Draft

FOLDER = "stored"
# What Parquet does not hold.
UNWRITABLE = ("void", "struct<>", "interval")


def stored(frame: DataFrame, draft: Draft) -> DataFrame:
    """A frame that is computed now and read from disk from then on, until `drop_stored`.

    It knows no order and no partitioning any more. What Parquet cannot hold is `kept`.
    """
    if any(kind in frame.schema.simpleString() for kind in UNWRITABLE):
        return kept(frame)
    place = location(draft, f"{FOLDER}/{uuid.uuid4().hex}")
    frame.write.parquet(place)
    return frame.sparkSession.read.schema(frame.schema).parquet(place)


def drop_stored(draft: Draft) -> None:
    """Remove them all from the disk; none may be used any more."""
    if draft.filesystem.get_file_info(place := f"{draft.path}/{FOLDER}").type == fs.FileType.Directory:
        draft.filesystem.delete_dir(place)
