"""The encoders as functions over Arrow batches, for Spark's workers (`DataFrame.mapInArrow`).

Spark gives each of its Python workers as many threads as a task has cores (`spark.task.cpus`, 1 by default), and
torch takes no more: executors of several cores run several tasks at once.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import pyarrow as pa

from embed.config import ImageModel, TextModel
from kg.vectors import vector_array

if TYPE_CHECKING:
    from embed.image import ImageEncoder
    from embed.text import TextEncoder

Encode = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
TEXTS = "text string, vector array<float>"
"""What `text_encoder` gives, for Spark."""
IMAGES = "image string, vector array<float>"
"""What `image_encoder` gives, for Spark."""


def text_encoder(config: TextModel, device: str) -> Encode:
    """A function that adds to batches of ``text`` their ``vector``; the model is loaded where and when it is called."""
    return partial(_encode, "text", _texts, config, device)


def image_encoder(config: ImageModel, device: str) -> Encode:
    """A function that adds to batches of ``image`` (a path or URI that every worker reads) their ``vector``.

    Null where a file is broken or not there. The model is loaded where and when the function is called.
    """
    return partial(_encode, "image", _images, config, device)


Batch = Callable[..., pa.Array]


def _encode(
    column: str, encode: Batch, config: object, device: str, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            vectors = encode(config, device, batch[column].to_pylist())
            yield pa.RecordBatch.from_arrays([batch[column], vectors], names=[column, "vector"])


def _texts(config: TextModel, device: str, texts: list[str]) -> pa.Array:
    return vector_array(_text_model(config, device).encode(texts))


def _images(config: ImageModel, device: str, paths: list[str]) -> pa.Array:
    vectors, good = _image_model(config, device).encode(paths)
    return vector_array(vectors, good)


# A worker is used for many tasks, and loading takes as long as some hundred texts.
@lru_cache(maxsize=1)
def _text_model(config: TextModel, device: str) -> "TextEncoder":
    from embed.text import TextEncoder

    return TextEncoder(config, device)


@lru_cache(maxsize=1)
def _image_model(config: ImageModel, device: str) -> "ImageEncoder":
    from embed.image import ImageEncoder

    return ImageEncoder(config, device)
