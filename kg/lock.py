"""A file that one process at a time may hold; the system lets go of it when the process dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.errors import LockedError


@contextmanager
def held(path: Path, *, wait: float, busy: str) -> Iterator[None]:
    """Hold the lock file at `path` for the block; after `wait` seconds of trying raise `LockedError(busy)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait
    with path.open("a") as file:
        while not _taken(file.fileno()):
            if time.monotonic() >= until:
                raise LockedError(busy)
            time.sleep(0.1)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
