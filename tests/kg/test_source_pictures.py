"""Pictures in columns and frames of videos: files of the workspace, each once; broken ones are known."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from kg.errors import SourceError
from kg.landing import Landing
from kg.source_config import Frames, Source
from kg.source_rows import Rows
from kg.source_videos import _frame_at, frames_of
from kg.sources import read
from kg.tables import Workspace
from tests.kg.conftest import run_in


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing.of(Workspace(tmp_path / "run"))


def picture(color: str, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (24, 16), color).save(content, kind)
    return content.getvalue()


def ordered(rows: Rows) -> list[Any]:
    return rows.frame.withColumn("_raw", rows.raw).sort("_position").collect()


def test_bytes_and_base64_are_written_once_and_seen_as_paths(
    spark: SparkSession, tmp_path: Path, landing: Landing
) -> None:
    red, blue = picture("red"), picture("blue", "JPEG")
    texts = [base64.b64encode(blue).decode(), "data:image/png;base64," + base64.b64encode(red).decode(), "?", None]
    data = pa.table({"id": [1, 2, 3, 4], "cover": [red, red, red[:30], None], "thumb": texts})
    pq.write_table(data, tmp_path / "a.parquet")
    given = {"format": "parquet", "path": str(tmp_path / "a.parquet"), "images": {"cover": "bytes", "thumb": "base64"}}
    found = ordered(read(spark, "s", Source.model_validate(given), landing))
    folder = tmp_path / "run/landing/pictures/s"
    assert sorted(path.suffix for path in folder.rglob("*.*")) == [".jpeg", ".png"]
    assert [row["_lost"] for row in found] == [None, None, "cover,thumb", None]
    assert Path(found[0]["cover"]).read_bytes() == red and Path(found[0]["thumb"]).read_bytes() == blue
    assert found[1]["cover"] == found[1]["thumb"] == found[0]["cover"]
    assert (found[2]["cover"], found[2]["thumb"], found[3]["cover"]) == (None, None, None)
    assert json.loads(found[0]["_raw"]) == {"id": 1, "cover": found[0]["cover"], "thumb": found[0]["thumb"]}
    with pytest.raises(SourceError, match="column 'thumb' is string; images says bytes"):
        read(spark, "s", Source.model_validate({**given, "images": {"thumb": "bytes"}}), landing)
    with pytest.raises(SourceError, match=r"no column 'poster' for images; it has \["):
        read(spark, "s", Source.model_validate({**given, "images": {"poster": "bytes"}}), landing)


def test_paths_count_from_the_rows_file_and_lost_pictures_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    (tmp_path / "cut.png").write_bytes(picture("red")[:40])
    cells = ["red.png", f"{tmp_path}/red.png", f"file://{tmp_path}/red.png", "cut.png", "nothing.png", "no://x", ""]
    (tmp_path / "a.csv").write_text("id,cover\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    source = {"format": "csv", "path": "a.csv", "images": {"cover": "path"}}
    nodes = {"Item": {"source": "s", "key": "id", "image": "cover"}}
    output = run_in(tmp_path, {"sources": {"s": source}, "nodes": nodes}, spark)
    here = str(tmp_path / "red.png")
    found = output.read("nodes/Item").sort_by("key")["image"].to_pylist()
    assert found == [here, here, f"file://{here}", None, None, None, None]
    account = output.manifest.figures["sources"]["s"]
    assert (account["rows"], account["accepted"], account["coerced"]) == (7, 7, 3)
    assert account["reasons"] == {"broken_image:cover": 3}


def film(path: Path, seconds: int, fps: int = 5) -> None:
    """A video whose brightness tells the second: 20 times its number."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 400_000
        for number in range(seconds * fps):
            noise = np.random.default_rng(number).integers(0, 8, (48, 64, 3))
            frame = av.VideoFrame.from_ndarray((noise + 20 * (number // fps)).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def brightness(path: str) -> float:
    return float(np.asarray(Image.open(path).convert("L")).mean())


def test_videos_are_rows_of_frames_and_broken_ones_are_one_row(
    spark: SparkSession, tmp_path: Path, landing: Landing
) -> None:
    film(tmp_path / "whole.mp4", 8)
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "same.mp4").write_bytes(content)
    source = Source.model_validate({"format": "videos", "path": str(tmp_path / "*.mp4"), "rename": {"second": "at"}})
    rows = read(spark, "s", source, landing)
    assert rows.columns == ["path", "stem", "frame", "at"] and rows.by_path
    found = ordered(rows)
    # Four frames of 8 seconds, from the middle of each quarter.
    expected = [("cut", 1, None, "broken_video")]
    expected += [("same", n, at, None) for n, at in enumerate((1.0, 3.0, 5.0, 7.0), 1)]
    expected += [("text", 1, None, "broken_video")]
    expected += [("whole", n, at, None) for n, at in enumerate((1.0, 3.0, 5.0, 7.0), 1)]
    assert [(Path(r["_file"]).stem, r["_row"], r["at"], r["_malformed"]) for r in found] == expected
    shown = [brightness(r["frame"]) for r in found if r["stem"] == "whole"]
    assert shown == pytest.approx([20 * at + 3.5 for at in (1, 3, 5, 7)], abs=3)
    assert [r["frame"] for r in found if r["stem"] == "same"] == [r["frame"] for r in found if r["stem"] == "whole"]


def test_frames_can_be_taken_each_so_many_seconds_and_are_made_once(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 5)
    wanted, folder = Frames(every=2), str(tmp_path / "pictures")
    found = frames_of(str(tmp_path / "a.mp4"), wanted, folder)
    assert found is not None and [at for at, _ in found] == [0.0, 2.0, 4.0]
    assert [brightness(path) for _, path in found] == pytest.approx([3.5, 43.5, 83.5], abs=3)
    written = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}
    assert frames_of(str(tmp_path / "a.mp4"), wanted, folder) == found
    assert {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")} == written


def test_a_video_that_ends_before_a_wanted_second_is_broken(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        # The last of 25 frames is shown from second 4.8 to 5, and as long again for what containers round.
        assert _frame_at(container, stream, 5.1)[0] == 4.8
        with pytest.raises(ValueError, match=r"ends at second 4\.8, before 6"):
            _frame_at(container, stream, 6.0)
