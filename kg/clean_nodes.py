"""The nodes of an ingest: mapped, merged by key, resolved, and written with what explains it."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kg.clean_work import Work
from kg.errors import ConfigError
from kg.existing_config import existing_meta, source_name
from kg.existing_rows import NODE_PLACE, node_places
from kg.nodes import map_nodes, merge
from kg.reading import in_threads
from kg.resolve import fold, resolve
from kg.resolve_across import resolve_across, same_as
from kg.resolve_pairs import match_schema
from kg.schema import ALIAS, RECORD, SAME, EdgeType, node_schema, relationship_schema
from kg.spark import carried, kept, location


def make_nodes(work: Work) -> None:
    """Write the nodes of every label whose source is there, and remember their keys and other names."""
    resolved = [label for label in work.graph.nodes if label in work.graph.resolution]
    in_threads(
        lambda label: _label(work, label), [label for label in work.graph.nodes if label not in resolved], resolved
    )


def _label(work: Work, label: str) -> None:
    """Map, merge and resolve a label's nodes, and write them with their aliases."""
    mapped = map_nodes(work.graph, label, work.rows, work.forgotten)
    if mapped is None:
        work.left_out[f"nodes.{label}"] = f"without {', '.join(work.graph.sources_of(work.graph.nodes[label]))}"
        return
    mapped.frame = work.keep(mapped.frame, work.graph.nodes[label])
    nodes = kept(merge(mapped))
    lookup = keys = nodes.select("key", F.col("key").alias("raw"))
    if (aliases := _aliases(work, label, nodes)) is not None:
        nodes = kept(fold(nodes, aliases, [*(f.name for f in mapped.properties), "text", "image"]))
        keys = nodes.select("key", F.col("key").alias("raw"))
        lookup = keys.unionAll(aliases.select("key", F.col("alias").alias("raw")))
    work.write(mapped.table, nodes, node_schema(mapped.properties))
    if work.graph.nodes[label].existing:
        work.write(f"places/{mapped.table}", node_places(nodes), NODE_PLACE)
        work.existing[label] = existing_meta(work.graph.nodes[label], work.rows[source_name(label)].columns)
    rows = work.draft.tables[mapped.table] + work.draft.tables.get(f"aliases/{label}", 0)
    work.keys[label], work.lookups[label] = keys, carried(lookup, rows)
    work.mapped.append(mapped)


def _aliases(work: Work, label: str, nodes: DataFrame) -> DataFrame | None:
    """Resolve a label's nodes, if the project asks for it, and write what explains it."""
    resolution = work.graph.resolution.get(label)
    if resolution is None:
        return None
    found = resolve(label, nodes, resolution, work.encode)
    work.resolved[label] = found.figures
    if found.groups is None:
        return None
    aliases = kept(found.groups.aliases)
    work.write(f"aliases/{label}", aliases, ALIAS)
    work.write(f"matches/{label}", found.groups.matches, match_schema(resolution))
    work.write(f"records/{label}", found.groups.records, RECORD)
    return aliases


def join_across(work: Work, spark: SparkSession) -> None:
    """Write relationships between nodes of two labels that are the same, and what explains them."""
    for number, across in enumerate(work.graph.across):
        first, second = across.between
        if absent := [label for label in across.between if label not in work.lookups]:
            work.left_out[f"across[{number}]"] = f"without {', '.join(absent)}"
            continue
        edge = EdgeType(first, across.type, second)
        if edge in work.edges:
            raise ConfigError(f"across[{number}]: relationships.{work.edges[edge]} already gives {edge.name}")
        nodes = {label: spark.read.parquet(location(work.draft, f"nodes/{label}")) for label in across.between}
        found = resolve_across(f"across[{number}]", nodes, across, work.encode)
        work.resolved[edge.name] = found.figures
        work.write(
            f"relationships/{edge.name}", same_as(found.matches, edge), relationship_schema(SAME, interaction=False)
        )
        work.write(f"matches/{edge.name}", found.matches, match_schema(across))
        work.write(f"records/{edge.name}", found.records, RECORD)
        work.edges[edge] = f"across[{number}]"
