"""Triples: rows that each name their relation, one relationship type a relation.

`link` says which ends are nodes of ours already; the others become nodes that have a key only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from kg.errors import ConfigError
from kg.expressions import Expressions
from kg.forgotten import NOTHING, REASON, Forgotten
from kg.forgotten_rows import forget, is_forgotten
from kg.mapping import (
    ACCEPTED,
    QUARANTINED,
    Mapped,
    blank,
    condition,
    properties,
    provenance,
    refuse,
    rules,
    source_rows,
    verdict,
)
from kg.project import Graph, Link
from kg.relationships import SEPARATOR, key_columns
from kg.schema import EdgeType
from kg.source_rows import Rows
from kg.spark import kept


@dataclass(frozen=True)
class Triples:
    """The triples of one relationship part: ends as nodes' labels and keys, the edge types found, new nodes."""

    mapped: Mapped
    """With ``from_label``, ``from_key``, ``to_label``, ``to_key`` and ``type``."""
    links: Mapped | None
    edges: list[EdgeType]
    label: str
    """The label of the ends that are not linked."""


def map_triples(
    graph: Graph,
    name: str,
    rows: Mapping[str, Rows],
    lookups: Mapping[str, DataFrame],
    forgotten: Forgotten = NOTHING,
) -> Triples:
    """Map triples; `lookups` are the nodes by label (``raw``, ``key``)."""
    part = graph.relationships[name]
    read = source_rows(graph, part, rows, f"relationships.{name}")
    if not (triples := part.triples):
        raise ValueError(f"{name} has no triples")
    for column, text in (("_head", triples.head), ("_relation", triples.relation), ("_tail", triples.tail)):
        read.add(column, text, f"triples.{column[1:]}", "string")
    values, fields = properties(read, part)
    named = F.regexp_replace(F.upper("_relation"), "[^A-Z0-9]+", "_")
    named = F.regexp_replace(F.regexp_replace(named, "^[^A-Z]+", ""), "_+$", "")
    checks = [
        ("null_key", blank(F.col("_head")) | blank(F.col("_relation")) | blank(F.col("_tail"))),
        ("bad_type:relation", named == ""),
    ]
    checks += [(f"bad_type:{key}", values[key].lost) for key in part.key if key in values]
    coerced = [value.lost for key, value in values.items() if key not in part.key]
    verdicts = verdict(condition(read, part), checks + rules(read, part), coerced)
    frame = read.frame.select(
        *provenance(),
        *verdicts,
        F.col("_head").alias("from_raw"),
        F.col("_relation").alias("relation"),
        named.alias("type"),
        F.col("_tail").alias("to_raw"),
        *(value.column.alias(key) for key, value in values.items()),
    )
    mapped = Mapped(f"relationships/{name}", frame, fields, ["from_label", "type", "to_label", *key_columns(part.key)])
    if forgotten:
        for raw in ("from_raw", "to_raw"):
            mapped.frame = forget(mapped.frame, is_forgotten(forgotten, triples.node, F.col(raw)))
    links = _links(graph, name, part.link, rows, lookups, forgotten) if part.link else None
    label = part.link.node if part.link else ""
    found = _ends(
        mapped, links, label, triples.node, lookups.get(triples.node) if triples.node in graph.nodes else None
    )
    found.frame = kept(found.frame)
    return Triples(found, links, _edge_types(found, name), triples.node)


def _links(
    graph: Graph,
    name: str,
    link: Link,
    rows: Mapping[str, Rows],
    lookups: Mapping[str, DataFrame],
    forgotten: Forgotten,
) -> Mapped | None:
    """Which entity is which node; a link to a node that is not there is quarantined."""
    if link.source not in rows or link.node not in lookups:
        return None
    place = f"relationships.{name}.link"
    read = Expressions(rows[link.source].good, place)
    read.add("_entity", link.entity, "entity", "string")
    read.add("_key", link.key or graph.nodes[link.node].key, "key", "string")
    verdicts = verdict(None, [("null_key", blank(F.col("_entity")) | blank(F.col("_key")))], [])
    frame = read.frame.select(
        *provenance(), *verdicts, F.col("_entity").alias("entity"), F.col("_key").alias("link_raw")
    )
    if forgotten:
        frame = forget(frame, is_forgotten(forgotten, link.node, F.col("link_raw")))
    known = lookups[link.node].select(F.col("raw").alias("link_raw"), F.col("key").alias("link_key"))
    frame = frame.join(known, on="link_raw", how="left")
    frame = refuse(frame, F.col("link_key").isNull(), QUARANTINED, "unknown_end:link")
    return Mapped(f"links/{name}", kept(frame))


def _ends(mapped: Mapped, links: Mapped | None, linked: str, other: str, declared: DataFrame | None) -> Mapped:
    frame = mapped.frame
    for side in ("from", "to"):
        raw, key, label = f"{side}_raw", f"{side}_key", f"{side}_label"
        if links is None:
            frame = frame.withColumn("_linked", F.lit(None).cast("string"))
        else:
            nth = F.row_number().over(Window.partitionBy("entity").orderBy("_position"))
            gone = F.col("_reason").eqNullSafe(REASON)
            known = links.frame.where((F.col("_status") == ACCEPTED) | gone)
            first = known.withColumn("_nth", nth).where("_nth = 1")
            first = first.select(F.col("entity").alias(raw), F.col("link_key").alias("_linked"), gone.alias("_gone"))
            frame = frame.join(first, on=raw, how="left")
            # An end that is linked to a forgotten node must not come back under its other name.
            frame = forget(frame, F.coalesce("_gone", F.lit(False))).drop("_gone")
        own = F.col(raw)
        if declared is not None:
            known = declared.select(F.col("raw").alias(raw), F.col("key").alias("_own"))
            frame = frame.join(known, on=raw, how="left")
            frame = refuse(frame, F.coalesce("_linked", "_own").isNull(), QUARANTINED, f"unknown_end:{side}")
            own = F.col("_own")
        frame = frame.withColumn(label, F.when(F.col("_linked").isNotNull(), linked).otherwise(other))
        frame = frame.withColumn(key, F.coalesce(F.col("_linked"), own)).drop("_linked", "_own")
    return replace(mapped, frame=frame)


def _edge_types(mapped: Mapped, name: str) -> list[EdgeType]:
    """The edge types found. Raises `ConfigError` where two relations would get one type."""
    found = mapped.accepted.select("from_label", "relation", "type", "to_label").distinct().collect()
    relations: dict[str, str] = {}
    for row in sorted(found):
        if relations.setdefault(row.type, row.relation) != row.relation:
            raise ConfigError(
                f"relationships.{name}: relations {relations[row.type]!r} and {row.relation!r} would both be "
                f"{row.type}; "
                "make them differ in letters or digits by an expression in `triples.relation`"
            )
    return sorted({EdgeType(row.from_label, row.type, row.to_label) for row in found})


def entities(triples: Triples) -> DataFrame:
    """The nodes that only triples know: ``key``."""
    ends = [
        triples.mapped.accepted.where(F.col(f"{side}_label") == triples.label).select(F.col(f"{side}_key").alias("key"))
        for side in ("from", "to")
    ]
    return ends[0].unionAll(ends[1]).distinct()


def triple_table(triples: Triples, keys: list[str]) -> DataFrame:
    """All relationships of the part, one an identity, with ``table``, the table each belongs to."""
    text = [F.coalesce(F.col(f"`{column}`").cast("string"), F.lit("")) for column in key_columns(keys)]
    edge = F.concat_ws("-", "from_label", "type", "to_label")
    row_id = F.substring(F.sha2(F.concat_ws(SEPARATOR, edge, *text), 256), 1, 32)
    rows = triples.mapped.accepted.withColumn("row_id", row_id).withColumn(
        "table", F.concat(F.lit("relationships/"), edge)
    )
    nth = F.row_number().over(Window.partitionBy("row_id").orderBy("_position"))
    names = [field.name for field in triples.mapped.properties]
    return rows.withColumn("_nth", nth).where("_nth = 1").select("table", "row_id", "from_key", "to_key", *names)
