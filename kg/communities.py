"""Communities by label propagation: each node takes over the community that most of its neighbours are in.

GraphX's label propagation (GraphFrames' `labelPropagation`) lets all nodes change at once: between users and items,
communities then swap sides for ever, and ties fall by the order in which messages arrive. Here those nodes change
at once that are not each other's neighbours, and ties fall by an order of the communities: Cordasco & Gargano (2010),
Community detection via semi-synchronous label propagation algorithms. So one graph gives one result, in any order of
its rows.
"""

from collections.abc import Iterable, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.network import both_ways
from kg.spark import kept

Links = Iterable[tuple[str, str]]


def communities(vertices: DataFrame, pairs: DataFrame, linked: Links, rounds: int) -> DataFrame:
    """``id`` and ``community``: ``Label:key`` of the community's first member by label and key, for every vertex.

    `vertices` have ``id``, ``label``, ``key``; `pairs` (``src`` < ``dst``) come once each; `linked` are the labels
    that relationships join. A node keeps its community while no other one has more of its neighbours; of several
    with most, the one with the greatest hash of community and round is taken: one order for all nodes, for a group
    whose members each broke ties in their own way came apart (users and films who all know one another did).
    """
    turns = colours({label for ends in linked for label in ends}, linked)
    colour = F.coalesce(*[F.when(F.col("label") == label, turn) for label, turn in turns.items()], F.lit(0))
    state = kept(vertices.select("id", "label", "key", colour.alias("colour"), F.col("id").alias("community")))
    votes = kept(both_ways(pairs).join(state.select(F.col("id").alias("dst"), "colour"), on="dst", how="inner"))
    inside = {turns[a] for a, b in linked if a == b}
    for number in range(rounds):
        moved = 0
        for turn in sorted(set(turns.values())):
            # Two neighbours of one label that change at once would swap: half of them do, another half each round.
            for half in (0, 1) if turn in inside else (None,):
                state = _voted(state, votes, turn, half, number).localCheckpoint(eager=False)
                moved += state.where("moved").count()
        if not moved:
            break
    first = F.min(F.struct("label", "key")).alias("first")
    named = state.groupBy("community").agg(first).select("community", F.concat_ws(":", "first.label", "first.key"))
    return (
        state.select("id", "community")
        .join(named.toDF("community", "name"), on="community", how="inner")
        .select("id", F.col("name").alias("community"))
    )


def colours(labels: Iterable[str], linked: Links) -> Mapping[str, int]:
    """A number for each label, other than those of the labels it is linked with."""
    found: dict[str, int] = {}
    for label in sorted(labels):
        taken = {found.get(b if a == label else a) for a, b in linked if label in (a, b)}
        found[label] = next(number for number in range(len(found) + 1) if number not in taken)
    return found


def _voted(state: DataFrame, votes: DataFrame, turn: int, half: int | None, number: int) -> DataFrame:
    """The state after those nodes have voted whose turn it is; ``moved`` says which changed."""

    def due(node: str) -> Column:
        at = F.col("colour") == turn
        return at if half is None else at & (F.xxhash64(F.col(node), F.lit(number)).bitwiseAND(1) == half)

    voters = state.select(F.col("id").alias("src"), "community")
    cast = votes.where(due("dst")).join(voters, on="src", how="inner")
    ballots = cast.select(F.col("dst").alias("id"), "community", F.lit(1).alias("votes"), F.lit(0).alias("own"))
    own = state.where(due("id")).select("id", "community", F.lit(0).alias("votes"), F.lit(1).alias("own"))
    sums = F.sum("votes").alias("votes"), F.max("own").alias("own")
    counted = ballots.unionAll(own).groupBy("id", "community").agg(*sums)
    tie = F.xxhash64("community", F.lit(number)).alias("tie")
    most = counted.groupBy("id").agg(F.max(F.struct("votes", "own", tie, "community")).alias("most"))
    chosen = state.join(most.select("id", F.col("most.community").alias("chosen")), on="id", how="left")
    community = F.coalesce("chosen", "community")
    moved = (community != F.col("community")).alias("moved")
    return chosen.select("id", "label", "key", "colour", community.alias("community"), moved)
