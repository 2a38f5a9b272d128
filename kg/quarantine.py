"""Quarantined rows for people: found, shown, written to a file, and read back with what was corrected in it.

A file (JSON Lines or CSV) has one line a row: source, file, row, its reasons, its raw values, and `was`, a digest of
these values by which `read_edits` and `corrected` know what the row was when it was written.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kg.corrections import Correction, Place
from kg.errors import ConfigError, SourceError
from kg.tables import Output

PREFIX = "quarantine/"
KNOWN_BY = ("source", "file", "row", "was")
FIXED = ("source", "file", "row", "reason", "was", "drop")
RAW = "raw."
NAMED = 5
Values = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A row in quarantine, with all that was found wrong with it."""

    source: str
    file: str
    row: str
    raw: str
    """The values as read, a JSON object."""
    reasons: tuple[str, ...]
    """Such as ``malformed`` or ``null_key in nodes/User``."""

    @property
    def was(self) -> str:
        """A digest of the raw values."""
        return digest_of(self.raw)

    @property
    def values(self) -> Values:
        """The raw values."""
        found = json.loads(self.raw or "{}")
        return found if isinstance(found, dict) else {"value": found}


def digest_of(raw: str) -> str:
    """By which a row's raw values are known in a file."""
    return hashlib.blake2b(raw.encode(), digest_size=8).hexdigest()


def refused_rows(outputs: Iterable[Output]) -> list[Refused]:
    """The quarantined rows of some outputs by source, file and row; one that several tables refused is one."""
    found: dict[tuple[str, str, str], Refused] = {}
    for output in outputs:
        for table in output.tables(PREFIX):
            for row in output.read(table).to_pylist():
                reason = row["reason"] + (f" in {row['table']}" if row["table"] else "")
                key = (row["source"], row["file"] or "", row["row"] or "")
                known = found.get(key) or Refused(*key, row["raw"] or "{}", ())
                found[key] = replace(known, reasons=tuple(sorted({*known.reasons, reason})))
    return sorted(found.values(), key=_order)


def _order(row: Refused) -> tuple[str, str, int, str]:
    return row.source, row.file, int(row.row) if row.row.isdigit() else 0, row.row


def select(rows: Iterable[Refused], source: str | None = None, reason: str | None = None) -> list[Refused]:
    """The rows of one source, and with one reason: the whole code, or what stands before its colon."""
    kept = [row for row in rows if source in (None, row.source)]
    return [row for row in kept if reason is None or any(reason in _codes(text) for text in row.reasons)]


def _codes(reason: str) -> tuple[str, str]:
    code = reason.split(" in ", 1)[0]
    return code, code.split(":", 1)[0]


def counts(rows: Iterable[Refused]) -> dict[tuple[str, str], int]:
    """How many rows have a reason, by source and reason."""
    return dict(sorted(Counter((row.source, reason) for row in rows for reason in row.reasons).items()))


# to a file ---------------------------------------------------------------------------------------------------


def as_text(rows: Sequence[Refused], path: Path) -> str:
    """The rows as the file's ending says: `.jsonl` or `.csv`; `ConfigError` for another one."""
    if path.suffix == ".jsonl":
        return "".join(json.dumps(_record(row) | {"raw": row.values}, ensure_ascii=False) + "\n" for row in rows)
    if path.suffix != ".csv":
        raise ConfigError(f"{path}: expected a file that ends in .jsonl or .csv")
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*FIXED, *(RAW + name for name in columns)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {RAW + name: _cell(value) for name, value in row.values.items()}
        writer.writerow(_record(row) | {"drop": ""} | cells)
    return text.getvalue()


def _record(row: Refused) -> dict[str, Any]:
    return {"source": row.source, "file": row.file, "row": row.row, "reason": "; ".join(row.reasons), "was": row.was}


def _cell(value: Any) -> str:
    """A value in a CSV file; nothing is null, so that an empty text needs quotes of its own."""
    if value is None:
        return ""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


# back from a file --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """A line of such a file as it came back."""

    where: str
    """`file:line`, for messages."""
    source: str
    file: str
    row: str
    was: str
    raw: Values | None
    """None: the row is to be dropped."""
    cells: bool = False
    """Whether the values are the texts of a CSV file, null where a cell is empty."""


def read_edits(path: Path) -> list[Edit]:
    """The lines of a file that `as_text` wrote; `SourceError` names what is no such line."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected a file that `quarantine show --to` wrote ({error})") from error
    if path.suffix == ".csv":
        return [_from_cells(path, number, record) for number, record in _records(text)]
    return [_from_json(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _records(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for record in reader:
        yield reader.line_num, {str(k): v or "" for k, v in record.items()}


def _from_json(path: Path, number: int, line: str) -> Edit:
    where = f"{path}:{number}"
    try:
        found = json.loads(line)
        drop, raw = found.get("drop", False), found.get("raw")
        source, file, row, was = (str(found[name]) for name in KNOWN_BY)
    except (ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"{where}: expected a JSON object with source, file, row, was and raw") from error
    if not drop and not isinstance(raw, dict):
        raise SourceError(f'{where}: expected `raw` as an object of values, or `"drop": true` (found {raw!r})')
    return Edit(where, source, file, row, was, None if drop else raw)


def _from_cells(path: Path, number: int, record: Mapping[str, str]) -> Edit:
    where = f"{path}:{number}"
    if missing := [name for name in KNOWN_BY if not record.get(name)]:
        raise SourceError(f"{where}: expected a value under {missing[0]!r}, as `quarantine show --to` writes it")
    drop = record.get("drop", "").strip().lower() in {"true", "1", "yes", "x"}
    raw = {name.removeprefix(RAW): cell for name, cell in record.items() if name.startswith(RAW)}
    source, file, row, was = (record[name] for name in KNOWN_BY)
    return Edit(where, source, file, row, was, None if drop else raw, cells=True)


def corrected(
    edits: Sequence[Edit],
    refused: Iterable[Refused],
    known: Mapping[str, Mapping[Place, Correction]],
    applied: set[tuple[str, str, str]],
) -> dict[str, dict[Place, Correction]]:
    """The corrections of each source that has any in the file: those known already and, over them, the file's.

    `refused` is in quarantine now; `applied` are the (source, file, row) whose known correction made them what they
    are there. A line whose values are as they were is no correction. `SourceError` names the lines whose row is not
    in quarantine, or has other values there than when the file was written, and where nothing at all was corrected.
    """
    here = {(row.source, row.file, row.row): row for row in refused}
    found: dict[str, dict[Place, Correction]] = {}
    strange = []
    for edit in edits:
        key = (edit.source, edit.file, edit.row)
        before = known.get(edit.source, {}).get(key[1:])
        row = here.get(key)
        if row is not None and row.was == edit.was:
            original = before.was if before and key in applied else row.raw
            now = row.values
        elif before is not None and digest_of(before.was) == edit.was:
            original, now = before.was, json.loads(before.was)
        else:
            strange.append(f"{edit.where} (row {edit.row} of {edit.source})")
            continue
        raw = _typed(edit.raw, now) if edit.cells and edit.raw is not None else edit.raw
        if raw != now:
            of = found.setdefault(edit.source, dict(known.get(edit.source, {})))
            of[key[1:]] = Correction(edit.file, edit.row, original, raw)
    if strange:
        raise SourceError(
            f"{len(strange)} rows of the file are not in quarantine, or with other values by now: "
            f"{', '.join(strange[:NAMED])}; write a new file by `quarantine show --to`"
        )
    if not found:
        raise SourceError('no row of the file was corrected: change its values under `raw`, or set `"drop": true`')
    return found


def _typed(cells: Mapping[str, str], now: Values) -> Values:
    """A CSV file's texts as values: an unchanged cell is what it was, a changed one of its value's kind if it can."""
    found: Values = {}
    for name, cell in cells.items():
        value = now.get(name)
        if name in now and cell == _cell(value):
            found[name] = value
        elif cell == '""':
            found[name] = ""
        elif cell:
            found[name] = cell if name not in now or isinstance(value, str) else _parsed(cell)
    return found


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell
