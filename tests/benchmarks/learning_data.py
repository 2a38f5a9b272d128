"""The real data of the embedding benchmarks as snapshots and splits, read straight from files: no Spark, no Neo4j.

Every rating or reading counts as a positive. Films bring title, plot, poster, what OMDb says of them as properties, and
people, genres, languages, countries and companies as entities; books bring a title, and a few an author or a series.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embed.snapshot import Snapshot
from kg.events import catalogue
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType, node_schema
from kg.tables import Output, Workspace

VALIDATION = 0.1
"""Share of the training rows that choose: drawn from a seed, or with times each user's latest."""
TEST = 0.2
ENTITIES = {
    "Director": ("DIRECTED_BY", "Person"),
    "Writer": ("WRITTEN_BY", "Person"),
    "Actors": ("ACTED_BY", "Person"),
    "Genre": ("IN_GENRE", "Genre"),
    "Language": ("IN_LANGUAGE", "Language"),
    "Country": ("MADE_IN", "Country"),
    "Production": ("MADE_BY", "Company"),
}
"""OMDb's fields of comma-separated names: the relation and the label of what they name."""
BOOK_RELATIONS = [("PUBLISHED_ON", "Date"), ("WRITTEN_BY", "Author"), ("IN_SERIES", "Series"), ("IN_GENRE", "Genre")]
PROPERTIES = {
    "year": pa.int64(),
    "minutes": pa.int64(),
    "rated": pa.string(),
    "wins": pa.float64(),
    "nominated": pa.float64(),
}
Row = dict[str, Any]
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Data:
    """A snapshot with its interactions in three parts."""

    graph: Output
    snapshot: Snapshot
    catalogue: Catalogue
    train: Interactions
    valid: Interactions
    test: Interactions

    @classmethod
    def of(cls, graph: Output, side: np.ndarray, rows: Interactions) -> "Data":
        """`side` is 0 for train, 1 for valid, 2 for test."""
        parts = (rows.take(side == part) for part in range(3))
        return cls(graph, Snapshot.read(graph), catalogue(graph), *parts)


def ml1m(root: Path, workspace: Workspace, seed: int = 0) -> Data:
    """The split of ``ml1m-splits/colakg``, a seeded tenth of its train as validation; no times."""
    folder, splits = root / "ml1m", root / "ml1m-splits" / "colakg"
    films = {new: old for old, new in _table(splits / "item_map.txt")}
    people = {new: old for old, new in _table(splits / "user_map.txt")}
    users = {
        key: {"age": int(age), "gender": gender, "occupation": job}
        for key, gender, age, job, _ in _table(folder / "users.dat", "\t")
    }
    described = {key: row for key, row in _described(folder).items() if key in set(films.values())}
    posters = {key: folder / "posters" / f"{key}.jpg" for key in described}
    train, test = (_lists(splits / f"{side}.txt", people, films) for side in ("train", "test"))
    graph = _films(workspace, users, described, posters, train)
    return Data.of(graph, _drawn(len(train), len(test), seed), _indexed(graph, train + test))


def ml100k(root: Path, workspace: Workspace, seed: int = 0) -> Data:
    """Each user's last fifth by time as test, the tenth before it as validation: nothing is drawn."""
    folder = root / "ml100k-kg"
    users = {
        key: {"age": int(age), "gender": gender, "occupation": job}
        for key, age, gender, job, _ in _table(folder / "ml-100k.user", "\t", skip=1)
    }
    other = {row[0]: row[1] for row in _table(folder / "ml100k_to_ml1m.tsv", "\t", skip=1)}
    described = _described(folder)
    posters = {key: root / "ml1m" / "posters" / f"{other[key]}.jpg" for key in described if other.get(key)}
    ratings = _table(folder / "ml-100k.inter", "\t", skip=1)
    pairs = [(row[0], row[1]) for row in ratings]
    graph = _films(workspace, users, described, posters, pairs)
    rows = replace(
        _indexed(graph, pairs),
        weight=np.array([row[2] for row in ratings], np.float32),
        time=(np.array([row[3] for row in ratings], float) * 1e6).astype(np.int64),
    )
    return Data.of(graph, _latest(rows), rows)


def book_crossing(root: Path, workspace: Workspace, seed: int = 0) -> Data:
    """Titled books, a seeded tenth of their train as validation; no times, no pictures."""
    folder = root / "book-crossing"
    names = {row[1]: " ".join(row[2:]) or row[0] for row in _table(folder / "entity_list.txt", " ", skip=1)}
    books = {row[1]: {"text": " ".join(row[2:])} for row in _table(folder / "item_list.txt", " ", skip=1)}
    users = {row[1]: {} for row in _table(folder / "user_list.txt", " ", skip=1)}
    relations: dict[EdgeType, Pairs] = {}
    for head, relation, tail in _table(folder / "kg_final.txt", " "):
        type_, label = BOOK_RELATIONS[int(relation)]
        relations.setdefault(EdgeType("Book", type_, label), []).append((head, names[tail]))
    train, test = (_lists(folder / f"{side}.txt") for side in ("train", "test"))
    nodes = {"User": _nodes(users, {}), "Book": _nodes(books, {})}
    graph = _write(workspace, nodes, relations, EdgeType("User", "READ", "Book"), train, "books")
    return Data.of(graph, _drawn(len(train), len(test), seed), _indexed(graph, train + test))


def _films(
    workspace: Workspace, users: dict[str, Row], films: dict[str, Row], posters: dict[str, Path], rated: Pairs
) -> Output:
    relations: dict[EdgeType, Pairs] = {}
    for field, (type_, label) in ENTITIES.items():
        named = [(key, name) for key, film in films.items() for name in _names(film.get(field))]
        relations.setdefault(EdgeType("Movie", type_, label), []).extend(named)
    movies = {key: _properties(film) | {"image": _existing(posters.get(key))} for key, film in films.items()}
    nodes = {
        "User": _nodes(users, {"age": pa.int64(), "gender": pa.string(), "occupation": pa.string()}),
        "Movie": _nodes(movies, PROPERTIES),
    }
    return _write(workspace, nodes, relations, EdgeType("User", "RATED", "Movie"), rated, "movies")


def _properties(film: Row) -> Row:
    """What a film's row in OMDb comes to; wins and nominations as logarithms, for a few films have a hundred."""
    awards = film["Awards"] or ""
    return {
        "text": "\n".join(filter(None, (film["ml_title"], film["Plot"]))),
        "year": next(map(int, re.findall(r"\d{4}", film["Year"] or "")), None),
        "minutes": next(map(int, re.findall(r"(\d+) min", film["Runtime"] or "")), None),
        "rated": film["Rated"],
        "wins": np.log1p(_sum(r"Won (\d+)|(\d+) win", awards)),
        "nominated": np.log1p(_sum(r"for (\d+)|(\d+) nomination", awards)),
    }


def _sum(pattern: str, text: str) -> int:
    return sum(int(one or other) for one, other in re.findall(pattern, text))


def _names(field: str | None) -> list[str]:
    """Names of a comma-separated field, without what stands in brackets behind them, each once."""
    found = (re.sub(r"\s*\(.*", "", name).strip() for name in re.sub(r"\([^)]*\)", "", field or "").split(","))
    return list(dict.fromkeys(filter(None, found)))


def _existing(path: Path | None) -> str | None:
    return str(path) if path and path.exists() else None


def _described(folder: Path) -> dict[str, Row]:
    """OMDb's rows by film; its "N/A" is a null."""
    rows = map(json.loads, (folder / "omdb_metadata.jsonl").read_text("utf-8").splitlines())
    return {
        str(row["movie_id"]): {name: None if value == "N/A" else value for name, value in row.items()} for row in rows
    }


def _table(path: Path, separator: str = " ", skip: int = 0) -> list[list[str]]:
    lines = path.read_text("utf-8").splitlines()[skip:]
    return [line.split(separator) for line in lines if line]


def _lists(path: Path, users: Mapping[str, str] | None = None, items: Mapping[str, str] | None = None) -> Pairs:
    """The pairs of a file with "user item item …" a line, its numbers translated to ids."""
    return [
        (users[row[0]] if users else row[0], items[item] if items else item)
        for row in _table(path)
        for item in filter(None, row[1:])
    ]


def _drawn(train: int, test: int, seed: int) -> np.ndarray:
    """Sides of `train` rows, a seeded share of them 1, then `test` rows."""
    side = np.repeat([0, 2], [train, test])
    side[np.random.default_rng([seed, 10]).permutation(train)[: round(VALIDATION * train)]] = 1
    return side


def _latest(rows: Interactions) -> np.ndarray:
    """Sides by each user's order in time."""
    order = np.lexsort((rows.item, rows.time, rows.user))
    counts = np.bincount(rows.user, minlength=rows.n_users)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    tests, valids = (np.ceil(np.round(share * counts, 9)).astype(int) for share in (TEST, VALIDATION))
    left = np.repeat(counts - tests, counts)
    side = np.empty(len(rows), int)
    side[order] = np.where(place >= left, 2, np.where(place >= left - np.repeat(valids, counts), 1, 0))
    return side


def _nodes(rows: Mapping[str, Row], properties: Mapping[str, pa.DataType]) -> pa.Table:
    schema = node_schema([pa.field(name, type_) for name, type_ in properties.items()])
    return pa.Table.from_pylist([{"key": key, **row} for key, row in sorted(rows.items())], schema=schema)


def _write(
    workspace: Workspace,
    nodes: dict[str, pa.Table],
    relations: dict[EdgeType, Pairs],
    target: EdgeType,
    events: Pairs,
    domain: str,
) -> Output:
    """Stage `graph`, as an export from Neo4j would make it; entities are whom relations name."""
    for label in sorted({edge.target for edge in relations}):
        names = {name for edge, pairs in relations.items() if edge.target == label for _, name in pairs}
        nodes[label] = _nodes({name: {} for name in names}, {})
    rows = {label: {key: i for i, key in enumerate(table["key"].to_pylist())} for label, table in nodes.items()}
    stage = workspace.stage("graph")
    with stage.create(f"benchmark {domain}") as draft:
        for label, table in nodes.items():
            draft.write(f"nodes/{label}", table, table.schema)
        for edge, pairs in (relations | {target: events}).items():
            ends = [[rows[edge.source][a] for a, _ in pairs], [rows[edge.target][b] for _, b in pairs]]
            table = pa.table(dict(zip(("src", "dst"), ends, strict=True)))
            draft.write(f"edges/{edge.name}", table, table.schema)
        sides = {"User": ("user", None), target.target: ("item", domain)}
        kind = {label: sides.get(label, ("entity", None)) for label in nodes}
        draft.meta["labels"] = {label: {"side": side, "domain": of} for label, (side, of) in kind.items()}
        draft.meta["edges"] = {
            edge.name: {
                "interaction": edge == target,
                "target": edge == target,
                "domain": domain if edge == target else None,
            }
            for edge in (*relations, target)
        }
    output = stage.current()
    assert output is not None
    return output


def _indexed(graph: Output, pairs: Pairs) -> Interactions:
    nodes = catalogue(graph)
    [items] = nodes.items.values()
    n = len(pairs)
    return Interactions(
        nodes.users.encode([user for user, _ in pairs]),
        items.encode([item for _, item in pairs]),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        np.ones(n, bool),
        nodes.n_users,
        nodes.n_items,
    )
