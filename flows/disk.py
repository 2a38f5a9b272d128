"""A full disk, said in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from kg.errors import MachineError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_named(place: str) -> Iterator[None]:
    """Turn the system's error of a full disk (or quota, or file size) into `MachineError`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise MachineError(
                f"the disk of {place} is full: free some space and run again; earlier outputs are unchanged"
            ) from error
        raise
