import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import embed.cache
from embed.cache import VectorCache, encode_views, read_views
from embed.config import EmbedConfig, TextModel
from embed.snapshot import Snapshot
from embed.text import TextEncoder
from kg.tables import Output, Workspace
from kg.vectors import matrix, vector_array
from tests.embed.planted import BOOKS, FILMS
from tests.embed.test_image import draw


@pytest.fixture
def told(snapshot: Snapshot, tmp_path: Path) -> Snapshot:
    """Films have texts (two alike, one missing), books have pictures (two alike, one broken, one not there)."""
    texts = [f"A tale of {i} brothers" for i in range(FILMS)]
    texts[1], films = texts[0], snapshot.nodes["Film"]
    images = [draw(tmp_path / f"{i}.png", (10 * i, 90, 200 - 9 * i)) for i in range(BOOKS)]
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "2.png").write_bytes(b"broken")
    images[3] = str(tmp_path / "lost.png")
    books = snapshot.nodes["Book"]
    films = films.set_column(films.column_names.index("text"), "text", pa.array([*texts[:-1], None]))
    books = books.set_column(books.column_names.index("image"), "image", pa.array(images))
    return replace(snapshot, nodes=snapshot.nodes | {"Film": films, "Book": books})


def encode(told: Snapshot, workspace: Workspace) -> Output:
    with workspace.stage("encoded").create("f") as draft:
        encode_views(told, EmbedConfig(), workspace, draft)
    output = workspace.stage("encoded").current()
    assert output is not None
    return output


def test_the_second_run_encodes_nothing(told: Snapshot, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "runs")
    first, second = encode(told, workspace), encode(told, workspace)
    text, image = (first.manifest.figures[view] for view in ("text", "image"))
    assert text["Film"] == {"encoded": 22, "from_cache": 1, "missing": 1, "broken": 0, "broken_files": []}
    assert {k: image["Book"][k] for k in ("encoded", "from_cache", "missing", "broken")} == {
        "encoded": 17,
        "from_cache": 1,
        "missing": 0,
        "broken": 2,
    }
    assert {Path(p).name for p in image["Book"]["broken_files"]} == {"2.png", "lost.png"}
    assert second.manifest.figures["text"]["Film"] | {"encoded": 22, "from_cache": 1} == text["Film"]
    assert (
        second.manifest.figures["text"]["Film"]["encoded"] == second.manifest.figures["image"]["Book"]["encoded"] == 0
    )
    one, two = read_views(first, told), read_views(second, told)
    assert one.widths == {"v": 384, "c": 1280}
    for view, label in (("v", "Film"), ("c", "Book")):
        found = one.by_view[view][label]
        assert np.array_equal(found.vectors, two.by_view[view][label].vectors)
        assert np.array_equal(found.vectors[0], found.vectors[1])
    assert one.by_view["c"]["Book"].mask.tolist() == [True, True, False, False, *[True] * (BOOKS - 4)]
    assert one.by_view["v"]["Film"].mask.sum() == FILMS - 1


def test_a_killed_run_resumes(told: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed.cache, "CHUNK", 5)
    workspace = Workspace(tmp_path / "runs")

    def interrupt(what: str, done: int, of: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), workspace.stage("encoded").create("f") as draft:
        encode_views(told, EmbedConfig(image=None), workspace, draft, interrupt)
    assert workspace.stage("encoded").current() is None
    with workspace.stage("encoded").create("f") as draft:
        encode_views(told, EmbedConfig(image=None), workspace, draft)
    assert draft.figures["text"]["Film"] == {
        "encoded": 12,
        "from_cache": 11,
        "missing": 1,
        "broken": 0,
        "broken_files": (),
    }


@pytest.mark.slow
def test_after_kill_9_only_the_rest_is_encoded(snapshot: Snapshot, tmp_path: Path) -> None:
    """A process of its own is killed after two parts of five texts; the next encodes what is missing, no more."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.wait(timeout=120) == -signal.SIGKILL
    cache = VectorCache(Workspace(tmp_path), TextEncoder(TextModel(), "cpu").fingerprint)
    done = cache.known()
    assert len(done) == 10
    films = snapshot.nodes["Film"]
    texts = pa.array([f"A tale of {i} brothers" for i in range(FILMS)])
    films = films.set_column(films.column_names.index("text"), "text", texts)
    workspace = Workspace(tmp_path)
    with workspace.stage("encoded").create("f") as draft:
        encode_views(replace(snapshot, nodes={"Film": films}), EmbedConfig(image=None), workspace, draft)
    figures = draft.figures["text"]["Film"]
    assert (figures["encoded"], figures["from_cache"]) == (FILMS - 10, 10)
    assert cache.known() > done and len(cache.known()) == FILMS


KILLED = f"""
import os, signal, sys
import embed.cache
from embed.cache import VectorCache, _Run, _text_chunks
from embed.config import TextModel
from embed.text import TextEncoder
from kg.tables import Workspace
from kg.vectors import content_hash

def kill(what, done, of):
    if done >= 10:
        os.kill(os.getpid(), signal.SIGKILL)

embed.cache.CHUNK = 5
encoder = TextEncoder(TextModel(), "cpu")
cache = VectorCache(Workspace(sys.argv[1]), encoder.fingerprint)
texts = [f"A tale of {{i}} brothers" for i in range({FILMS})]
_Run(cache, _text_chunks(encoder), "text", kill).encode([content_hash(t.encode()) for t in texts], texts)
"""


def test_half_a_part_is_not_seen(tmp_path: Path) -> None:
    cache = VectorCache(Workspace(tmp_path), "model")
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.add(["a", "b"], vectors)
    (tmp_path / "cache" / "model" / "part-x.tmp").write_bytes(b"torn")
    found = cache.load(["b", "c"])
    assert list(found) == ["b"] and found["b"].tolist() == [3, 4, 5]
    assert VectorCache(Workspace(tmp_path), "other").load(["a"]) == {}


def test_vectors_survive_arrow() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    column = pa.chunked_array([vector_array(vectors)]).slice(1)
    assert np.array_equal(matrix(column), vectors[1:])


def test_a_project_without_encoders_has_no_views(told: Snapshot, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "runs")
    with workspace.stage("encoded").create("f") as draft:
        encode_views(told, EmbedConfig(text=None, image=None), workspace, draft)
    output = workspace.stage("encoded").current()
    assert output is not None and read_views(output, told).widths == {}
