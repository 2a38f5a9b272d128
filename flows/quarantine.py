"""`crossgraph quarantine`: what was refused, as a table or a file, and back again corrected."""

from collections import Counter
from pathlib import Path

from pyarrow import fs
from rich.markup import escape
from rich.table import Table

from flows.project import load_project
from flows.settings import load_settings
from flows.summary import wide_console
from flows.tasks import REFUSED, Run
from kg.corrections import read_corrections, write_corrections, write_private
from kg.errors import ConfigError
from kg.quarantine import Refused, as_text, corrected, counts, read_edits, refused_rows, select
from kg.tables import Output

CORRECTIONS = "corrections/"
SHOWN = 20
CUT = 160
"""Characters of a row's raw values in the terminal; a file has them whole."""


def _ingested(run: Run) -> Output:
    """What the latest ingest made: its tables, or its quarantine alone where that failed it."""
    found = [output for name in ("tables", REFUSED) if (output := run.workspace.stage(name).current())]
    return max(found, key=lambda output: output.manifest.created) if found else run.output("tables")


def _outputs(run: Run) -> list[Output]:
    """Where quarantined rows lie: the latest ingest's, and the database's own refusals of these very tables."""
    ingested, loaded = _ingested(run), run.workspace.stage("loaded").current()
    if loaded and loaded.manifest.meta.get("tables") == ingested.manifest.fingerprint:
        return [ingested, loaded]
    return [ingested]


def show(
    run: Run, source: str | None = None, reason: str | None = None, limit: int | None = None, to: Path | None = None
) -> None:
    """Print what is in quarantine, or write it to a file that `replay` reads; `ConfigError` for an unknown source."""
    rows = refused_rows(_outputs(run))
    known = sorted({*run.graph.sources, *(row.source for row in rows)})
    if source is not None and source not in known:
        raise ConfigError(f"--source {source}: expected one of {known}")
    found = select(rows, source, reason)
    if to is not None:
        text = as_text(found[:limit], to)
        write_private(fs.LocalFileSystem(), str(to.absolute()), text.encode())
        wide_console().print(f"wrote {len(found[:limit])} of {len(found)} rows to {to}", soft_wrap=True)
        return
    _print(found, SHOWN if limit is None else limit)
    stale = Counter(row["source"] for row in _outcomes(_ingested(run)) if row["outcome"] == "stale")
    for name, count in stale.items():
        line = f"source {name}: {count} corrections are stale, for their rows are gone or have other values by now"
        wide_console().print(line, soft_wrap=True)


def _outcomes(ingested: Output) -> list[dict[str, str]]:
    """What became of each correction."""
    return [row for table in ingested.tables(CORRECTIONS) for row in ingested.read(table).to_pylist()]


def _print(rows: list[Refused], limit: int) -> None:
    console = wide_console()
    if not rows:
        console.print("nothing is in quarantine")
        return
    console.print(f"rows in quarantine: {len(rows)}")
    table = Table("source", "reason", "rows", title="By source and reason", title_justify="left", box=None)
    for (source, reason), count in counts(rows).items():
        table.add_row(escape(source), escape(reason), str(count))
    console.print("", table, "")
    title = f"The first {limit}; `--to FILE` writes all" if len(rows) > limit else "The rows"
    table = Table("source", "file", "row", "reason", "raw", title=title, title_justify="left", box=None)
    for row in rows[:limit]:
        raw = row.raw if len(row.raw) <= CUT else row.raw[:CUT] + "…"
        name = "" if row.file == row.row else row.file.rsplit("/", 1)[-1]
        table.add_row(*map(escape, (row.source, name, row.row, "; ".join(row.reasons), raw)))
    console.print(table)


def project_run(project: str, overrides: list[str], workspace: str | None) -> Run:
    """A run that only looks: it takes no lock and writes no run.json."""
    return Run(load_project(project, overrides), load_settings(), "quarantine", workspace)


def mend(run: Run, path: Path) -> None:
    """Keep the corrections of a file in the workspace; the next ingest reads them. `SourceError` changes nothing."""
    edits, ingested = read_edits(path), _ingested(run)
    known = {name: read_corrections(run.workspace, name) for name in run.graph.sources}
    applied = {(row["source"], row["file"], row["row"]) for row in _outcomes(ingested) if row["outcome"] == "corrected"}
    for source, found in corrected(edits, refused_rows([ingested]), known, applied).items():
        new = [c for place, c in found.items() if c != known[source].get(place)]
        write_corrections(run.workspace, source, found.values())
        run.report.did(rows_corrected=sum(c.raw is not None for c in new), rows_dropped=sum(c.raw is None for c in new))
