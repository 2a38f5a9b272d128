"""Batches that are committed once, whatever dies in between, and cut down to the rows that Neo4j refuses.

Each batch has a name that a rerun gives the same rows, and its transaction also creates a node of that name: a batch
whose node is there is not written again. A batch that Neo4j refuses for its data is halved until the bad rows are
alone; the halves are entries of their own (``…/3.0.1``).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import neo4j
import pyarrow as pa
from neo4j.exceptions import Neo4jError

from kg import cypher_load
from kg.ahead import in_order
from kg.errors import StoreError
from kg.load_batches import as_rows
from kg.store import Store

# What Neo4j says of values that it cannot store; anything else of its is no row's fault.
FAULTS = {"ConstraintValidationFailed", "ArgumentError", "TypeError", "ArithmeticError", "ExecutionFailed"}
TAKEN = "constraint_validation_failed"
Place = tuple[str, str, str]
"""Table, step and number of a batch."""
WRITERS = 2
"""How many batches are under way at a time; `kg.load_batches` has what was measured."""


@dataclass(frozen=True)
class Statement:
    """What a batch is written by."""

    query: str
    params: Callable[[pa.RecordBatch], Mapping[str, Any]] = as_rows
    """The query's parameters for some rows."""
    otherwise: str | None = None
    """What takes its place when nodes with these keys are there after all."""
    in_turn: bool = False
    """Whether only one batch of it may be committed at a time."""


@dataclass
class Done:
    """What became of a batch."""

    changed: int = 0
    """What its statement returned."""
    created: int = 0
    """How many nodes or relationships of the graph are new by it."""
    refused: dict[int, str] = field(default_factory=dict)
    """By position in the batch: a short code of Neo4j's reason."""

    def add(self, other: "Done", start: int) -> None:
        """Add a part that starts at a position."""
        self.changed += other.changed
        self.created += other.created
        self.refused |= {start + position: code for position, code in other.refused.items()}


class Ledger:
    """The batches of one load."""

    def __init__(self, store: Store, load: str, allowed: Mapping[str, int]) -> None:
        """Read what earlier attempts at this load have committed; `allowed` refused rows by table."""
        store.define(cypher_load.UNIQUE_BATCH)
        self._store, self._load, self._allowed = store, load, dict(allowed)
        found = store.rows(cypher_load.READ_BATCHES, {"load": load})
        self._done = {name: _recorded(*of) for name, *of in found}
        self._halved = {name[:i] for name in self._done for i, letter in enumerate(name) if letter == "."}

    @property
    def resumes(self) -> bool:
        """Whether an earlier attempt has committed anything."""
        return bool(self._done)

    def write(self, table: str, step: str, number: int, statement: Statement, rows: pa.RecordBatch) -> Done:
        """Commit a batch, unless it is; `StoreError` where Neo4j fails, or refuses more rows than are allowed."""
        return self._write((table, step, str(number)), statement, rows)

    def write_all(
        self, table: str, step: str, statement: Statement, batches: Iterable[pa.RecordBatch]
    ) -> Iterator[tuple[pa.RecordBatch, Done]]:
        """Commit batches as `write` does, numbered from 0, and give each with what became of it, in their order.

        While the server commits one the next is sent and prepared. The statement must not make two transactions wait
        for each other: its rows touch nothing in common, or it is committed `in_turn`.
        """

        def attempt(numbered: tuple[int, pa.RecordBatch]) -> tuple[Place, pa.RecordBatch, Done | StoreError | None]:
            place, rows = (table, step, str(numbered[0])), numbered[1]
            if self._name(place) in self._done or self._name(place) in self._halved:
                return place, rows, None
            try:
                return place, rows, self._commit(place, statement, rows)
            except StoreError as error:
                return place, rows, error

        for place, rows, made in in_order(attempt, enumerate(batches), WRITERS):
            if isinstance(made, StoreError):
                yield rows, self._after(made, place, statement, rows)
            else:
                yield rows, self._write(place, statement, rows) if made is None else made

    def allow(self, table: str, refused: int) -> None:
        """Count rows that were refused elsewhere; `StoreError` where they are more than are allowed."""
        self._allowed[table] -= refused
        if self._allowed[table] < 0:
            raise StoreError(f"{table}: too many rows are refused, for the nodes that they name are")

    def _write(self, place: Place, statement: Statement, rows: pa.RecordBatch) -> Done:
        name = self._name(place)
        if name in self._done:
            self._allowed[place[0]] -= len(self._done[name].refused)
            return self._done[name]
        if name in self._halved:
            return self._halves(place, statement, rows)
        try:
            return self._commit(place, statement, rows)
        except StoreError as error:
            return self._after(error, place, statement, rows)

    def _after(self, error: StoreError, place: Place, statement: Statement, rows: pa.RecordBatch) -> Done:
        """What becomes of a batch that failed; the error is raised where no row of it is to blame."""
        code = fault(error)
        if code is None:
            raise error
        if found := self._store.rows(cypher_load.FIND_BATCH, {"id": self._name(place)}):
            return _recorded(*found[0])  # it was committed, only the answer got lost
        if code == TAKEN and statement.otherwise:
            return self._write(place, Statement(statement.otherwise, statement.params), rows)
        if rows.num_rows > 1:
            return self._halves(place, statement, rows)
        return self._refuse(place, code, error)

    def _refuse(self, place: Place, code: str, error: StoreError) -> Done:
        table = place[0]
        if self._allowed[table] <= 0:
            raise StoreError(f"{table}: too many rows are refused, the last one so: {error}") from error
        self._allowed[table] -= 1
        self._store.value(cypher_load.ADD_BATCH, self._entry(place, Done(), code))
        return _recorded(0, 0, code)

    def _halves(self, place: Place, statement: Statement, rows: pa.RecordBatch) -> Done:
        done, middle = Done(), rows.num_rows // 2
        for half, (start, end) in enumerate(((0, middle), (middle, rows.num_rows))):
            part = rows.slice(start, end - start)
            done.add(self._write((*place[:2], f"{place[2]}.{half}"), statement, part), start)
        return done

    def _commit(self, place: Place, statement: Statement, rows: pa.RecordBatch) -> Done:
        params = dict(statement.params(rows))

        def work(transaction: neo4j.ManagedTransaction) -> Done:
            result = transaction.run(statement.query, params)
            [[changed]] = result.values()
            counters = result.consume().counters
            done = Done(int(changed), counters.nodes_created + counters.relationships_created)
            add = cypher_load.ADD_BATCH_IN_TURN if statement.in_turn else cypher_load.ADD_BATCH
            transaction.run(add, self._entry(place, done, None)).consume()
            return done

        return self._store.transact(work)

    def _entry(self, place: Place, done: Done, refused: str | None) -> dict[str, Any]:
        names = dict(zip(("table", "step", "batch"), place, strict=True))
        did = {"changed": done.changed, "created": done.created, "refused": refused}
        return {"id": self._name(place), "load": self._load, **names, **did}

    def _name(self, place: Place) -> str:
        return f"{self._load}/{'/'.join(place)}"


def _recorded(changed: int, created: int, code: str | None) -> Done:
    return Done(changed, created, {0: code} if code else {})


def fault(error: StoreError) -> str | None:
    """A short code for what a row's values did wrong; None where it is not the rows' fault."""
    cause = error.__cause__
    if not isinstance(cause, Neo4jError):
        return None
    name = (cause.code or "").rpartition(".")[2]
    if name not in FAULTS or "TransientError" in (cause.code or ""):
        return None
    if "too large to index" in str(cause.message):
        return "too_large"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
