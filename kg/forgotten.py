"""Which nodes are forgotten: ``forgotten.json`` in the workspace, salted digests of labels and keys.

A source goes on delivering whom we forgot, so the record must tell who that was without saying it. Its digests hide
keys from a reader; they are no defence against somebody who tries all keys that there could be.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from kg.errors import ContractError
from kg.tables import Workspace, fingerprint, replace_file

NAME = "forgotten.json"
FORMAT = 1
REASON = "forgotten"
"""The named option by which rows are filtered."""
# Between salt, label and key; no key holds it.
SEPARATOR = "\x1f"
# What parts a line that cannot be read into fields, and a field into words; the same in Java's and Python's regex.
FIELDS = r"[\n\r\t\"'`,;|:\\{}\[\]()<>]+"
WORDS = r"[\s\"'`,;|:\\{}\[\]()<>]+"


def tokens(line: str) -> set[str]:
    """The fields and the words of a line: where an id is looked for in a row that could not be read."""
    return {part.strip() for pattern in (FIELDS, WORDS) for part in re.split(pattern, line)} - {""}


@dataclass(frozen=True)
class Group:
    """Digests under one salt: records that were made apart (see `united`) have different ones."""

    salt: str
    digests: frozenset[str] = field(default_factory=frozenset)

    def digest(self, label: str, key: str) -> str:
        """SHA-256 in hex, which Spark computes alike."""
        return hashlib.sha256(SEPARATOR.join((self.salt, label, key)).encode()).hexdigest()


@dataclass(frozen=True)
class Forgotten:
    """A set of (label, key), of which only digests are known."""

    groups: tuple[Group, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is forgotten."""
        return any(group.digests for group in self.groups)

    def __len__(self) -> int:
        """How many keys are forgotten; one in two groups counts twice."""
        return sum(len(group.digests) for group in self.groups)

    def holds(self, label: str, key: str) -> bool:
        """Whether a node is forgotten."""
        return any(group.digest(label, key) in group.digests for group in self.groups)

    def mask(self, label: str, keys: pa.Array | pa.ChunkedArray) -> pa.BooleanArray:
        """Bool[keys]: which keys of a label are forgotten; each distinct key is hashed once, null is not forgotten."""
        text = pc.cast(keys, pa.string())
        known = [key for key in pc.unique(text).to_pylist() if key is not None and self.holds(label, key)]
        found = pc.is_in(text, value_set=pa.array(known, pa.string()))
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def including(self, label: str, keys: Iterable[str]) -> Self:
        """With more nodes, under the first salt or a new one."""
        first, *others = self.groups or (Group(secrets.token_hex(16)),)
        added = {first.digest(label, key) for key in keys if not self.holds(label, key)}
        return type(self)((Group(first.salt, first.digests | added), *others))

    def united(self, other: "Forgotten") -> "Forgotten":
        """Whatever is forgotten in either."""
        by_salt: dict[str, frozenset[str]] = {}
        for group in (*self.groups, *other.groups):
            by_salt[group.salt] = by_salt.get(group.salt, frozenset()) | group.digests
        return Forgotten(tuple(Group(salt, digests) for salt, digests in by_salt.items()))

    @property
    def fingerprint(self) -> str:
        """The same for the same digests: an input of the tables."""
        return fingerprint(self._content())

    @classmethod
    def read(cls, workspace: Workspace) -> "Forgotten":
        """The workspace's record, empty where there is none; `ContractError` for one of another format."""
        path = f"{workspace.root}/{NAME}"
        if not workspace.filesystem.get_file_info(path).is_file:
            return cls()
        with workspace.filesystem.open_input_stream(path) as stream:
            return cls.parse(stream.read())

    @classmethod
    def parse(cls, content: bytes) -> "Forgotten":
        """Inverse of what `write` writes."""
        found = json.loads(content)
        if found.get("format") != FORMAT:
            raise ContractError(NAME, f"format {FORMAT}", f"found {found.get('format')}")
        return cls(tuple(Group(group["salt"], frozenset(group["digests"])) for group in found["groups"]))

    def write(self, workspace: Workspace) -> None:
        """Replace the workspace's record in one step."""
        content = json.dumps({"format": FORMAT, "groups": self._content()}, indent=1)
        replace_file(workspace.filesystem, workspace.file(NAME), content.encode())

    def _content(self) -> list[dict[str, str | list[str]]]:
        return [{"salt": group.salt, "digests": sorted(group.digests)} for group in self.groups]


NOTHING = Forgotten()
