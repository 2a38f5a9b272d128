"""Raw rows that the workspace keeps, without those that name a forgotten node: ``landing/`` and ``corrections/``.

A line of a text file becomes a blank one, which is no row, so that the others keep their numbers; Parquet files lose
the row. ``state.json`` stays as it is: what it says of files is about what was delivered. A correction goes as a whole.
Pictures and videos that were landed are not looked into.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kg.forget import Holding, content_of, files, short, strip_file
from kg.id_columns import Names, Record, records_in
from kg.source_config import Source
from kg.tables import Workspace, replace_file

STATE = "state.json"
TEXTS = {"csv": (".csv", ".tsv", ".txt", ".gz"), "jsonl": (".jsonl", ".json", ".gz"), "http": (".jsonl",)}
Named = Callable[[Sequence[Record]], list[bool]]


def landed(workspace: Workspace, names: Names) -> Iterator[Holding]:
    """What landed and corrected rows hold of `names.ids`, file by file."""
    for name, source in names.graph.sources.items():
        named = partial(_named, names, name)
        for path in files(workspace, f"landing/{name}", ".parquet"):
            yield from _rows(workspace, path, named)
        for path in files(workspace, f"landing/{name}", *TEXTS.get(source.format, ("/",))):
            if not path.endswith(f"/{STATE}"):
                yield from _lines(workspace, path, partial(_named_lines, source, named))
        for path in files(workspace, f"corrections/{name}.jsonl", ".jsonl"):
            yield from _lines(workspace, path, partial(_corrections, named), blank=False)


def _named(names: Names, source: str, records: Sequence[Record]) -> list[bool]:
    """By the columns' names after `rename`, as keys name them."""
    rename = names.graph.sources[source].rename
    return names.records(source, [{rename.get(name, name): value for name, value in r.items()} for r in records])


def _rows(workspace: Workspace, path: str, named: Named) -> Iterator[Holding]:
    def mask(batch: pa.RecordBatch) -> pa.BooleanArray:
        return pa.array(named(batch.to_pylist()), pa.bool_())

    with workspace.filesystem.open_input_file(path) as file, pq.ParquetFile(file) as rows:
        count = sum(pc.sum(mask(batch)).as_py() or 0 for batch in rows.iter_batches())
    if count:
        yield Holding(short(workspace, path), f"{count} rows", partial(strip_file, workspace.filesystem, path, mask))


def _lines(
    workspace: Workspace, path: str, named: Callable[[list[str]], list[bool]], *, blank: bool = True
) -> Iterator[Holding]:
    zipped = path.endswith(".gz")
    content = content_of(workspace, path)
    lines = (gzip.decompress(content) if zipped else content).decode("utf-8", "surrogateescape").split("\n")
    bad = named(lines)
    if any(bad):
        kept = ["" if is_bad else line for line, is_bad in zip(lines, bad, strict=True) if blank or not is_bad]
        text = "\n".join(kept).encode("utf-8", "surrogateescape")
        remove = partial(replace_file, workspace.filesystem, path, gzip.compress(text) if zipped else text)
        yield Holding(short(workspace, path), f"{sum(bad)} lines", remove)


def _named_lines(source: Source, named: Named, lines: list[str]) -> list[bool]:
    records = _csv_records(source, lines) if source.format == "csv" else [_json_record(line) for line in lines]
    return named(records)


def _json_record(line: str) -> Record:
    """A line's object; a line that is none is known by its words."""
    try:
        found = json.loads(line) if line.strip() else {}
    except ValueError:
        return {"line": line}
    return found if isinstance(found, dict) else {"line": line}


def _csv_records(source: Source, lines: list[str]) -> list[Record]:
    """A record for each line; those of one that spans lines are the same, one with too many or few values is a line."""
    options = {name.lower(): str(value) for name, value in source.options.items()}
    separator = (options.get("sep") or options.get("delimiter") or ",").replace("\\t", "\t")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, quotechar=options.get("quote") or '"')
    header: list[str] | None = None if options.get("header", "true").lower() == "true" else []
    found: list[Record] = []
    for values in reader:
        if header is None and values:
            header, record = values, {}
        elif header == []:
            record = {f"_c{i}": value for i, value in enumerate(values)}
        elif header and len(values) == len(header):
            record = dict(zip(header, values, strict=True))
        else:
            record = {"line": separator.join(values)} if values else {}
        found += [record] * (reader.line_num - len(found))
    return found


def _corrections(named: Named, lines: list[str]) -> list[bool]:
    return [any(named(list(records_in(json.loads(line))))) if line.strip() else False for line in lines]
