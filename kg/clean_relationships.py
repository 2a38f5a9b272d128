"""The relationships of an ingest: mapped, their ends found, aggregated, written; triples with the nodes they name."""

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kg.clean_work import Work
from kg.errors import ConfigError
from kg.existing_rows import RELATIONSHIP_PLACE, relationship_places
from kg.k_core import k_core
from kg.project import Relationship, edge_type
from kg.reading import in_threads
from kg.relationships import events, find_ends, identified, map_relationship, relationship_table
from kg.schema import EVENT, node_schema, relationship_schema
from kg.spark import kept
from kg.triples import Triples, entities, map_triples, triple_table


def make_relationships(work: Work) -> None:
    """Write the relationships of every part whose ends and source are there, and the nodes that triples alone know."""
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


def _absent(work: Work, part: Relationship) -> list[str]:
    """The labels or sources without which a relationship part cannot be made."""
    labels = [label for label in (*(part.from_ or {}), *(part.to or {})) if label not in work.lookups]
    sources = work.graph.sources_of(part)
    return labels + ([] if any(name in work.rows for name in sources) else sources)


def _relationship(work: Work, name: str, part: Relationship) -> None:
    edge = edge_type(name, part)
    mapped = map_relationship(work.graph, name, work.rows, work.forgotten)
    found = find_ends(mapped, work.lookups[edge.source], work.lookups[edge.target])
    # Where `events` and `relationship_table` want the rows of a pair.
    found.frame = work.keep(found.frame, part, "from_key", "to_key")
    if part.k_core:
        found = k_core(found, part.k_core)
        found.frame = work.keep(found.frame, part)
    if part.interaction:
        work.write(f"events/{edge.name}", events(found, edge), EVENT)
    schema = relationship_schema(mapped.properties, interaction=part.interaction)
    work.write(found.table, relationship_table(found, edge, part), schema)
    if part.existing:
        places = relationship_places(identified(found, edge), found, part)
        work.write(f"places/{found.table}", places, RELATIONSHIP_PLACE)
    work.mapped.append(found)
    work.edges[edge] = name


def _triples(work: Work, name: str, part: Relationship) -> Triples:
    found = map_triples(work.graph, name, work.rows, work.lookups, work.forgotten)
    if taken := [edge for edge in found.edges if edge in work.edges]:
        raise ConfigError(f"relationships.{name}: relationships.{work.edges[taken[0]]} already gives {taken[0].name}")
    schema = relationship_schema(found.mapped.properties, interaction=False)
    work.write_split(triple_table(found, part.key), "table", schema)
    work.edges |= dict.fromkeys(found.edges, name)
    work.mapped += [found.mapped, *([found.links] if found.links else [])]
    return found
