from pathlib import Path

import pytest

from flows.document import parse_value, read_document
from kg.errors import ConfigError


def document(tmp_path: Path, text: str):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return read_document(path)


def test_words_that_yaml_1_1_changes_stay_words(tmp_path):
    found = document(tmp_path, "on: yes\nno: off\ndate: 2020-01-02\nzip: 05201x\n").values
    assert found == {"on": "yes", "no": "off", "date": "2020-01-02", "zip": "05201x"}


def test_core_schema_types(tmp_path):
    found = document(tmp_path, 'a: 1\nb: 1e-3\nc: -2.5\nd: true\ne:\nf: "1"\ng: [1, x]\n').values
    assert found == {"a": 1, "b": 0.001, "c": -2.5, "d": True, "e": None, "f": "1", "g": [1, "x"]}


def test_a_repeated_key_names_both_lines(tmp_path):
    with pytest.raises(ConfigError, match=r"p\.yaml:3: a\.b: expected once \(first on line 2\)"):
        document(tmp_path, "a:\n  b: 1\n  b: 2\n")


def test_where_falls_back_to_what_is_around(tmp_path):
    found = document(tmp_path, "a:\n  b:\n    - x\n    - y\n")
    assert found.where(("a", "b", 1)).endswith("p.yaml:4")
    assert found.where(("a", "nothing", "below")).endswith("p.yaml:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", r"p\.yaml:1: expected YAML"), ("- 1", "found no mapping"), ("", "found no mapping")],
)
def test_what_is_no_project_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        document(tmp_path, text)


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(ConfigError, match="no such project file"):
        read_document(tmp_path / "absent.yaml")
    (tmp_path / "b.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_document(tmp_path / "b.yaml")


def test_values_from_the_command_line():
    assert [parse_value(t) for t in ("3", "null", "", "x y", "[1, 2]", "rating >= 4", "|", "a: b", "%x")] == [
        3, None, None, "x y", [1, 2], "rating >= 4", "|", "a: b", "%x",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="quotes closed"):
        parse_value("[1")
