"""What an ingest reads off the whole graph once it is written: motifs and features."""

from dataclasses import asdict
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from kg.clean_work import Work
from kg.errors import ConfigError
from kg.features import features
from kg.motifs import SCHEMA, check_account, find_motif
from kg.schema import EdgeType, feature_schema
from kg.spark import location


def make_motifs(work: Work, spark: SparkSession) -> None:
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
        work.write(f"relationships/{edge.name}", found, SCHEMA)
        check_account(edge.name, work.motifs[edge], work.draft.tables[f"relationships/{edge.name}"])


def make_features(work: Work, spark: SparkSession) -> None:
    """Compute the features of all nodes from the relationships that are written, motifs left out."""
    wanted = work.graph.features
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


def motif_edges(work: Work) -> dict[str, dict[str, Any]]:
    """What the next stages must know of the motifs' edge types, by name."""
    found: dict[str, dict[str, Any]] = {}
    for edge in sorted(work.motifs):
        through = work.graph.motifs[edge.type].relationships
        found[edge.name] = {"interaction": False, "target": False, "domain": None, "key": None}
        if any(work.graph.relationships[name].interaction for name in through):
            # It holds what users did in the test's time too: nothing is learned from it.
            found[edge.name]["derived"] = True
    return found


def motif_figures(work: Work) -> dict[str, dict[str, int]]:
    """The motifs' accounts by table."""
    return {f"relationships/{edge.name}": asdict(of) for edge, of in work.motifs.items()}
