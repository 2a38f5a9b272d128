import subprocess
import sys

import pytest

from flows import code
from flows.code import code_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of ours made for the test: a imports b, b imports c, d stands alone."""
    folder = tmp_path / "ours"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from ours import b\n",
        "b": "import ours.c\n",
        "c": "x = 1\n",
        "d": "import nothing_of_that_name\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "OURS", ("ours",))
    clear()
    yield folder
    clear()


def clear() -> None:
    code._file.cache_clear()
    code._imports.cache_clear()


def test_code_far_away_counts_and_code_beside_does_not(package):
    before = code_of("ours.a")
    (package / "d.py").write_text("y = 2\n")
    assert code_of("ours.a") == before
    (package / "c.py").write_text("x = 2\n")
    assert code_of("ours.a") != before


def test_a_module_that_does_not_exist_is_misuse(package):
    with pytest.raises(ValueError, match=r"ours\.e"):
        code_of("ours.e")


def test_nothing_heavy_is_imported_to_read_code():
    script = (
        "import sys; from flows.code import code_of; code_of('embed.train', 'kg.clean', 'recommend.model');"
        "assert not {'torch', 'dgl', 'pyspark'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
