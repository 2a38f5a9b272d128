"""The encoders on Spark's Python workers give what they give here; two tasks at once, on a real Spark."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from embed.config import ImageModel, TextModel
from embed.image import ImageEncoder
from embed.text import TextEncoder
from flows.encoding import IMAGES, TEXTS, image_encoder, text_encoder
from kg.jars import Jars
from kg.java import Java
from kg.spark import session
from tests.embed.test_image import draw

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spark(java: Java, jars: Jars, java_options: str) -> Iterator[SparkSession]:
    """Two executors at once, in batches smaller than a partition."""
    conf = {"spark.sql.execution.arrow.maxRecordsPerBatch": "5"}
    with session(java, jars.spark, master="local[2]", memory="1g", conf=conf, java_options=java_options) as started:
        yield started


def test_texts(spark: SparkSession) -> None:
    texts = [f"A tale of {i} brothers" + " and their dog" * (i % 7) for i in range(24)]
    frame = spark.createDataFrame([(text,) for text in texts], "text string").repartition(2)
    rows = frame.mapInArrow(text_encoder(TextModel(), "cpu"), TEXTS).collect()
    assert sorted(row.text for row in rows) == sorted(texts)
    expected = dict(zip(texts, TextEncoder(TextModel(), "cpu").encode(texts), strict=True))
    assert all(np.dot(row.vector, expected[row.text]) > 1 - 1e-3 for row in rows)


def test_images(spark: SparkSession, tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{i}.jpg", (20 * i, 90, 200 - 9 * i), (150 + i, 220)) for i in range(12)]
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    paths += [str(tmp_path / "broken.jpg"), str(tmp_path / "lost.jpg")]
    frame = spark.createDataFrame([(path,) for path in paths], "image string").repartition(2)
    rows = {row.image: row.vector for row in frame.mapInArrow(image_encoder(ImageModel(), "cpu"), IMAGES).collect()}
    assert sorted(rows) == sorted(paths) and [rows[path] for path in paths[-2:]] == [None, None]
    vectors, _ = ImageEncoder(ImageModel(), "cpu").encode(paths[:-2])
    found = np.array([rows[path] for path in paths[:-2]])
    assert ((found * vectors).sum(1) > 1 - 1e-3).all()


def test_tasks_at_once_take_a_core_each(spark: SparkSession) -> None:
    """Each worker process encodes on one thread, else two tasks on two cores would have four."""

    def threads(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        for _batch in batches:
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "threads": [torch.get_num_threads()]})

    rows = spark.range(8, numPartitions=2).mapInArrow(threads, "pid long, threads long").collect()
    assert {row.threads for row in rows} == {1} and os.getpid() not in {row.pid for row in rows}
