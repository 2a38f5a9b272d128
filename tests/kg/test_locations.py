"""One file under the names that pyarrow and Spark give it."""

from pathlib import Path

import pytest

from kg.errors import MachineError, SourceError
from kg.locations import _uri, file_digest, find_files, for_spark, opened, source_files, spark_uri


def test_s3_is_known_under_the_scheme_of_each() -> None:
    # With its region a bucket need not be asked for it.
    for uri in ("s3://shop/raw/a.csv?region=eu-central-1", "s3a://shop/raw/a.csv?region=eu-central-1"):
        filesystem, path = opened(uri)
        assert (filesystem.type_name, path) == ("s3", "shop/raw/a.csv")
        assert for_spark(uri) == "s3a://shop/raw/a.csv" == spark_uri(filesystem, path)
    assert for_spark("hdfs://node:8020/raw/a.csv") == "hdfs://node:8020/raw/a.csv"
    assert for_spark("/raw/a?b=c.csv") == "/raw/a?b=c.csv"


def test_spark_writes_to_no_file_system_that_only_pyarrow_has() -> None:
    with pytest.raises(MachineError, match="Spark cannot write to a workspace on 'mock', expected one of"):
        spark_uri(*opened("mock://a"))


@pytest.mark.parametrize(
    ("base", "plain", "path", "wanted"),
    [
        ("s3://shop/raw", "shop/raw", "shop/raw/a.csv", "s3://shop/raw/a.csv"),
        ("hdfs://node:8020/raw", "/raw", "/raw/b/a.csv", "hdfs://node:8020/raw/b/a.csv"),
        ("abfss://box@account/raw", "box/raw", "box/raw/a.csv", "abfss://box@account/raw/a.csv"),
    ],
)
def test_what_a_file_system_lists_is_named_by_its_whole_uri(base: str, plain: str, path: str, wanted: str) -> None:
    assert _uri(base, plain, path) == wanted


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "_SUCCESS", ".crc"):
        (tmp_path / name).write_text("id\n")
    both = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert find_files(f"file://{tmp_path}") == both == find_files(str(tmp_path / "*.csv"))
    assert find_files(f"file://{tmp_path}/[a].csv") == both[:1]
    assert file_digest(f"file://{tmp_path}/a.csv") == file_digest(both[1])
    with pytest.raises(SourceError, match="source s: nothing to read at"):
        source_files("s", f"file://{tmp_path}/c.csv")
    with pytest.raises(SourceError, match="source s: cannot list ftp://host/a"):
        source_files("s", "ftp://host/a")
