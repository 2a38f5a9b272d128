"""Versions of vectors in a real Neo4j: what readers see while they change, and the way back."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kg.errors import StoreError
from kg.server_home import Connection
from kg.store import Store
from kg.versions import Rollback, current_version, read_current, rollback
from tests.kg.published import FIRST, KEYS, SECOND, Publish, vectors
from tests.kg.small_graph import plain

MORE = [f"more{i:03}" for i in range(100)]
ITEMS = len(MORE) + len(KEYS["Film"]) + len(KEYS["Book"])
# As the README has it, with all that tells one version from another.
NEAREST = (
    "MATCH (v:EmbeddingVersion), (u:User {key: 'ann'}) "
    "CALL db.index.vector.queryNodes(v.item_index, $k, u[v.property]) YIELD node, score "
    "RETURN v.version AS version, [x IN labels(node) WHERE x <> 'Item'][0] AS label, node.key AS key, score, "
    "node[v.property] AS z"
)


def many(seed: int) -> dict[str, pa.Table]:
    """Vectors of the hundred more films too."""
    rows = np.random.default_rng(seed).standard_normal((len(MORE), 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    given = vectors(seed=seed)
    more = given["Film"].slice(0, 0).schema.empty_table()
    nulls = [None] * len(MORE)
    columns = {"key": MORE, "h": nulls, "c": nulls, "z": rows.astype(np.float32).tolist()}
    given["Film"] = pa.concat_tables([given["Film"], pa.table(columns, more.schema)])
    return given


def published(given: dict[str, pa.Table]) -> dict[tuple[str, str], np.ndarray]:
    return {
        (label, row["key"]): np.array(row["z"], np.float32)
        for label in ("Film", "Book")
        for row in given[label].to_pylist()
    }


class Reader(threading.Thread):
    """Asks the documented query again and again, and keeps what is wrong with the answers."""

    def __init__(self, connection: Connection, versions: dict[str, dict[str, pa.Table]]) -> None:
        super().__init__()
        self.connection = connection
        self.wrong: list[object] = []
        self.seen: Counter[str] = Counter()
        self.items = {name: published(given) for name, given in versions.items()}
        self.ann = {name: np.array(given["User"]["z"][0].as_py(), np.float32) for name, given in versions.items()}
        self.ended = threading.Event()

    def run(self) -> None:
        with Store(self.connection) as store:
            while not self.ended.is_set():
                try:
                    self._look(store.read(NEAREST, {"k": ITEMS}).to_pylist())
                except StoreError as error:  # such as an index that is not there
                    self.wrong.append(error)

    def _look(self, rows: list[dict[str, Any]]) -> None:
        names = {row["version"] for row in rows}
        if len(names) != 1 or len(rows) != ITEMS:
            self.wrong.append((names, len(rows)))
            return
        [name] = names
        items, ann = self.items[name], self.ann[name]
        for row in rows:
            z = items[row["label"], row["key"]]
            if not np.allclose(row["z"], z) or abs(row["score"] - (1 + ann @ z) / 2) > 1e-5:
                self.wrong.append((name, row))
        self.seen[name] += 1


@contextmanager
def reading(connection: Connection, versions: dict[str, dict[str, pa.Table]]) -> Iterator[list[Reader]]:
    readers = [Reader(connection, versions) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        yield readers
    finally:
        for reader in readers:
            reader.ended.set()
            reader.join()


def await_readers(readers: list[Reader], name: str) -> None:
    """Until each has seen a version."""
    until = time.monotonic() + 30
    before = [reader.seen[name] for reader in readers]
    while any(reader.seen[name] <= count for reader, count in zip(readers, before, strict=True)):
        assert time.monotonic() < until, (name, [reader.wrong[:3] for reader in readers])
        time.sleep(0.01)


def test_a_reader_never_sees_a_mix_or_an_empty_index(loaded: Connection, publish: Publish) -> None:
    plain(loaded, "UNWIND $keys AS key CREATE (:Film:Item {key: key, domain: 'films', _hash: 1})", keys=MORE)
    versions = {f"v{i}": many(i) for i in range(1, 5)}
    publish(versions["v1"], FIRST)
    with reading(loaded, versions) as readers, Store(loaded) as store:
        await_readers(readers, "v1")
        for name in ("v2", "v3"):
            publish(versions[name], replace(FIRST, version=name))
            await_readers(readers, name)
        for name in ("v2", "v3", "v2"):
            assert rollback(store).version == name
            await_readers(readers, name)
        publish(versions["v4"], replace(FIRST, version="v4"))
        await_readers(readers, "v4")
    assert [reader.wrong for reader in readers] == [[], []]
    assert all(set(reader.seen) == set(versions) for reader in readers)


def test_the_version_before_can_be_made_current_again(loaded: Connection, publish: Publish) -> None:
    with Store(loaded) as store:
        assert current_version(store) is None
        with pytest.raises(StoreError, match="no earlier version"):
            rollback(store)
        publish(vectors(), extra={"ranker": [1.0]})
        with pytest.raises(StoreError, match="no earlier version"):
            rollback(store)
        publish(vectors(6, 1), SECOND, {"ranker": [2.0]})
        assert rollback(store) == Rollback("v1", left="v2", without=0)
        now = current_version(store)
        assert now and (now["version"], now["slot"], now["dimension"], now["ranker"]) == ("v1", "a", 8, [1.0])
        assert now["instead_of"] == "v2"
        # A second one undoes the first, mark and all.
        assert rollback(store) == Rollback("v2", left="v1", without=0)
        assert plain(
            loaded, "MATCH (v) WHERE v.version IS NOT NULL RETURN v.version, v.instead_of ORDER BY v.version"
        ) == [
            ["v1", None],
            ["v2", None],
        ]
        # The next version is written over the one that nobody reads, and nothing is held against it.
        rollback(store)
        publish(vectors(6, 2), replace(SECOND, version="v3"))
        now = current_version(store)
        assert now and (now["version"], now["slot"], now.get("instead_of")) == ("v3", "b", None)
        assert rollback(store).version == "v1"


def test_what_came_since_is_counted(loaded: Connection, publish: Publish) -> None:
    publish(vectors())
    publish(vectors(6, 1), SECOND)
    plain(loaded, "CREATE (:Film:Item {key: 'new'}), (:User {key: 'new'}), (:Genre {key: 'new'})")
    with Store(loaded) as store:
        assert rollback(store).without == 2


@pytest.mark.parametrize("damage", ["DROP INDEX crossgraph_item_z_a", "MATCH (n) WHERE n.z_a IS NOT NULL REMOVE n.z_a"])
def test_a_version_that_is_not_whole_is_not_gone_back_to(loaded: Connection, publish: Publish, damage: str) -> None:
    publish(vectors())
    publish(vectors(6, 1), SECOND)
    plain(loaded, damage)
    with Store(loaded) as store:
        with pytest.raises(StoreError, match=r"earlier version v1 is not whole any more.*the current one stays"):
            rollback(store)
        now = current_version(store)
    assert now and now["version"] == "v2"


def test_after_a_killed_publication_there_is_no_way_back(loaded: Connection, publish: Publish) -> None:
    """The former version's slot is being written: half of it must not become current."""
    publish(vectors())
    publish(vectors(6, 1), SECOND)
    with Store(loaded) as store:
        with pytest.raises(KeyboardInterrupt):
            _killed_while_writing(store)
        with pytest.raises(StoreError, match="no earlier version"):
            rollback(store)
        now = current_version(store)
    assert now and now["version"] == "v2"


def _killed_while_writing(store: Store) -> None:
    from kg.tables import Draft
    from kg.write_back import write_back

    def stop(name: str, done: int) -> None:
        raise KeyboardInterrupt

    third = replace(SECOND, version="v3")
    write_back(store, vectors(6, 2), third, Draft(pa.fs.LocalFileSystem(), ""), progress=stop)


def test_the_current_vectors_are_read_by_key(loaded: Connection, publish: Publish) -> None:
    given = vectors(Film={"z": [None, [1.0] + [0.0] * 7, [0.0] * 7 + [1.0]]})
    publish(vectors(6, 1))
    publish(given, SECOND)
    with Store(loaded) as store:
        found = read_current(store, "Film", pa.array(["f10", "f1", "f2", "f3"]))
        assert sorted(found.to_pylist(), key=lambda row: row["key"]) == [
            {"key": "f1", "z": [1.0] + [0.0] * 7},
            {"key": "f10", "z": [0.0] * 7 + [1.0]},
        ]
        assert len(read_current(store, "Nowhere", pa.array(["f1"]))) == 0
        assert len(read_current(store, "Film", pa.array([], pa.string()))) == 0
