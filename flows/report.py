"""What a run did: run.json with every figure, tables for the terminal, Markdown for Prefect, and logging."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from kg.tables import Output, Workspace, replace_file

LOG = logging.getLogger("crossgraph")
Figures = dict[str, Any]
COUNTS = ("rows_written", "texts_encoded", "images_encoded", "models_trained", "vectors_written")
"""What a run that finds everything unchanged does none of."""


def start_logging(*, debug: bool = False) -> None:
    """One line an event on stderr: `03:04:05 INFO tables: …`; ours from INFO up, others' errors."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, handlers=[handler], force=True)
    LOG.setLevel(logging.DEBUG if debug else logging.INFO)
    # Prefect, where it is imported later, gives the root logger handlers of its own.
    LOG.handlers, LOG.propagate = [handler], False


class _Stderr(logging.StreamHandler[Any]):
    """Writes to whatever stderr is at the time, so that progress bars can keep their line below the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look stderr up anew."""
        self.stream = sys.stderr
        super().emit(record)


class Report:
    """The figures of one run; `run.json` is rewritten after every stage, so that a killed run left a trace."""

    def __init__(self, workspace: Workspace, project: str, command: str) -> None:
        """Nothing is written until the first stage."""
        now = datetime.now(UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%S}-{os.getpid()}"
        self._workspace = workspace
        self._started = time.monotonic()
        self.content: Figures = {
            "run_id": self.run_id,
            "project": project,
            "workspace": workspace.location,
            "command": command,
            "started": now.isoformat(timespec="seconds"),
            "status": "running",
            "did": dict.fromkeys(COUNTS, 0),
            "skipped": [],
            "seconds": {},
            "stages": {},
        }

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the block's seconds under `name`."""
        before = time.monotonic()
        try:
            yield
        finally:
            seconds = self.content["seconds"]
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - before, 2)

    def stage(self, name: str, output: Output, *, skipped: bool) -> None:
        """Note a stage's output and its figures, whether made by this run or found."""
        if skipped:
            self.content["skipped"].append(name)
        manifest = output.manifest
        self.content["stages"][name] = {
            "skipped": skipped,
            "fingerprint": manifest.fingerprint,
            "created": manifest.created,
            "path": output.path,
            "rows": manifest.tables,
            "figures": manifest.figures,
        }
        seconds = self.content["seconds"].get(name, 0.0)
        LOG.info("%s: %s", name, "unchanged, skipped" if skipped else f"done in {seconds:.1f} s")
        self.write()

    def failed(self, name: str, figures: Figures) -> None:
        """Keep what a stage found out before it failed; it has no output."""
        if figures:
            self.content["stages"][name] = {"skipped": False, "failed": True, "figures": figures}

    def did(self, **counts: int) -> None:
        """Add to what this very run wrote, encoded and trained."""
        for name, count in counts.items():
            self.content["did"][name] = self.content["did"].get(name, 0) + count

    def finish(self, error: BaseException | None = None) -> None:
        """Seal the run: its outcome and its seconds, and a copy in `history/`."""
        self.content["status"] = "failed" if error else "completed"
        if error:
            self.content["error"] = f"{type(error).__name__}: {error}"
        self.content["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.content["seconds"]["total"] = round(time.monotonic() - self._started, 2)
        self.write()
        self._put(f"history/{self.run_id}.json")

    def write(self) -> None:
        """Replace run.json in one step."""
        self._put("run.json")

    def _put(self, name: str) -> None:
        content = json.dumps(self.content, indent=1, default=str)
        replace_file(self._workspace.filesystem, self._workspace.file(name), content.encode())
