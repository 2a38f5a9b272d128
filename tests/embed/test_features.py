from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from embed.features import CLIP, ONE_HOT, Features
from embed.snapshot import Snapshot


def snapshot_of(**columns: pa.Array) -> Snapshot:
    size = len(next(iter(columns.values())))
    table = pa.table({"key": [str(i) for i in range(size)], **columns})
    return Snapshot({"Thing": table}, {}, {}, {})


def encoded(given: Snapshot, fitted_on: Snapshot | None = None) -> list[list[float]]:
    return Features.fit(fitted_on or given).encode(given, "Thing").tolist()


def test_numbers_by_hand() -> None:
    # Median 3, quartiles 2 and 4: scale 2 / 1.349. One wrong value moves neither and is cut off.
    rows = encoded(snapshot_of(year=pa.array([1, 2, 3, 4, 1_000_000, None])))
    assert rows[2] == [0.0, 0.0]
    assert rows[5] == [0.0, 1.0]
    assert np.allclose(rows[3][0], 1.349 / 2)
    assert rows[4] == [CLIP, 0.0]


def test_categories_and_lists() -> None:
    rows = encoded(
        snapshot_of(
            kind=pa.array(["b", "a", None]), tags=pa.array([["x", "y"], [], None]), new=pa.array([True, False, True])
        )
    )
    assert [row[:2] for row in rows] == [[0, 1], [1, 0], [0, 0]]
    assert np.allclose([row[2:4] for row in rows], [[0.5**0.5] * 2, [0, 0], [0, 0]])
    assert [row[4:] for row in rows] == [[0, 1], [1, 0], [0, 1]]


def test_many_values_are_hashed_and_names_are_left_out() -> None:
    many = pa.array([str(i % 200) for i in range(1000)])
    names = pa.array([f"name {i}" for i in range(1000)])
    features = Features.fit(given := snapshot_of(many=many, names=names, constant=pa.array(["c"] * 1000)))
    assert features.width("Thing") == ONE_HOT
    assert (features.encode(given, "Thing").sum(1) == 1).all()


def test_what_fitting_has_not_seen_is_zero_and_a_lacking_column_is_null() -> None:
    fitted = snapshot_of(kind=pa.array(["a", "b"]), at=pa.array([datetime(2020, 1, d, tzinfo=UTC) for d in (1, 2)]))
    assert encoded(snapshot_of(kind=pa.array(["z"])), fitted) == [[0, 0, 0, 1]]


def test_columns_survive_json() -> None:
    features = Features.fit(snapshot_of(kind=pa.array(["a", "b"]), year=pa.array([1, 2])))
    assert Features.model_validate_json(features.model_dump_json()) == features
