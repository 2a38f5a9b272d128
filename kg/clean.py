"""Raw sources to the tables of the graph: read, map, merge, resolve, check ends, aggregate, account, write.

`ingest` fills a draft with ``nodes/<Label>``, ``relationships/<From>-<TYPE>-<To>``, ``events/…``,
``aliases/<Label>``, ``features/<Label>``, ``quarantine/<source>`` and ``corrections/<source>``, its meta and figures;
of what exists in Neo4j already also ``places/nodes/<Label>`` and ``places/relationships/…``.
"""

from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

from kg import accounts
from kg import correct as corrected
from kg.clean_features import make_features, make_motifs, motif_edges, motif_figures
from kg.clean_nodes import join_across, make_nodes
from kg.clean_relationships import make_relationships
from kg.clean_work import Work
from kg.existing_config import existing_meta
from kg.forgotten import NOTHING, Forgotten
from kg.forgotten_rows import withhold
from kg.landing import Landing
from kg.project import Graph
from kg.reading import NO_CORRECTIONS, Corrections, read_sources
from kg.resolve_records import Encode
from kg.schema import CORRECTION, QUARANTINE
from kg.sources import are_small
from kg.spark import interpreted, kept, translated
from kg.tables import Draft

Progress = Callable[[str], None]


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
    landing = landing or Landing(draft.filesystem, f"{draft.path.rsplit('/', 2)[0]}/landing")
    with translated("ingest"), interpreted(spark, are_small(graph.sources, landing)):
        work = Work(graph, draft, encode, forgotten)
        progress("reading sources")
        _read(work, spark, landing, corrections)
        progress("counting rows")
        sources = accounts.read_accounts(work.rows)
        progress("mapping nodes")
        make_nodes(work)
        progress("mapping relationships")
        make_relationships(work)
        if graph.across:
            progress("resolving across labels")
            join_across(work, spark)
        progress("accounting for every row")
        tables = _account(work, sources)
        work.drop_rows()
        if graph.motifs:
            progress("finding motifs")
            make_motifs(work, spark)
        if graph.features.columns:
            progress("computing features")
            make_features(work, spark)
        draft.meta |= _meta(work)
        draft.figures |= accounts.figures(sources, tables) | {
            "left_out": work.left_out,
            "resolution": work.resolved,
            "motifs": motif_figures(work),
        }


def _read(work: Work, spark: SparkSession, landing: Landing, corrections: Corrections) -> None:
    work.rows, left_out = read_sources(work.graph, spark, landing, corrections, work.forgotten, work.store)
    work.left_out |= left_out
    present = {name: of for name, of in corrections.items() if of and name in work.rows}
    found = [corrected.correction_table(work.rows[name], of) for name, of in present.items()]
    for table in found:
        work.draft.write(f"corrections/{table['source'][0].as_py()}", table, CORRECTION)
    work.draft.figures["corrections"] = corrected.counts(found)


def _account(work: Work, sources: dict[str, accounts.SourceAccount]) -> dict[str, accounts.TableAccount]:
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


def _meta(work: Work) -> dict[str, Any]:
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
            **work.existing.get(label, {}),
        }
    edges: dict[str, dict[str, Any]] = {}
    for edge in sorted(work.edges):
        part, described = interactions.get(edge), graph.relationships.get(work.edges[edge])
        edges[edge.name] = {
            "interaction": part is not None,
            "target": part is not None and part.target,
            "domain": domains.get(edge.target) if part else None,
            "key": list(described.key) if described else None,
            **existing_meta(described, ()),
        }
    return {"labels": labels, "edges": edges | motif_edges(work)}
