"""The text encoder as a function over Arrow batches, for Spark's workers."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from embed.config import TextModel
from kg.vectors import vector_array

if TYPE_CHECKING:
    from kg.resolve_records import Encode

ROWS = 1024


def text_encoder(config: TextModel, device: str) -> "Encode":
    """A function that adds to batches of ``text`` their ``vector``; the model is loaded where and when it is called."""
    return partial(_encode, config, device)


def _encode(config: TextModel, device: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    encoder = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if encoder is None:
            from embed.text import TextEncoder

            encoder = TextEncoder(config, device)
        vectors = encoder.encode(batch["text"].to_pylist())
        yield pa.RecordBatch.from_arrays([batch["text"], vector_array(vectors)], names=["text", "vector"])
