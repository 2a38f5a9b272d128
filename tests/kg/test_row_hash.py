from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.row_hash import key_hashes, row_hashes, salt_of, table_digest

MOMENT = datetime(2024, 5, 17, 1, 2, 3, 4, tzinfo=UTC)
PAIRS = [
    (pa.string(), "a", "b"),
    (pa.string(), "", None),
    (pa.string(), "", "\0"),
    (pa.string(), "12345678", "12345678\0"),
    (pa.string(), "1234567890", "1234567809"),
    (pa.string(), "x" * 300 + "a", "x" * 300 + "b"),
    (pa.binary(), b"\xff" * 8, b"\xff" * 9),
    (pa.int64(), 0, None),
    (pa.int64(), 2**62, 2**62 + 1),
    (pa.float64(), 0.1, 0.1 + 2**-55),
    (pa.bool_(), False, None),
    (pa.bool_(), False, True),
    (pa.timestamp("us", "UTC"), MOMENT, MOMENT + timedelta(microseconds=1)),
    (pa.date32(), date(1969, 12, 31), date(1970, 1, 1)),
    (pa.list_(pa.string()), ["a", "b"], ["ab"]),
    (pa.list_(pa.int64()), [], None),
]


def _batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize(("type_", "one", "other"), PAIRS)
def test_different_values_have_different_hashes(type_: pa.DataType, one: object, other: object) -> None:
    first, second, again = row_hashes(_batch(x=pa.array([one, other, one], type_)), ["x"])
    assert first == again
    assert first != second


def test_a_value_in_another_column_is_another_row() -> None:
    batch = _batch(x=pa.array([1, None]), y=pa.array([None, 1]))
    assert len(set(row_hashes(batch, ["x", "y"]))) == 2


def test_names_types_and_salt_count() -> None:
    found = [
        row_hashes(_batch(x=pa.array([1])), ["x"]),
        row_hashes(_batch(y=pa.array([1])), ["y"]),
        row_hashes(_batch(x=pa.array([1], pa.int32())), ["x"]),
        row_hashes(_batch(x=pa.array([1])), ["x"], salt_of("label", "item")),
    ]
    assert len({int(hash_[0]) for hash_ in found}) == 4


def test_the_hash_of_a_row_does_not_hang_on_its_batch() -> None:
    whole = pa.table({"x": ["b", "a", None, "b"], "y": [0.5, -0.0, 0.0, None]})
    apart = np.concatenate([row_hashes(batch, ["x", "y"]) for batch in whole.to_batches(max_chunksize=1)])
    assert (row_hashes(whole, ["x", "y"]) == apart).all()


def test_minus_zero_is_zero() -> None:
    first, second = row_hashes(_batch(x=pa.array([0.0, -0.0])), ["x"])
    assert first == second


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=2, max_size=50))
def test_integers_never_collide(values: list[int]) -> None:
    assert len(set(row_hashes(_batch(x=pa.array(values, pa.int64())), ["x"]))) == len(values)


@given(st.lists(st.text(max_size=200), unique=True, min_size=2, max_size=50))
def test_a_text_is_hashed_alike_wherever_it_stands(values: list[str]) -> None:
    whole = row_hashes(_batch(x=pa.array(["before", *values])), ["x"])[1:]
    sliced = row_hashes(_batch(x=pa.array([*values, None, "behind"]).slice(1)), ["x"])
    assert (whole[1:] == sliced[: len(values) - 1]).all()
    assert len(set(whole)) == len(values)


@pytest.mark.parametrize("length", [1, 8, 9, 32, 128, 129])
def test_texts_of_one_length_have_the_hashes_that_they_have_among_others(length: int) -> None:
    values = [str(n).rjust(length, "x")[-length:] for n in range(9)]
    alone = row_hashes(_batch(x=pa.array(["y" * length, *values]).slice(1)), ["x"])
    assert (row_hashes(_batch(x=pa.array([*values, "another length of course"])), ["x"])[:-1] == alone).all()
    assert len(set(alone)) == len(values)


def test_a_digest_knows_no_order_but_every_row() -> None:
    keys, hashes = key_hashes(pa.array(["a", "b", "c"])), np.array([1, 2, 3])
    order = np.array([2, 0, 1])
    whole = table_digest(keys, hashes)
    assert table_digest(keys[order], hashes[order]) == whole
    assert table_digest(keys, hashes[order]) != whole
    assert (table_digest(keys[:1], hashes[:1]) + table_digest(keys[1:], hashes[1:])) % 2**64 == whole
