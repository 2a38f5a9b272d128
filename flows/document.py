"""A YAML file as plain values that remember their lines.

The types are those of YAML 1.2's core schema: `on` and `yes` are strings, `1e-3` is a number, a date is a
string. Keys are strings always, and a key given twice is an error.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kg.errors import ConfigError

Place = tuple[str | int, ...]
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_NOTHING = {"", "~", "null", "Null", "NULL"}


@dataclass
class Document:
    """A file's values and where each of them stands."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    given: dict[Place, str] = field(default_factory=dict)
    """Places that `--set` filled, with what was written on the command line."""

    def where(self, place: Place) -> str:
        """`file:line` of a place or of what is nearest around it; the option for what `--set` gave."""
        for length in range(len(place), -1, -1):
            if option := self.given.get(place[:length]):
                return option
            if line := self.lines.get(place[:length]):
                return f"{self.path}:{line}"
        return str(self.path)

    def known(self, place: Place) -> Place:
        """The longest part of a place that the file has."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines or place[:length] in self.given:
                return place[:length]
        return ()

    def problem(self, place: Place, what: str) -> ConfigError:
        """One line: where, which part, what was expected."""
        return ConfigError(f"{self.where(place)}: {dotted(place)}{what}")


def dotted(place: Place) -> str:
    """`nodes.Film.key: ` of a place, nothing of the whole file."""
    return ".".join(map(str, place)) + ": " if place else ""


def read_document(path: Path) -> Document:
    """Read a project file; `ConfigError` where it is missing, no YAML, or no mapping."""
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigError(f"{path}: no such project file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text (found byte {error.object[error.start]:#04x})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: expected YAML ({error.problem or error.context})") from error
    document = Document(path)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected `name: …`, `sources: …`, `nodes: …` (found no mapping)")
    document.values = _plain(root, (), document)
    return document


def parse_value(text: str) -> Any:
    """What the right side of `--set a.b=c` means: YAML where it is meant as such, else the text itself."""
    structured = text[:1] in "[{\"'"
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        if not structured:
            return text
        raise ConfigError(f"--set …={text}: expected a YAML value, its brackets and quotes closed") from error
    if root is None:
        return None
    plain = isinstance(root, yaml.ScalarNode) and root.style is None
    return _plain(root, (), Document(Path("--set"))) if plain or structured else text


def _plain(node: yaml.Node, place: Place, document: Document) -> Any:
    document.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, number), document) for number, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document)
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{document.path}:{node.start_mark.line + 1}: expected a value, a list or a mapping")
    return _scalar(node)


def _mapping(node: yaml.MappingNode, place: Place, document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{document.path}:{key.start_mark.line + 1}: expected a key that is one word")
        line, inner = key.start_mark.line + 1, (*place, key.value)
        if key.value in found:
            first = document.lines[inner]
            raise ConfigError(f"{document.path}:{line}: {dotted(inner)}expected once (first on line {first})")
        document.lines[inner] = line
        found[key.value] = _plain(value, inner, document)
    return found


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style is not None:  # quoted, or a block: text whatever it looks like
        return text
    if text in _NOTHING:
        return None
    if text in {"true", "false"}:
        return text == "true"
    return _number(text)


def _number(text: str) -> str | int | float:
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if any(mark in text for mark in ".eE") else int(text)
