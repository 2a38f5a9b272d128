"""An import into a local server's database: whole or not at all, whatever is killed meanwhile.

While it is under way a file in the server's home says so, and which process does it. Whoever finds the file without
that process ends the importer if it still runs, throws the half store away and starts over with an empty database.
"""

import json
import os
import shutil
from pathlib import Path

import psutil

from kg.errors import MachineError
from kg.server_home import write_private

MARK = "import.json"
FILES = "import-files."
# In the importer's command line, by which it is told from those of other homes.
HOME_PROPERTY = "-Dcrossgraph.import.home="


def files_of(home: Path) -> Path:
    """Where this process writes what is to be imported."""
    return home / f"{FILES}{os.getpid()}"


def remove_left_files(home: Path) -> None:
    """Remove the files of processes that are gone."""
    for folder in home.glob(f"{FILES}*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(FILES))):
            shutil.rmtree(folder, ignore_errors=True)


def begin(home: Path) -> None:
    """Say that this process imports into the home's database from now on."""
    me = psutil.Process()
    write_private(home / MARK, json.dumps({"pid": me.pid, "created": me.create_time()}))


def end(home: Path) -> None:
    """Say that what was imported is to stay."""
    (home / MARK).unlink(missing_ok=True)


def is_abandoned(home: Path) -> bool:
    """Whether a half import must be thrown away; `MachineError` while another process is still at it."""
    try:
        noted = json.loads((home / MARK).read_text())
    except FileNotFoundError:
        return False
    if noted["pid"] == os.getpid():
        return False
    try:
        alive = psutil.Process(noted["pid"]).create_time() == noted["created"]
    except psutil.NoSuchProcess:
        return True
    if alive:
        raise MachineError(f"process {noted['pid']} imports a graph into {home}: wait for it or stop it")
    return True


def discard(home: Path) -> None:
    """End the importer and remove the store that it was writing; the server then starts with an empty database."""
    for process in psutil.process_iter():
        try:
            if f"{HOME_PROPERTY}{home}" in process.cmdline():
                process.kill()
                process.wait(30)
        except psutil.Error:  # gone, or another user's
            continue
    for kind in ("databases", "transactions"):
        shutil.rmtree(home / "data" / kind / "neo4j", ignore_errors=True)
    end(home)
