"""Videos as sampled frames: a row a frame, its picture in the workspace."""

import io
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kg.locations import File, file_digest, opened
from kg.pictures import keep_file
from kg.source_config import Frames, Source
from kg.source_images import STEM
from kg.source_rows import MALFORMED, WITHIN_TASK, column_names

QUALITY = 90
LISTED = pa.schema(
    [
        pa.field("_video", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("_row", pa.int64()),
        pa.field("frame", pa.string()),
        pa.field("second", pa.float64()),
        pa.field(MALFORMED, pa.string()),
    ]
)
SPARK_SCHEMA = f"_video long, path string, _row long, frame string, second double, {MALFORMED} string"


def read_videos(spark: SparkSession, name: str, source: Source, files: list[File], folder: str) -> DataFrame:
    """The sampled frames of all videos; one that cannot be decoded is one row, malformed. Frames lie below `folder`."""
    wanted = source.frames
    listed = spark.createDataFrame([(n, file.path) for n, file in enumerate(files, 1)], "_video long, path string")
    listed = listed.repartition(max(spark.sparkContext.defaultParallelism, len(files) // 16))
    names = column_names(name, ["path", "stem", "frame", "second"], source.rename)

    def sample(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                yield _rows(row["_video"], row["path"], wanted, folder)

    found = listed.mapInArrow(sample, SPARK_SCHEMA)
    columns = [F.col("path"), F.regexp_extract("path", STEM, 1), F.col("frame"), F.col("second")]
    values = [column.alias(name) for column, name in zip(columns, names, strict=True)]
    position = F.col("_video") * (WITHIN_TASK + 1) + F.col("_row")
    place = [F.col("path").alias("_file"), F.col("_row"), position.alias("_position")]
    return found.select(*place, *values, MALFORMED, F.lit(None).cast("string").alias("_raw"))


def _rows(video: int, path: str, wanted: Frames, folder: str) -> pa.RecordBatch:
    frames = frames_of(path, wanted, folder)
    place = {"_video": video, "path": path}
    if frames is None:
        return pa.RecordBatch.from_pylist([{**place, "_row": 1, MALFORMED: "broken_video"}], LISTED)
    rows = [{**place, "_row": n, "frame": frame, "second": at} for n, (at, frame) in enumerate(frames, 1)]
    return pa.RecordBatch.from_pylist(rows, LISTED)


def frames_of(path: str, wanted: Frames, folder: str) -> list[tuple[float, str]] | None:
    """Second and picture of each sampled frame, kept by the video's content; None for a video that is broken."""
    import av

    try:
        place = f"{(digest := file_digest(path))[:2]}/{digest}-{wanted.every or ''}{wanted.count}"
        filesystem, plain = opened(folder)
        index = f"{plain}/{place}/frames.json"
        if filesystem.get_file_info(index).is_file:
            with filesystem.open_input_stream(index) as stream:
                return [(at, f"{folder}/{place}/{name}") for at, name in json.loads(stream.read())]
        pictures = _sampled(path, wanted)
    except (OSError, ValueError, av.error.FFmpegError):
        return None
    names = [(at, f"{round(at * 1000):09d}.jpg") for at, _ in pictures]
    found = [
        (at, keep_file(picture, folder, f"{place}/{name}"))
        for (at, name), (_, picture) in zip(names, pictures, strict=True)
    ]
    keep_file(json.dumps(names).encode(), folder, f"{place}/frames.json")
    return found


def _sampled(path: str, wanted: Frames) -> list[tuple[float, bytes]]:
    """Second and JPEG of each frame; `ValueError` where the video ends before it says."""
    import av

    filesystem, plain = opened(path)
    with filesystem.open_input_file(plain) as file, av.open(file) as container:
        if not container.streams.video:
            raise ValueError(f"{path} has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        length = _length(container, stream)
        if wanted.every:
            targets = [n * wanted.every for n in range(max(1, math.ceil(length / wanted.every)))]
        else:
            targets = [(n + 0.5) * length / wanted.count for n in range(wanted.count)]
        found: dict[float, bytes] = {}
        for target in targets:
            at, frame = _frame_at(container, stream, target)
            if at not in found:
                found[at] = _jpeg(frame)
        return sorted(found.items())


def _length(container: Any, stream: Any) -> float:
    """Seconds, as the container says or else as its frames do."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration / 1_000_000)
    last = max((frame.time for frame in container.decode(stream) if frame.time is not None), default=None)
    if last is None:
        raise ValueError("no frame can be decoded")
    return float(last)


def _frame_at(container: Any, stream: Any, target: float) -> tuple[float, Any]:
    """The frame that is shown at a second, and its own second."""
    start = float((stream.start_time or 0) * stream.time_base)
    container.seek(int((target + start) / stream.time_base), stream=stream)
    shown, ended = None, True
    for frame in container.decode(stream):
        at = float(frame.time) - start
        if shown is not None and at > target:
            ended = False
            break
        shown = (at, frame)
        if at > target:
            ended = False
            break
    if shown is None:
        raise ValueError(f"no frame at second {target}")
    if ended and shown[0] + _shown_for(stream, shown[1]) < target:
        raise ValueError(f"ends at second {shown[0]}, before {target}")
    return round(shown[0], 3), shown[1]


def _shown_for(stream: Any, frame: Any) -> float:
    """Seconds; two frames' time at least, as containers round."""
    own = float((frame.duration or 0) * stream.time_base)
    return max(own, 2 / float(stream.average_rate or 1))


def _jpeg(frame: Any) -> bytes:
    content = io.BytesIO()
    frame.to_image().save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
