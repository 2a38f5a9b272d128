"""One Neo4j database as tables: read to Arrow, written to in batches, owned by one project."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import neo4j
import pyarrow as pa
from neo4j.exceptions import ClientError, DriverError, Neo4jError
from neo4j.time import Date, DateTime, Time

from kg import cypher, cypher_load
from kg.errors import StoreError
from kg.server_home import Connection

FORMAT = 2
# The driver's preview of HTTP has no transactions that it retries.
SCHEMES = {f"{name}{security}" for name in ("bolt", "neo4j") for security in ("", "+s", "+ssc")}
REFUSALS: tuple[type[Exception], ...] = (DriverError, Neo4jError)
Written = TypeVar("Written")
Progress = Callable[[str, int], None]
"""Told a table's name and how many more of its rows are done."""


def silent(table: str, rows: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True)
class Counters:
    """What statements did, summed; `returned` is the sum of what they returned in their first column."""

    returned: int = 0
    nodes_created: int = 0
    nodes_deleted: int = 0
    relationships_created: int = 0
    relationships_deleted: int = 0
    properties_set: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        """Both together."""
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Store:
    """An open database; a context manager. Whatever Neo4j refuses becomes a one-line `StoreError`.

    Transactions of `read` and `write` are retried by the driver for 30 s while the network or a lock is in the way.
    """

    def __init__(self, connection: Connection, *, timeout: float = 15) -> None:
        """Nothing is connected before the block is entered; `timeout` is what a connection may take, in seconds."""
        self.connection = connection
        self._timeout = timeout

    def __enter__(self) -> Self:
        """Connect and try the credentials and the database."""
        if self.connection.uri.partition("://")[0] not in SCHEMES:
            raise StoreError(
                f"{self.connection.uri!r} is no address of Neo4j: "
                "set CROSSGRAPH_NEO4J__URI to one like bolt://127.0.0.1:7687"
            )
        with self._translated((*REFUSALS, OSError, ValueError)):
            self._driver = neo4j.GraphDatabase.driver(
                self.connection.uri,
                auth=(self.connection.user, self.connection.password),
                connection_timeout=self._timeout,
                connection_acquisition_timeout=2 * self._timeout,
                notifications_min_severity="OFF",
                user_agent="crossgraph",
            )
        try:
            with self._session(neo4j.READ_ACCESS) as session:
                session.run("RETURN 1").consume()
        except BaseException:
            self._driver.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._driver.close()

    def read(self, query: str, params: Mapping[str, Any] | None = None, schema: pa.Schema | None = None) -> pa.Table:
        """All that a query returns, a column each; types come from `schema`, else from the values."""

        def work(transaction: neo4j.ManagedTransaction) -> tuple[tuple[str, ...], list[neo4j.Record]]:
            result = transaction.run(query, dict(params or {}))
            return result.keys(), list(result)

        with self._session(neo4j.READ_ACCESS) as session:
            names, records = session.execute_read(work)
        return pa.Table.from_batches([_batch(names, records, schema)])

    def rows(self, query: str, params: Mapping[str, Any] | None = None) -> list[list[Any]]:
        """All that a query returns, as the driver's own values; the query may write."""
        with self._session(neo4j.WRITE_ACCESS) as session:
            return session.execute_write(lambda tx: tx.run(query, dict(params or {})).values())

    def value(self, query: str, params: Mapping[str, Any] | None = None) -> Any:
        """The first column of the only row that a query returns."""
        [row] = self.rows(query, params)
        return row[0]

    def lists(self, query: str, params: Mapping[str, Any] | None = None) -> list[Any]:
        """The columns of the only row that a reading query returns; may be called from several threads."""
        with self._session(neo4j.READ_ACCESS) as session:
            return session.execute_read(lambda tx: tx.run(query, dict(params or {})).single(strict=True).values())

    def moment(self) -> frozenset[str]:
        """What stays the same until anything is written to this database, by whomever."""
        with self._session(neo4j.READ_ACCESS) as session:
            session.run("RETURN 1").consume()
            return session.last_bookmarks().raw_values

    def stream(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        schema: pa.Schema | None = None,
        size: int = 10_000,
    ) -> Iterator[pa.RecordBatch]:
        """What a query returns in batches of up to `size` rows, of which few are in memory; never retried."""
        for names, records in self._stream(query, params, size):
            yield _batch(names, records, schema)

    def stream_rows(
        self, query: str, params: Mapping[str, Any] | None = None, size: int = 10_000
    ) -> Iterator[list[list[Any]]]:
        """As `stream`, as the driver's own values."""
        for _, records in self._stream(query, params, size):
            yield [list(record) for record in records]

    def write(
        self,
        query: str,
        batches: Iterable[Sequence[Any]],
        params: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> Counters:
        """Run a query once a batch, each in its own transaction and as ``$rows``; it must return one number."""
        total = Counters()
        with self._session(neo4j.WRITE_ACCESS) as session:
            for batch in batches:
                total += session.execute_write(_write, query, {**(params or {}), "rows": batch})
                progress(len(batch))
        return total

    def transact(self, work: Callable[[neo4j.ManagedTransaction], Written]) -> Written:
        """Run several statements in one transaction, from the start again where the driver retries it."""
        with self._session(neo4j.WRITE_ACCESS) as session:
            return session.execute_write(work)

    def sweep(self, query: str, params: Mapping[str, Any] | None = None) -> int:
        """Run a query that commits by itself (``IN TRANSACTIONS``) and returns one number; never retried."""
        with self._session(neo4j.WRITE_ACCESS) as session:
            [[count]] = session.run(query, dict(params or {})).values()
        return int(count)

    def define(self, *statements: str) -> None:
        """Run schema statements and wait until all indexes are online."""
        with self._session(neo4j.WRITE_ACCESS) as session:
            for statement in statements:
                session.run(statement).consume()
            session.run("CALL db.awaitIndexes(3600)").consume()

    def ensure_unique(self, labels: Iterable[str]) -> None:
        """Make `key` unique (and so indexed) in each label; `StoreError` where the graph holds it twice."""
        self.define(*(cypher_load.unique_key(label) for label in labels))

    def database_id(self) -> str:
        """What tells this database from any other; it changes when a database is made anew."""
        return str(self.value("CALL db.info() YIELD id RETURN id"))

    def check_project(self, project: str) -> bool:
        """Whether the database is this project's; `StoreError` when it is another's or of another format."""
        found = self.rows(cypher.FIND_PROJECT)
        if found:
            self._check_project(project, *found[0])
        return bool(found)

    def claim(self, project: str) -> None:
        """Mark the database as this project's; `StoreError` when it is another's or of another format."""
        if not self.check_project(project):
            self.ensure_unique([cypher.PROJECT])
            [found] = self.rows(cypher.CLAIM_PROJECT, {"name": project, "format": FORMAT})
            self._check_project(project, *found)

    def _check_project(self, project: str, name: str, format_: int) -> None:
        where = f"the database {self.connection.database} at {self.connection.uri}"
        if name != project:
            raise StoreError(
                f"{where} holds project {name!r}, not {project!r}: name another one by CROSSGRAPH_NEO4J__URI"
            )
        if format_ != FORMAT:
            raise StoreError(f"{where} was written in format {format_}, wanted {FORMAT}: empty it, then load again")

    def _stream(
        self, query: str, params: Mapping[str, Any] | None, size: int
    ) -> Iterator[tuple[Sequence[str], list[neo4j.Record]]]:
        with self._session(neo4j.READ_ACCESS, fetch_size=size) as session:
            result = session.run(query, dict(params or {}))
            while records := result.fetch(size):
                yield result.keys(), records

    @contextmanager
    def _session(self, access: str, fetch_size: int = 10_000) -> Iterator[neo4j.Session]:
        with (
            self._translated(),
            self._driver.session(
                database=self.connection.database, default_access_mode=access, fetch_size=fetch_size
            ) as session,
        ):
            yield session

    @contextmanager
    def _translated(self, errors: tuple[type[Exception], ...] = REFUSALS) -> Iterator[None]:
        try:
            yield
        except errors as error:
            raise StoreError(explain(error, self.connection)) from error


def explain(error: Exception, connection: Connection) -> str:
    """One line on what went wrong with Neo4j and what to do about it."""
    uri, user = connection.uri, connection.user
    if not isinstance(error, Neo4jError):
        return f"Neo4j at {uri} cannot be reached: run `crossgraph neo4j start` or set CROSSGRAPH_NEO4J__URI"
    code, said = error.code or "", " ".join(str(error.message).split())[:300]
    known = {
        "AuthenticationRateLimit": f"was given wrong credentials for {user!r} too often: wait a few seconds",
        "CredentialsExpired": f"wants user {user!r} to choose a password first: ALTER CURRENT USER SET PASSWORD …",
        "Unauthorized": f"refuses the credentials of user {user!r}: "
        "set CROSSGRAPH_NEO4J__USER and CROSSGRAPH_NEO4J__PASSWORD",
        "Forbidden": f"grants user {user!r} too little, ask its administrator: {said}",
        "DatabaseNotFound": f"has no database {connection.database!r}: set CROSSGRAPH_NEO4J__DATABASE",
        "ConstraintCreationFailed": f"holds nodes that break a constraint of ours, merge or remove them: {said}",
    }
    otherwise = (
        f"refused a statement ({code}): {said}"
        if isinstance(error, ClientError)
        else f"failed ({code}): {said}; see its log and the room on its disk"
    )
    return f"Neo4j at {uri} {known.get(code.rpartition('.')[2], otherwise)}"


def _write(transaction: neo4j.ManagedTransaction, query: str, params: dict[str, Any]) -> Counters:
    result = transaction.run(query, params)
    [[returned]] = result.values()
    done = result.consume().counters
    return Counters(
        returned,
        done.nodes_created,
        done.nodes_deleted,
        done.relationships_created,
        done.relationships_deleted,
        done.properties_set,
    )


def _batch(names: Sequence[str], records: Sequence[neo4j.Record], schema: pa.Schema | None) -> pa.RecordBatch:
    columns = list(zip(*records, strict=True)) if records else [()] * len(names)
    if schema is not None:
        names = schema.names
    types = schema.types if schema is not None else [None] * len(names)
    arrays = [pa.array([_native(x) for x in column], type_) for column, type_ in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _native(value: Any) -> Any:
    if isinstance(value, Date | DateTime | Time):
        return value.to_native()
    if isinstance(value, list):
        return [_native(x) for x in value]
    return value
