"""Node mappings: rows to the nodes of a label, one a key."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.expressions import Expressions
from kg.forgotten import NOTHING, Forgotten
from kg.forgotten_rows import forget, is_forgotten
from kg.mapping import Mapped, blank, condition, filled, properties, provenance, rules, source_rows, verdict
from kg.project import Graph, Node
from kg.source_rows import Rows


def map_nodes(graph: Graph, label: str, rows: Mapping[str, Rows], forgotten: Forgotten = NOTHING) -> Mapped | None:
    """Every row of a label's sources with its key, properties, text, image and verdict; None if all are absent."""
    node = graph.nodes[label]
    if not any(name in rows for name in graph.sources_of(node)):
        return None
    read = source_rows(graph, node, rows, f"nodes.{label}")
    read.add("_key", node.key, "key", "string")
    values, fields = properties(read, node)
    where, ruled = condition(read, node), rules(read, node)
    checks = [("null_key", blank(F.col("_key")))]
    checks += [(f"bad_type:{name}", values[name].lost) for name in node.required]
    checks += [(f"null:{name}", values[name].column.isNull()) for name in node.required]
    coerced = [value.lost for name, value in values.items() if name not in node.required]
    text, image, prefer = _text(read, node), _image(read, node), _prefer(read, node)
    stored = [*(value.column.alias(name) for name, value in values.items()), text.alias("text"), image.alias("image")]
    # Last, for an expression over an absent source's column has added it to the frame by now.
    frame = read.frame.select(
        *provenance(),
        *verdict(where, checks + ruled, coerced),
        F.col("_key").alias("key"),
        *stored,
        prefer.alias("_prefer"),
    )
    if forgotten:
        frame = forget(frame, is_forgotten(forgotten, label, F.col("key")))
    frame = frame.withColumn("_values", filled([*values, "text", "image"]))
    return Mapped(f"nodes/{label}", frame, fields, ["key"])


def _text(read: Expressions, node: Node) -> Column:
    parts = []
    for position, text in enumerate(node.text):
        value = read.value(text, f"text[{position}]")
        part = F.concat_ws(", ", value.column) if isinstance(value.type, T.ArrayType) else value.column.cast("string")
        parts.append(F.when(F.trim(part) != "", part))
    joined = F.concat_ws("\n", *parts)
    return F.when(joined != "", joined) if parts else F.lit(None).cast("string")


def _image(read: Expressions, node: Node) -> Column:
    if node.image is None:
        return F.lit(None).cast("string")
    path = read.value(node.image, "image", "string").column
    return F.when(F.trim(path) != "", path)


def _prefer(read: Expressions, node: Node) -> Column:
    return read.value(node.prefer, "prefer").column if node.prefer else F.lit(0)


def merge(mapped: Mapped) -> DataFrame:
    """One row a key: the highest `prefer`, then the most values, then the first; the winner is kept as it is."""
    best = [F.col("_prefer").desc_nulls_last(), F.col("_values").desc(), F.col("_position").asc()]
    nth = F.row_number().over(Window.partitionBy("key").orderBy(*best))
    return mapped.accepted.withColumn("_nth", nth).where("_nth = 1").drop("_nth")
