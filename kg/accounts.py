"""What became of every row: counts by source and table, the quarantine tables, and the limit on quarantine.

A row of a source has one status: quarantined if it cannot be read, breaks its source's contract or any of its mappings
quarantined it, else accepted if any accepted it, else filtered if all of its mappings filtered it by a named option.
An exact repeat of an earlier row is a duplicate, and a row that a correction drops is filtered (`dropped`). A row that
no mapping sees (its source is only joined, or `explode` made nothing of it) is accepted. No figure is a remainder of
the others, so the sums are checks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.errors import ContractError, QuarantineError
from kg.forgotten import REASON as FORGOTTEN
from kg.mapping import ACCEPTED, FILTERED, ONE_SOURCE, QUARANTINED, Mapped
from kg.project import Graph
from kg.schema import QUARANTINE
from kg.source_rows import DROPPED, LOST, MALFORMED, Rows
from kg.spark import conform, kept, packed

EXAMPLES = 3
# Between the parts of an identity; no value holds it.
SEPARATOR = "\x1f"
# Why a row that no mapping sees is filtered and not quarantined.
TAKEN_OUT = (FORGOTTEN, DROPPED)
# What a row becomes by the gravest of its verdicts, gravest last.
OUTCOMES = (FILTERED, ACCEPTED, QUARANTINED)


@dataclass
class SourceAccount:
    """Rows of one source; ``rows = accepted + duplicate + filtered + quarantined``.

    `coerced` counts values that became null because a cast lost them or because they are no picture, `reasons`
    quarantined and filtered rows and lost pictures by reason (a row refused by two tables counts under both, and one
    that another table accepted counts too).
    """

    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    filtered: int = 0
    quarantined: int = 0
    coerced: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass
class TableAccount:
    """Mapped rows of one table; ``mapped = rows + merged + filtered + quarantined``."""

    mapped: int = 0
    rows: int = 0
    merged: int = 0
    filtered: int = 0
    quarantined: int = 0
    coerced: int = 0


def read_accounts(rows: Mapping[str, Rows]) -> dict[str, SourceAccount]:
    """Count every source's rows, duplicates and unreadable rows; reads all sources at once."""
    accounts = {name: SourceAccount() for name in rows}
    none = F.lit(None).cast("string").alias(LOST)
    keys = ["_source", "_duplicate", MALFORMED]
    frames = [r.frame.select(*keys, LOST if LOST in r.frame.columns else none) for r in rows.values()]
    counted = packed(reduce(DataFrame.unionAll, frames)).groupBy(*keys, LOST).count()
    for name, duplicate, malformed, lost, count in counted.collect():
        account = accounts[name]
        account.rows += count
        if duplicate:
            account.duplicate += count
        elif malformed:
            status = FILTERED if malformed in TAKEN_OUT else QUARANTINED
            setattr(account, status, getattr(account, status) + count)
            account.reasons[malformed] = account.reasons.get(malformed, 0) + count
        elif lost:
            for column in lost.split(","):
                account.coerced += count
                account.reasons[f"broken_image:{column}"] = account.reasons.get(f"broken_image:{column}", 0) + count
    return accounts


def close_accounts(
    accounts: dict[str, SourceAccount],
    rows: Mapping[str, Rows],
    mapped: Sequence[Mapped],
    tables: Mapping[str, int],
    aliases: Mapping[str, int],
) -> dict[str, TableAccount]:
    """Add what became of the readable rows to the sources' accounts, and account for every table.

    `tables` holds the rows written by table, `aliases` how many nodes became others by table. `ContractError` when
    a sum does not come out.
    """
    found = {table: TableAccount(rows=written) for table, written in sorted(tables.items())}
    accepted = dict.fromkeys(found, 0)
    for source, table, status, reason, count, coerced in _by_reason(mapped).collect():
        account = found.get(table, TableAccount())
        account.mapped += count
        account.coerced += coerced
        accounts[source].coerced += coerced
        if status == ACCEPTED:
            accepted[table] = accepted.get(table, 0) + count
        else:
            setattr(account, status, getattr(account, status) + count)
            reasons = accounts[source].reasons
            reasons[reason] = reasons.get(reason, 0) + count
    for table, distinct in _identities([part for part in mapped if part.table in found]).collect():
        found[table].merged = accepted[table] - distinct + aliases.get(table, 0)
    for source, status, count in _by_row(rows, mapped).collect():
        setattr(accounts[source], status, getattr(accounts[source], status) + count)
    for read in accounts.values():
        read.reasons = dict(sorted(read.reasons.items()))
    check_sums(accounts, found)
    return found


def _by_reason(mapped: Sequence[Mapped]) -> DataFrame:
    keys = ["_source", "_table", "_status", "_reason"]
    return _union(mapped).groupBy(*keys).agg(F.count("*"), F.sum("_coerced"))


def _by_row(rows: Mapping[str, Rows], mapped: Sequence[Mapped]) -> DataFrame:
    """Source, status and the number of its readable rows that have it."""
    # A row's number in its source, wherever that stands in a mapping's list of sources.
    place = [F.col("_source"), F.col("_position").bitwiseAND(ONE_SOURCE - 1).alias("_number")]
    rank, status = F.lit(0), F.lit(ACCEPTED)
    for number, outcome in enumerate(OUTCOMES, 1):
        rank = F.when(F.col("_status") == outcome, number).otherwise(rank)
        status = F.when(F.col("_rank") == number, outcome).otherwise(status)
    # A row as it was read has no verdict yet.
    read = [r.good.select(*place, F.lit(0).alias("_rank")) for r in rows.values()]
    verdicts = [part.frame.select(*place, rank) for part in mapped]
    gravest = (
        packed(reduce(DataFrame.unionAll, [*read, *verdicts]))
        .groupBy("_source", "_number")
        .agg(F.max("_rank").alias("_rank"))
    )
    return gravest.groupBy("_source", status.alias("_status")).count()


def _identities(mapped: Sequence[Mapped]) -> DataFrame:
    """Table and how many different nodes or relationships its accepted rows name."""
    frames = [
        part.accepted.select(F.lit(part.table).alias("_table"), _identity(part.keys).alias("_identity"))
        for part in mapped
    ]
    return packed(reduce(DataFrame.unionAll, frames)).groupBy("_table").agg(F.count_distinct("_identity"))


def _identity(keys: Sequence[str]) -> Column:
    """Equal where rows become one; null as nothing, and times to the microsecond, as in row ids."""
    return F.xxhash64(
        F.concat_ws(SEPARATOR, *[F.coalesce(F.col(f"`{key}`").cast("string"), F.lit("")) for key in keys])
    )


def _union(mapped: Sequence[Mapped]) -> DataFrame:
    frames = [part.frame.select("*", F.lit(part.table).alias("_table")) for part in mapped]
    columns = ["_source", "_file", "_row", "_table", "_status", "_reason", "_coerced"]
    return packed(reduce(DataFrame.unionAll, [frame.select(*columns) for frame in frames]))


def check_sums(accounts: Mapping[str, SourceAccount], tables: Mapping[str, TableAccount]) -> None:
    """Raise `ContractError` where a row is missing from an account or counted twice."""
    for name, source in accounts.items():
        if source.rows != source.accepted + source.duplicate + source.filtered + source.quarantined:
            raise ContractError(f"source {name}", "rows = accepted + duplicate + filtered + quarantined", str(source))
    for name, table in tables.items():
        if table.mapped != table.rows + table.merged + table.filtered + table.quarantined:
            raise ContractError(name, "mapped = rows + merged + filtered + quarantined", str(table))


def quarantine(rows: Mapping[str, Rows], mapped: Sequence[Mapped]) -> DataFrame:
    """The `QUARANTINE` rows of all sources, with ``to``, the table each goes to."""
    bad = _union(mapped).where(F.col("_status") == QUARANTINED).select("_source", "_file", "_row", "_table", "_reason")
    bad = bad.distinct()
    unread = [
        r.frame.where(~F.col(MALFORMED).isin(*TAKEN_OUT)).select(
            "_source", "_file", "_row", F.lit("").alias("_table"), F.col(MALFORMED).alias("_reason")
        )
        for r in rows.values()
    ]
    refused = kept(reduce(DataFrame.unionAll, [bad, *unread]))
    found = packed(reduce(DataFrame.unionAll, [_with_raw(r, refused) for r in rows.values()]))
    values = {"source": "_source", "file": "_file", "row": "_label", "raw": "_raw", "table": "_table"}
    named = found.select(*[F.col(old).alias(new) for new, old in values.items()], F.col("_reason").alias("reason"))
    return conform(named, QUARANTINE).withColumn("to", F.concat(F.lit("quarantine/"), F.col("source")))


def _with_raw(rows: Rows, refused: DataFrame) -> DataFrame:
    """The refused rows of one source with their raw values."""
    label = F.col("_file") if rows.by_path else F.col("_row").cast("string")
    # Only then, for raw values take longer to make than all else that is done to a row.
    found = rows.frame.join(F.broadcast(refused), on=["_source", "_file", "_row"], how="inner")
    return found.select("_source", "_file", label.alias("_label"), rows.raw.alias("_raw"), "_table", "_reason")


def check_limits(graph: Graph, accounts: Mapping[str, SourceAccount], examples: DataFrame) -> None:
    """Raise `QuarantineError` for the first source with more quarantined rows than its `max_quarantined`."""
    for name, account in accounts.items():
        limit = graph.sources[name].max_quarantined
        if account.quarantined <= limit * account.rows:
            continue
        first = examples.where(F.col("source") == name).limit(EXAMPLES).collect()
        shown = "; ".join(f"row {r.row}: {r.reason}" + (f" in {r.table}" if r.table else "") for r in first)
        raise QuarantineError(
            f"source {name}: {account.quarantined} of {account.rows} rows are quarantined "
            f"({account.quarantined / account.rows:.0%}, allowed {limit:.0%}), such as {shown}; "
            f"mend the source, its mappings or raise sources.{name}.max_quarantined"
        )


def figures(accounts: Mapping[str, SourceAccount], tables: Mapping[str, TableAccount]) -> dict[str, Any]:
    """The accounts as run.json shows them."""
    return {
        "sources": {name: asdict(account) for name, account in accounts.items()},
        "tables": {name: asdict(account) for name, account in tables.items()},
    }
