"""What a workspace holds of forgotten nodes, place by place, and how each goes.

Stage by stage:

- `tables`, `cuts`: rewritten without the rows, file by file, each replaced in one step; then the manifest says the new
  counts. Their fingerprints stay: what is left was made of the same inputs. Features of others go too where their
  community is called after the node; the next run computes them again.
- `loaded`: outputs are deleted. They vouch by a digest for what the graph holds, which is something else now; the next
  load reads that from the graph, and finds nothing to write.
- `graph`, `encoded`, `trained/…`, `embeddings`: outputs are deleted, all of them. A snapshot counts its nodes by
  contiguous row numbers, tensors are laid out by those, and a network has weights of single nodes: to renumber would be
  to learn again. The next run makes them anew; texts and pictures of the others come from the cache. The vectors that
  are published in Neo4j are properties of nodes and stay valid for the others.
- `recommendations`: rewritten, the CSV too, when a user is forgotten. Reasons name items and what they share in words,
  so outputs are deleted when something else is.
- `evaluation`, `published`: figures only; nothing to do.
- manifests: a rewritten file gets the checksum that it has now.
- outputs of killed runs and of older formats: deleted, nothing reads them.

All is found by digests, so it does not matter whether a node was forgotten by this call, by one that was killed, or
before a backup was restored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from kg.checksums import renewed
from kg.id_columns import Names
from kg.schema import RECOMMENDATION
from kg.tables import MANIFEST, OUTPUT_NAME, Output, Workspace, read_output, write_manifest

REMADE = ("loaded", "graph", "encoded", "trained", "embeddings")
REASONED = ("recommendations",)
RECOMMENDATIONS, CSV = "recommendations", "recommendations.csv"


@dataclass(frozen=True)
class Holding:
    """A place that holds something of a forgotten node."""

    place: str
    """Relative to the workspace, or a kind of element in the graph."""
    what: str
    """How much of it, in words."""
    remove: Callable[[], object]
    ours: bool = True
    """False for leftovers, which go whomever they are about."""


def outputs(workspace: Workspace) -> list[Output]:
    """All sealed outputs of all stages, by path."""
    found = (read_output(workspace.filesystem, path) for path in _folders(workspace))
    return [output for output in found if output]


def leftovers(workspace: Workspace) -> list[Holding]:
    """Outputs that nothing reads: of killed runs and of other formats."""
    known = {output.path for output in outputs(workspace)}
    return [
        Holding(short(workspace, path), "not a whole output", partial(_delete, workspace.filesystem, path), ours=False)
        for path in _folders(workspace)
        if path not in known
    ]


def holdings(workspace: Workspace, names: Names) -> list[Holding]:
    """What the stages' outputs hold of `names.ids`; the tables, by which other places are found, come last."""
    every = outputs(workspace)
    held = [
        (output, table, count)
        for output in every
        for table in output.tables()
        if (count := count_rows(output, table, names))
    ]
    gone: list[tuple[Output, str]] = []
    if held:
        gone += [
            (output, "laid out by or vouching for all nodes")
            for output in every
            if stage_of(workspace, output) in REMADE
        ]
    if any(_beside_users(table, names) for _, table, _ in held):
        gone += [(output, "its reasons may name it") for output in every if stage_of(workspace, output) in REASONED]
    deleted = {output.path for output, _ in gone}
    rows = [_rows(workspace, *each, names) for each in held if each[0].path not in deleted]
    stale = [(output, tables) for output in every if output.path not in deleted and (tables := stale_counts(output))]
    return [
        *(
            Holding(short(workspace, o.path), f"whole, {why}", partial(_delete, o.filesystem, o.path))
            for o, why in gone
        ),
        *sorted(rows, key=lambda holding: holding.place.startswith("tables/")),
        *(
            Holding(short(workspace, o.path), f"old counts of {', '.join(tables)}", partial(reseal, o, tables))
            for o, tables in stale
        ),
    ]


def stage_of(workspace: Workspace, output: Output) -> str:
    """The stage of an output, a cut's name left out."""
    return short(workspace, output.path).split("/")[0]


def _beside_users(table: str, names: Names) -> bool:
    """Whether a row that a table holds is the node of something that reasons may speak of."""
    users = {edge.source for edge in names.graph.interactions}
    return table.startswith("nodes/") and table.removeprefix("nodes/") not in users


def _rows(workspace: Workspace, output: Output, table: str, count: int, names: Names) -> Holding:
    place = f"{short(workspace, output.path)}: {table}"
    return Holding(place, f"{count} of {output.manifest.tables[table]} rows", partial(strip, output, table, names))


def count_rows(output: Output, table: str, names: Names) -> int:
    """How many rows of a table name one of the ids."""
    dataset = output.scan(table)
    columns = _needed(table, dataset.schema, names)
    if not columns:
        return 0
    batches = dataset.to_batches(columns=columns, batch_readahead=2, fragment_readahead=1)
    return sum(pc.sum(names.rows(table, batch)).as_py() or 0 for batch in batches if batch.num_rows)


def _needed(table: str, schema: pa.Schema, names: Names) -> list[str]:
    if table.startswith("quarantine/"):
        return ["raw"]
    own = [column for column, _ in names.columns(table, schema)] if "edge" not in schema.names else []
    others = ["community"] if table.startswith("features/") else ["edge", "from_key", "to_key"] if not own else []
    return list(dict.fromkeys([*own, *(column for column in others if column in schema.names)]))


def strip(output: Output, table: str, names: Names) -> None:
    """Rewrite a table without the rows that name one of the ids, and seal its output again."""
    for path in _parquet(output.filesystem, output.location(table)):
        strip_file(output.filesystem, path, partial(names.rows, table))
    reseal(output, [table])


def strip_file(filesystem: fs.FileSystem, path: str, mask: Callable[[pa.RecordBatch], pa.BooleanArray]) -> int:
    """Replace a Parquet file in one step by itself without the rows of a mask; returns how many went."""
    partial_path, gone = _beside(path, ".partial"), 0
    with (
        filesystem.open_input_file(path) as source,
        pq.ParquetFile(source) as file,
        filesystem.open_output_stream(partial_path) as sink,
        pq.ParquetWriter(sink, file.schema_arrow, compression="zstd") as writer,
    ):
        for batch in file.iter_batches():
            kept = batch.filter(pc.invert(mask(batch)))
            gone += batch.num_rows - kept.num_rows
            writer.write_batch(kept)
    if not gone:
        filesystem.delete_file(partial_path)
        return 0
    # Spark's checksum of the file as it was; a reader of Spark would refuse the new one.
    if filesystem.get_file_info(checksum := _beside(path, ".crc")).is_file:
        filesystem.delete_file(checksum)
    filesystem.move(partial_path, path)
    return gone


def _beside(path: str, ending: str) -> str:
    """A hidden name in the same folder, which readers of datasets pass over."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}{ending}"


def _write_csv(output: Output) -> None:
    path = output.location(CSV)
    if not output.filesystem.get_file_info(path).is_file:
        return
    with (
        output.filesystem.open_output_stream(f"{path}.partial") as stream,
        pacsv.CSVWriter(stream, RECOMMENDATION) as sink,
    ):
        for batch in output.scan(RECOMMENDATIONS).to_batches():
            sink.write_batch(batch.select(RECOMMENDATION.names))
    output.filesystem.move(f"{path}.partial", path)


def stale_counts(output: Output) -> list[str]:
    """The tables of which the manifest says another number of rows than there are: a call was killed in between."""
    counts = output.manifest.tables
    return sorted(table for table in counts if output.scan(table).count_rows() != counts[table])


def reseal(output: Output, tables: Sequence[str]) -> None:
    """Write an output's manifest anew, with the rows and checksums that these tables have now.

    Files of other tables keep their checksums, so that damage to them is still seen.
    """
    if RECOMMENDATIONS in tables:
        _write_csv(output)
    now = read_output(output.filesystem, output.path) or output
    counts = {table: output.scan(table).count_rows() for table in tables}
    changed = [*tables, *([CSV] if RECOMMENDATIONS in tables else [])]
    files = renewed(output.filesystem, output.path, now.manifest.files, changed)
    manifest = replace(now.manifest, tables={**now.manifest.tables, **counts}, files=files)
    write_manifest(output.filesystem, output.path, manifest)


def keys_of(workspace: Workspace, label: str, key: str) -> tuple[str, ...]:
    """A node's key and all aliases that were merged into it, by the newest tables; else the key alone."""
    tables = workspace.stage("tables").current()
    table = f"aliases/{label}"
    if tables is None or table not in tables.manifest.tables:
        return (key,)
    scan = tables.scan(table)
    [kept] = scan.to_table(filter=ds.field("alias") == key)["key"].to_pylist()[:1] or [key]
    aliases = scan.to_table(filter=ds.field("key") == kept)["alias"].to_pylist()
    return tuple(dict.fromkeys([kept, key, *sorted(aliases)]))


def _parquet(filesystem: fs.FileSystem, folder: str) -> Iterator[str]:
    for info in filesystem.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True)):
        if info.is_file and info.path.endswith(".parquet") and not info.base_name.startswith("."):
            yield info.path


def _folders(workspace: Workspace) -> list[str]:
    selector = fs.FileSelector(workspace.root, recursive=True, allow_not_found=True)
    infos = workspace.filesystem.get_file_info(selector)
    return sorted(i.path for i in infos if i.type == fs.FileType.Directory and OUTPUT_NAME.fullmatch(i.base_name))


def short(workspace: Workspace, path: str) -> str:
    """A path relative to the workspace."""
    return path.removeprefix(workspace.root).lstrip("/")


def _delete(filesystem: fs.FileSystem, path: str) -> None:
    """The manifest first: a folder without one is no output."""
    if filesystem.get_file_info(f"{path}/{MANIFEST}").is_file:
        filesystem.delete_file(f"{path}/{MANIFEST}")
    filesystem.delete_dir(path)


# files -----------------------------------------------------------------------------------------------------


def files(workspace: Workspace, place: str, *endings: str) -> Iterator[str]:
    """The files with these endings at a place or below it."""
    path = f"{workspace.root}/{place}" if place else workspace.root
    info = workspace.filesystem.get_file_info(path)
    selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
    for found in [info] if info.is_file else workspace.filesystem.get_file_info(selector):
        if found.is_file and found.path.endswith(endings):
            yield found.path


def content_of(workspace: Workspace, path: str) -> bytes:
    """A file's bytes, as they are."""
    with workspace.filesystem.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())
