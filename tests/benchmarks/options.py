"""What the commands of benchmarks take from the command line and the environment alike."""

import os
from collections.abc import Collection
from pathlib import Path


def chosen(only: str | None, names: Collection[str]) -> list[str]:
    """The names of `--only` (comma-separated, all by default); ends the command where one is unknown."""
    wanted = only.split(",") if only else list(names)
    if unknown := sorted(set(wanted) - set(names)):
        raise SystemExit(f"--only {unknown[0]}: expected some of {', '.join(names)}")
    return wanted


def data_folder() -> Path:
    """The folder of real data; ends the command where the environment names none."""
    if not (folder := os.environ.get("CROSSGRAPH_DATA")):
        raise SystemExit("CROSSGRAPH_DATA is not set: it names the folder of real data")
    return Path(folder)
