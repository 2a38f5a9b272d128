"""`neo4j-admin` on the home of a local server, and what a Java program complains of."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kg.errors import StoreError

ADMIN = "org.neo4j.server.startup.Neo4jAdminCommand"
# What the above starts as a second Java; called at once where we choose the options of that one ourselves.
ADMIN_TOOL = "org.neo4j.cli.AdminTool"
# By itself it would take nine tenths of the machine's memory for its own tables.
IMPORT = ("database", "import", "full", "neo4j", "--overwrite-destination=true", "--max-off-heap-memory=1g")


def run_admin(home: Path, command: Sequence[str], what: str, folder: Path | None = None) -> str:
    """Run a command line of `ADMIN` or `ADMIN_TOOL` in a folder and return what it printed.

    `StoreError` names `what` failed, and the log that has all of the output.
    """
    environment = os.environ | {"NEO4J_HOME": str(home), "NEO4J_CONF": str(home / "conf")}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        output = done.stdout + done.stderr
        log_file = home / "logs" / "admin.log"
        log_file.write_text(output)
        raise StoreError(f"neo4j-admin {what} failed: {last_complaint(output)}; see {log_file}")
    return done.stdout


def last_complaint(output: str) -> str:
    """The line of a Java program's output that says most: the last cause, else error, else line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in ("Caused by:", "ERROR", "Exception"):
        if found := [line for line in lines if mark in line]:
            return found[-1][:300]
    return lines[-1][:300] if lines else "it printed nothing"
