"""External ids and indices are a bijection; an unknown id is an error."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.errors import UnknownIdError
from kg.ids import IdMap


@given(st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=50), st.randoms())
def test_decode_inverts_encode(keys: list[str], random: object) -> None:
    ids = IdMap("User", keys)
    shuffled = sorted(keys, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert ids.decode(ids.encode(shuffled)).to_pylist() == shuffled


def test_indices_follow_the_given_order() -> None:
    ids = IdMap("User", pa.chunked_array([["b"], ["a", "c"]]))
    np.testing.assert_array_equal(ids.encode(["a", "b", "b"]), [1, 0, 0])
    assert len(ids) == 3


def test_an_unknown_id_is_named() -> None:
    with pytest.raises(UnknownIdError, match=r"User: known ids; 1 unknown, first 'z'"):
        IdMap("User", ["a"]).encode(["a", "z"])


def test_indices_out_of_range_and_repeated_ids_are_misuse() -> None:
    with pytest.raises(IndexError):
        IdMap("User", ["a"]).decode(np.array([1]))
    with pytest.raises(ValueError, match="repeated"):
        IdMap("User", ["a", "a"])
