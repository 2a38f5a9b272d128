"""Raw sources to the tables of the graph: read, map, merge, resolve, check ends, aggregate, account, write.

`ingest` fills a draft with ``nodes/<Label>``, ``relationships/<From>-<TYPE>-<To>``, ``events/…``,
``aliases/<Label>``, ``features/<Label>``, ``quarantine/<source>`` and ``corrections/<source>``, its meta and figures.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kg import accounts
from kg import correct as corrected
from kg.errors import ConfigError
from kg.features import features
from kg.forgotten import NOTHING, Forgotten
from kg.forgotten_rows import withhold
from kg.k_core import k_core
from kg.landing import Landing
from kg.mapping import Mapped
from kg.motifs import SCHEMA as MOTIF
from kg.motifs import MotifAccount, check_account, find_motif
from kg.nodes import map_nodes, merge
from kg.project import Graph, Relationship
from kg.reading import NO_CORRECTIONS, Corrections, in_threads, read_sources
from kg.relationships import edge_type, events, find_ends, map_relationship, relationship_table
from kg.resolve import fold, resolve
from kg.resolve_across import resolve_across, same_as
from kg.resolve_pairs import match_schema
from kg.resolve_records import Encode
from kg.schema import (
    ALIAS,
    CORRECTION,
    EVENT,
    QUARANTINE,
    RECORD,
    SAME,
    EdgeType,
    feature_schema,
    node_schema,
    relationship_schema,
)
from kg.source_rows import Rows
from kg.spark import carried, conform, kept, location, translated, write, write_split
from kg.tables import Draft
from kg.triples import Triples, entities, map_triples, triple_table

Progress = Callable[[str], None]


@dataclass
class _Work:
    """What one ingest has made so far; tables are registered as they are written."""

    graph: Graph
    draft: Draft
    encode: Encode | None = None
    forgotten: Forgotten = NOTHING
    rows: dict[str, Rows] = field(default_factory=dict)
    mapped: list[Mapped] = field(default_factory=list)
    lookups: dict[str, DataFrame] = field(default_factory=dict)
    """By label: ``raw`` (a key or an alias of it) and ``key``."""
    left_out: dict[str, str] = field(default_factory=dict)
    keys: dict[str, DataFrame] = field(default_factory=dict)
    """The nodes' keys by label."""
    edges: dict[EdgeType, str] = field(default_factory=dict)
    """The relationship part that each edge type comes from."""
    resolved: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What resolution did, by label or edge type."""
    motifs: dict[EdgeType, MotifAccount] = field(default_factory=dict)

    def write(self, table: str, frame: DataFrame, schema: pa.Schema) -> None:
        """Write a table, checked against its schema."""
        write(self.draft, table, conform(frame, schema))
        self.draft.adopt(table, schema)

    def write_split(self, frame: DataFrame, column: str, schema: pa.Schema) -> None:
        """Write the tables that a column names, checked against their schema."""
        for table in write_split(self.draft, frame, column):
            self.draft.adopt(table, schema)


def ingest(
    graph: Graph,
    spark: SparkSession,
    draft: Draft,
    progress: Progress = lambda step: None,
    *,
    landing: Landing | None = None,
    encode: Encode | None = None,
    forgotten: Forgotten = NOTHING,
    corrections: Corrections = NO_CORRECTIONS,
) -> None:
    """Write all tables of a graph, its meta and figures into a draft; `progress` is told each step.

    `landing` holds what sources delivered; default: the one of the draft's workspace. `encode` makes the vectors of
    texts that resolution compares by cosine. Rows that make or name a node of `forgotten` are filtered, `corrections`
    are read in place of rows, by source.

    Raises `SourceError` (a source is missing or lacks a column), `ConfigError` (an expression is wrong),
    `QuarantineError` (too many bad rows; they are in the draft) or `MachineError` (disk or memory); the draft is then
    worth nothing else.
    """
    with translated("ingest"):
        work = _Work(graph, draft, encode, forgotten)
        progress("reading sources")
        landing = landing or Landing(draft.filesystem, f"{draft.path.rsplit('/', 2)[0]}/landing")
        _read(work, spark, landing, corrections)
        progress("counting rows")
        sources = accounts.read_accounts(work.rows)
        progress("mapping nodes")
        _nodes(work)
        progress("mapping relationships")
        _relationships(work)
        if graph.across:
            progress("resolving across labels")
            _across(work, spark)
        progress("accounting for every row")
        tables = _account(work, sources)
        progress("finding motifs")
        _motifs(work, spark)
        progress("computing features")
        _features(work, spark)
        draft.meta |= _meta(work)
        draft.figures |= accounts.figures(sources, tables) | {"left_out": work.left_out, "resolution": work.resolved}
        draft.figures["motifs"] = {f"relationships/{edge.name}": asdict(of) for edge, of in work.motifs.items()}


def _read(work: _Work, spark: SparkSession, landing: Landing, corrections: Corrections) -> None:
    work.rows, left_out = read_sources(work.graph, spark, landing, corrections, work.forgotten)
    work.left_out |= left_out
    present = {name: of for name, of in corrections.items() if of and name in work.rows}
    found = [corrected.correction_table(work.rows[name], of) for name, of in present.items()]
    for table in found:
        work.draft.write(f"corrections/{table['source'][0].as_py()}", table, CORRECTION)
    work.draft.figures["corrections"] = corrected.counts(found)


def _nodes(work: _Work) -> None:
    resolved = [label for label in work.graph.nodes if label in work.graph.resolution]
    in_threads(
        lambda label: _label(work, label), [label for label in work.graph.nodes if label not in resolved], resolved
    )


def _label(work: _Work, label: str) -> None:
    """Map, merge and resolve a label's nodes, and write them with their aliases."""
    mapped = map_nodes(work.graph, label, work.rows, work.forgotten)
    if mapped is None:
        work.left_out[f"nodes.{label}"] = f"without {', '.join(work.graph.sources_of(work.graph.nodes[label]))}"
        return
    mapped.frame = kept(mapped.frame)
    nodes = kept(merge(mapped))
    lookup = keys = nodes.select("key", F.col("key").alias("raw"))
    if (aliases := _aliases(work, label, nodes)) is not None:
        nodes = kept(fold(nodes, aliases, [*(f.name for f in mapped.properties), "text", "image"]))
        keys = nodes.select("key", F.col("key").alias("raw"))
        lookup = keys.unionAll(aliases.select("key", F.col("alias").alias("raw")))
    work.write(mapped.table, nodes, node_schema(mapped.properties))
    rows = work.draft.tables[mapped.table] + work.draft.tables.get(f"aliases/{label}", 0)
    work.keys[label], work.lookups[label] = keys, carried(lookup, rows)
    work.mapped.append(mapped)


def _aliases(work: _Work, label: str, nodes: DataFrame) -> DataFrame | None:
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


def _across(work: _Work, spark: SparkSession) -> None:
    """Relationships between nodes of two labels that are the same."""
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


def _relationships(work: _Work) -> None:
    parts = work.graph.relationships
    for name, part in parts.items():
        if absent := _absent(work, part):
            work.left_out[f"relationships.{name}"] = f"without {', '.join(absent)}"
    made = [name for name in parts if f"relationships.{name}" not in work.left_out]
    in_threads(lambda name: _relationship(work, name, parts[name]), [name for name in made if not parts[name].triples])
    others = {name: _triples(work, name, parts[name]) for name in made if parts[name].triples}
    for label in sorted({found.label for found in others.values()} - set(work.graph.nodes)):
        ends = [entities(found) for found in others.values() if found.label == label]
        nodes = kept(reduce(DataFrame.unionAll, ends).distinct())
        empty = F.lit(None).cast("string")
        work.write(f"nodes/{label}", nodes.withColumns({"text": empty, "image": empty}), node_schema([]))
        work.keys[label] = nodes


def _absent(work: _Work, part: Relationship) -> list[str]:
    """The labels or sources without which a relationship part cannot be made."""
    labels = [label for label in (*(part.from_ or {}), *(part.to or {})) if label not in work.lookups]
    sources = work.graph.sources_of(part)
    return labels + ([] if any(name in work.rows for name in sources) else sources)


def _relationship(work: _Work, name: str, part: Relationship) -> None:
    edge = edge_type(name, part)
    mapped = map_relationship(work.graph, name, work.rows, work.forgotten)
    found = find_ends(mapped, work.lookups[edge.source], work.lookups[edge.target])
    found.frame = kept(found.frame)
    if part.k_core:
        found = k_core(found, part.k_core)
        found.frame = kept(found.frame)
    if part.interaction:
        work.write(f"events/{edge.name}", events(found, edge), EVENT)
    schema = relationship_schema(mapped.properties, interaction=part.interaction)
    work.write(found.table, relationship_table(found, edge, part), schema)
    work.mapped.append(found)
    work.edges[edge] = name


def _triples(work: _Work, name: str, part: Relationship) -> Triples:
    found = map_triples(work.graph, name, work.rows, work.lookups, work.forgotten)
    if taken := [edge for edge in found.edges if edge in work.edges]:
        raise ConfigError(f"relationships.{name}: relationships.{work.edges[taken[0]]} already gives {taken[0].name}")
    schema = relationship_schema(found.mapped.properties, interaction=False)
    work.write_split(triple_table(found, part.key), "table", schema)
    work.edges |= dict.fromkeys(found.edges, name)
    work.mapped += [found.mapped, *([found.links] if found.links else [])]
    return found


def _account(work: _Work, sources: dict[str, accounts.SourceAccount]) -> dict[str, accounts.TableAccount]:
    """Close the accounts, write the quarantine and see that it holds no more than it may."""
    if work.forgotten:
        withhold(work.mapped)
    written = work.draft.tables
    tables = {part.table: written.get(part.table, 0) for part in work.mapped if not part.table.startswith("links/")}
    for edge, name in work.edges.items():
        if name in work.graph.relationships and work.graph.relationships[name].triples:
            tables[f"relationships/{name}"] += written[f"relationships/{edge.name}"]
    aliases = {f"nodes/{label}": written.get(f"aliases/{label}", 0) for label in work.lookups}
    found = accounts.close_accounts(sources, work.rows, work.mapped, tables, aliases)
    if any(source.quarantined for source in sources.values()):
        rows = kept(accounts.quarantine(work.rows, work.mapped))
        work.write_split(rows, "to", QUARANTINE)
        accounts.check_limits(work.graph, sources, rows)
    return found


def _motifs(work: _Work, spark: SparkSession) -> None:
    """Find the motifs in the relationships that are written, and write those that they make."""
    reader = spark.read.schema("from_key string, to_key string, positive boolean")
    for name, wanted in work.graph.motifs.items():
        through = [edge for edge, part in work.edges.items() if part in wanted.relationships]
        touching = sorted(edge for edge in through if wanted.between in (edge.source, edge.target))
        if not touching:
            work.left_out[f"motifs.{name}"] = f"without {', '.join(wanted.relationships)}"
            continue
        edge = EdgeType(wanted.between, name, wanted.between)
        if edge in work.edges:
            raise ConfigError(f"motifs.{name}: relationships.{work.edges[edge]} already gives {edge.name}")
        rows = [(of, reader.parquet(location(work.draft, f"relationships/{of.name}"))) for of in touching]
        found, work.motifs[edge] = find_motif(wanted, edge, rows)
        work.write(f"relationships/{edge.name}", found, MOTIF)
        check_account(edge.name, work.motifs[edge], work.draft.tables[f"relationships/{edge.name}"])


def _features(work: _Work, spark: SparkSession) -> None:
    wanted = work.graph.features
    if not wanted.columns:
        return
    paths: dict[tuple[str, str], list[str]] = {}
    for edge in work.edges:
        paths.setdefault((edge.source, edge.target), []).append(location(work.draft, f"relationships/{edge.name}"))
    reader = spark.read.schema("from_key string, to_key string")
    edges = {ends: reader.parquet(*tables) for ends, tables in paths.items()}
    found = features(work.keys, edges, wanted)
    work.write_split(
        found.withColumn("to", F.concat(F.lit("features/"), "label")).drop("label"),
        "to",
        feature_schema(wanted.columns),
    )


def _meta(work: _Work) -> dict[str, Any]:
    """What the next stages must know of labels and edge types."""
    graph, interactions = work.graph, work.graph.interactions
    domains = {label: node.domain for label, node in graph.nodes.items()}
    labels: dict[str, dict[str, Any]] = {}
    for label in sorted(work.keys):
        node = graph.nodes.get(label)
        labels[label] = {
            "side": graph.side(label),
            "domain": domains.get(label),
            "key": node.key if node else None,
            "sources": graph.sources_of(node) if node else [],
        }
    edges: dict[str, dict[str, Any]] = {}
    for edge in sorted(work.edges):
        part, described = interactions.get(edge), graph.relationships.get(work.edges[edge])
        edges[edge.name] = {
            "interaction": part is not None,
            "target": part is not None and part.target,
            "domain": domains.get(edge.target) if part else None,
            "key": list(described.key) if described else None,
        }
    for edge in sorted(work.motifs):
        through = graph.motifs[edge.type].relationships
        edges[edge.name] = {"interaction": False, "target": False, "domain": None, "key": None}
        if any(graph.relationships[name].interaction for name in through):
            # It holds what users did in the test's time too: nothing is learned from it.
            edges[edge.name]["derived"] = True
    return {"labels": labels, "edges": edges}
