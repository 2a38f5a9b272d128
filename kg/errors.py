"""What can go wrong, as a tree; each message is one line that says what to do.

::

    CrossGraphError
    ├── ConfigError        the project file or a setting is wrong
    ├── SourceError        a source is missing, unreadable or lacks a column
    ├── QuarantineError    more rows were quarantined than the source allows
    ├── ContractError      a table is not what the stage before promised
    │   └── UnknownIdError an external id that the graph does not hold
    ├── StoreError         Neo4j does not answer, refuses, or holds another project
    │   └── GraphChangedError  others wrote to the graph while we did
    ├── ArchiveError       a backup is damaged, of another format or of another project
    ├── MachineError       Java, memory, disk or a downloaded part is lacking
    ├── LockedError        another run holds the workspace
    └── QualityError       a required figure was not reached

Misuse of a function raises Python's own errors.
"""

from typing import ClassVar


class CrossGraphError(Exception):
    """Root of the tree; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class ConfigError(CrossGraphError):
    """The project file or a setting is wrong: says where and what was expected."""

    exit_code = 2


class SourceError(CrossGraphError):
    """A source is missing, unreadable or lacks a column that a mapping names."""

    exit_code = 3


class QuarantineError(CrossGraphError):
    """More rows were quarantined than the source's threshold allows."""

    exit_code = 3


class ContractError(CrossGraphError):
    """A table differs from the schema it was promised under."""

    exit_code = 4

    def __init__(self, table: str, wanted: str, found: str = "") -> None:
        """Name the table, what was wanted and what was found."""
        super().__init__(f"{table}: {wanted}" + (f"; {found}" if found else ""))


class UnknownIdError(ContractError):
    """An external id that the id map does not hold."""


class StoreError(CrossGraphError):
    """Neo4j does not answer, refuses the credentials, or holds another project."""

    exit_code = 5


class GraphChangedError(StoreError):
    """The graph is not what it must be after what we wrote: others wrote too. The next load reads it anew."""


class ArchiveError(CrossGraphError):
    """A backup is not whole, not of our formats, or not of this project."""

    exit_code = 4


class MachineError(CrossGraphError):
    """The machine lacks something: Java, memory, disk, a downloaded part."""

    exit_code = 6


class LockedError(CrossGraphError):
    """Another run holds this project's workspace."""

    exit_code = 7


class QualityError(CrossGraphError):
    """A figure that was required (`--require`) was not reached."""

    exit_code = 8
