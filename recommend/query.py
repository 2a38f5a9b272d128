"""Answers one user from Neo4j alone: vectors, paths and popularity by Cypher, ranked by the pointer node's numbers.

The node ``(:EmbeddingVersion)`` holds, beside the vectors' provenance, the small ranker and the names it needs
(`pointer`, given to `kg.write_back.write_back` as `extra`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kg.cypher import SIDE_LABELS, VERSION, quote
from kg.errors import StoreError, UnknownIdError
from kg.interactions import Catalogue
from kg.schema import EdgeType
from kg.store import Store
from recommend.attributes import TITLES
from recommend.explain import POPULAR, VECTOR, because
from recommend.online import OnlineRanker

NEAREST, REACHED, MOST_POPULAR = 300, 200, 100
"""Candidates by source."""
OTHERS = 200
"""Users walked through per liked item: bounds the walk at items that everybody likes."""
PROPERTY = "recommender"
"""The pointer's property that holds the ranker."""


@dataclass(frozen=True)
class Answer:
    """One recommended item."""

    item_id: str
    domain: str
    title: str
    score: float
    """Probability among the user's candidates in the domain."""
    reason: str


def pointer(catalogue: Catalogue, ranker: OnlineRanker, edges: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What the pointer node must hold for `recommend_for`; `edges` is the snapshot's ``meta["edges"]``."""
    types = {edge: EdgeType.parse(edge).type for edge, of in edges.items() if of["interaction"]}
    state = {
        "ranker": json.loads(ranker.to_json()),
        "user": catalogue.user_label,
        "domains": catalogue.domains,
        "seen": sorted(set(types.values())),
        "liked": sorted({name for edge, name in types.items() if edges[edge]["target"]}),
    }
    return {PROPERTY: json.dumps(state)}


@dataclass(frozen=True)
class _Graph:
    """What the pointer says, and the pieces of Cypher that follow from it."""

    store: Store
    index: str
    slot: str
    user_label: str
    domains: dict[str, str]
    seen: str
    liked: str
    ranker: OnlineRanker

    @classmethod
    def open(cls, store: Store) -> "_Graph":
        """Read the pointer; `StoreError` before anything was published."""
        found = store.rows(f"MATCH (v:{VERSION}) RETURN v.item_index, v.property, v.{PROPERTY}")
        if not found or not found[0][2]:
            raise StoreError("the graph holds no published embeddings with a ranker: run the flow first")
        index, name, text = found[0]
        state = json.loads(text)
        seen, liked = ("|".join(quote(t) for t in state[key]) for key in ("seen", "liked"))
        return cls(store, index, name, state["user"], state["domains"], seen, liked, OnlineRanker(**state["ranker"]))

    @property
    def user(self) -> str:
        """Matches the user."""
        return f"MATCH (u:{quote(self.user_label)} {{key: $user}})"

    @property
    def latest(self) -> str:
        """The user's latest positives, and other users who liked them."""
        return (
            f"{self.user}-[r:{self.liked}]->(l) WHERE coalesce(r.positive, true) "
            "WITH u, l ORDER BY r.last DESC, l.key LIMIT $latest "
            f"CALL (l) {{ MATCH (l)<-[a:{self.liked}]-(w) WHERE coalesce(a.positive, true) RETURN w LIMIT $others }} "
            f"MATCH (w)-[b:{self.liked}]->(i) WHERE coalesce(b.positive, true)"
        )

    @property
    def unseen(self) -> str:
        """Whether the user has no event with i."""
        return f"NOT EXISTS {{ (u)-[:{self.seen}]->(i) }}"

    def rows(self, query: str, **params: object) -> list[list[Any]]:
        """Run a query."""
        return self.store.rows(query, params)


def _title(node: str) -> str:
    """Cypher for a node's name. By subscript: a property that no node has would draw a warning."""
    values = [f"toString({node}['{name}'])" for name in TITLES]
    return f"coalesce({', '.join(values)}, {node}.key)"


def recommend_for(store: Store, user_key: str, domain: str | None = None, n: int = 10) -> list[Answer]:
    """The n best items of a user in a domain (default: in each domain), seen items left out, best first.

    Candidates are the nearest in z, the ends of paths user, item, user, item from the latest positives and, for a
    user without positives, the most popular items; p is the softmax of the small ranker over them. Popular items are
    walked through at most `OTHERS` users, so at those paths are fewer than the ranker was trained with.

    Raises `UnknownIdError` for a user that the graph lacks, `StoreError` before anything was published,
    `ValueError` for an unknown domain.
    """
    graph = _Graph.open(store)
    if domain is not None and domain not in graph.domains.values():
        raise ValueError(f"unknown domain {domain!r}, expected one of {sorted(set(graph.domains.values()))}")
    user = _user(graph, user_key)
    paths = _candidates(graph, user)
    details = _details(graph, list(paths))
    answers: list[tuple[str, Answer, str]] = []
    for name in [domain] if domain else dict.fromkeys(graph.domains.values()):
        mine = [d for d in details if graph.domains.get(d["label"]) == name]
        answers += _ranked(graph.ranker, user, mine, paths, name, n)
    return _explained(graph, user_key, answers)


@dataclass(frozen=True)
class _User:
    """Whom the answer is for."""

    key: str
    vector: list[float] | None
    cold: bool
    """Without a positive event"""


def _user(graph: _Graph, key: str) -> _User:
    found = graph.rows(
        f"{graph.user} RETURN u[$property], "
        f"EXISTS {{ (u)-[r:{graph.liked}]->() WHERE coalesce(r.positive, true) }}",
        user=key, property=graph.slot,
    )  # fmt: skip
    if not found:
        raise UnknownIdError(graph.user_label, "a key that the graph holds", f"{key!r} is unknown")
    return _User(key, found[0][0], not found[0][1])


def _candidates(graph: _Graph, user: _User) -> dict[str, int]:
    """Paths to each candidate, by element id."""
    params = {"user": user.key, "latest": graph.ranker.latest, "others": OTHERS}
    reached = graph.rows(
        f"{graph.latest} AND {graph.unseen} RETURN elementId(i), count(*) AS paths ORDER BY paths DESC LIMIT $limit",
        **params,
        limit=REACHED * len(graph.domains),
    )
    paths = {str(item): int(count) for item, count in reached}
    if user.vector:
        nearest = graph.rows(
            f"{graph.user} CALL db.index.vector.queryNodes($index, $k, $vector) YIELD node AS i "
            f"WITH u, i WHERE {graph.unseen} RETURN elementId(i)",
            user=user.key, index=graph.index, vector=user.vector, k=NEAREST * len(graph.domains),
        )  # fmt: skip
        paths = {str(row[0]): 0 for row in nearest} | paths
    if user.cold:
        for label in graph.domains:
            popular = graph.rows(
                f"{graph.user} MATCH (i:{quote(label)}) WHERE {graph.unseen} RETURN elementId(i) "
                f"ORDER BY COUNT {{ (i)<-[:{graph.liked}]-() }} DESC, i.key LIMIT $limit",
                user=user.key, limit=MOST_POPULAR,
            )  # fmt: skip
            paths = {str(row[0]): 0 for row in popular} | paths
    return paths


def _details(graph: _Graph, ids: list[str]) -> list[dict[str, Any]]:
    """Key, label, title, vector and popularity of items."""
    rows = graph.rows(
        "UNWIND $ids AS id MATCH (i) WHERE elementId(i) = id "
        f"RETURN id, i.key, [x IN labels(i) WHERE x IN $labels][0], {_title('i')}, i[$property], "
        f"COUNT {{ (i)<-[r:{graph.liked}]-() WHERE coalesce(r.positive, true) }}",
        ids=ids, labels=list(graph.domains), property=graph.slot,
    )  # fmt: skip
    return [dict(zip(("id", "key", "label", "title", "vector", "popular"), row, strict=True)) for row in rows]


def _ranked(
    ranker: OnlineRanker,
    user: _User,
    items: list[dict[str, Any]],
    paths: dict[str, int],
    domain: str,
    n: int,
) -> list[tuple[str, Answer, str]]:
    """The best of one domain's candidates: element id, answer, and what to say when no liked item explains it."""
    if not items:
        return []
    # An item without a vector, or a user, came after the last run: it is judged by paths and popularity.
    vector = np.array(user.vector or [0.0] * ranker.width)
    z = np.array([item["vector"] or [0.0] * ranker.width for item in items])
    walked = np.log1p([paths[item["id"]] for item in items])
    signals = np.stack([z @ vector, walked, np.log1p([item["popular"] for item in items])], axis=1)
    p = ranker.probabilities(vector, z, signals, user.cold)
    otherwise = POPULAR if user.cold else VECTOR
    order = np.lexsort(([item["key"] for item in items], -p))[:n]
    return [
        (items[at]["id"], Answer(items[at]["key"], domain, items[at]["title"], float(p[at]), ""), otherwise)
        for at in order
    ]


def _explained(graph: _Graph, user: str, answers: list[tuple[str, Answer, str]]) -> list[Answer]:
    """The answers with reasons: the liked item from which most paths lead to the answer, and what they share."""
    strongest: dict[str, list[Any]] = {}
    for row in graph.rows(
        f"{graph.latest} AND elementId(i) IN $ids WITH i, l, count(*) AS paths ORDER BY paths DESC, l.key "
        "WITH i, collect(l)[0] AS l "
        f"RETURN elementId(i), elementId(l), {_title('l')}, [x IN labels(l) WHERE x IN $labels][0]",
        user=user, latest=graph.ranker.latest, others=OTHERS, ids=[a[0] for a in answers], labels=list(graph.domains),
    ):  # fmt: skip
        strongest[row[0]] = row[1:]
    shared = {
        row[0]: (row[1], row[2])
        for row in graph.rows(
            "UNWIND $pairs AS pair MATCH (i) WHERE elementId(i) = pair[0] MATCH (l) WHERE elementId(l) = pair[1] "
            "CALL (i, l) { MATCH (i)-[a]-(e)-[b]-(l) WHERE type(a) = type(b) "
            f"AND NOT e:{SIDE_LABELS['user']} AND NOT e:{SIDE_LABELS['item']} "
            f"RETURN type(a) AS relation, {_title('e')} AS name ORDER BY COUNT {{ (e)--() }}, name LIMIT 1 }} "
            "RETURN pair[0], relation, name",
            pairs=[[item, row[0]] for item, row in strongest.items()],
        )
    }
    found = []
    for item, answer, otherwise in answers:
        reason = otherwise
        if item in strongest:
            _, title, label = strongest[item]
            foreign = graph.domains[label] if graph.domains[label] != answer.domain else None
            reason = because(title, foreign, shared.get(item))
        found.append(Answer(answer.item_id, answer.domain, answer.title, answer.score, reason))
    return found
