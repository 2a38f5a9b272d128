"""The demo's data: two domains with shared users, written from planted tastes by one seed.

Every person likes two themes, every film and book has one, and both domains draw from the same themes, so
what a person did with films tells what books to recommend. `truth.json` holds what was planted, and how many
dirty rows of which kind.
"""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.demo_covers import draw_cover
from flows.demo_words import load_words

VERSION = 1
TRUTH = "truth.json"
SEED = 7
# Two years, in seconds since 1970.
START, END = 1_640_995_200, 1_704_067_200
WORDS = load_words()
THEMES = WORDS.themes
GENRES = sorted({theme.genre for theme in THEMES})


@dataclass
class Domain:
    """One catalogue: its rows and, beside them, what was planted."""

    letter: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    mixes: list[np.ndarray] = field(default_factory=list)
    popularity: np.ndarray = field(default_factory=lambda: np.zeros(0))
    released: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def ids(self) -> list[str]:
        """External ids by row."""
        return [f"{self.letter}{number:04d}" for number in range(1, len(self.mixes) + 1)]

    @property
    def themes(self) -> list[str]:
        """The main theme of each item."""
        return [THEMES[int(mix.argmax())].name for mix in self.mixes]


@dataclass(frozen=True)
class Person:
    """Who somebody is, under which id in which domain, and what they like."""

    film_id: str | None
    book_id: str | None
    name: str | None
    email: str | None
    city: str
    born: int
    taste: np.ndarray
    active: bool


def is_generated(folder: Path, seed: int = SEED, scale: float = 1.0) -> bool:
    """Whether `folder` holds, complete, what `generate` would write."""
    try:
        truth = json.loads((folder / TRUTH).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return bool(truth.get("made_by") == [VERSION, seed, scale])


def generate(folder: Path, seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """Write the demo's sources into `folder` and return the truth; the same bytes for the same arguments.

    `scale` multiplies the 600 persons, 500 films and 400 books. Files of ours in the folder are replaced.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRUTH).unlink(missing_ok=True)
    films = _domain("f", max(40, round(500 * scale)), rng)
    books = _domain("b", max(36, round(400 * scale)), rng)
    people = _people(max(40, round(600 * scale)), rng)
    _describe(films, WORDS.film_titles, WORDS.film_sentences, "director", 48, rng)
    _describe(books, WORDS.book_titles, WORDS.book_sentences, "author", 60, rng)
    watched = _events(people, films, "film_id", 30, rng)
    read = _events(people, books, "book_id", 26, rng)
    _write_covers(folder / "covers", [films, books], rng)
    dirty = {
        "films": _write_films(folder / "films.csv", films.rows),
        "books": _write_books(folder / "books.jsonl", books.rows),
        "users_films": _write_users(folder / "users_films.csv", people, "film_id"),
        "users_books": _write_users(folder / "users_books.csv", people, "book_id"),
        "film_ratings": _write_ratings(folder / "film_ratings.parquet", watched),
        "book_reads": _write_reads(folder / "book_reads.tsv", read),
        "covers": {"quarantined": 1},
    }
    truth = {
        "made_by": [VERSION, seed, scale],
        "themes": [theme.name for theme in THEMES],
        "likes": {i: _likes(p) for p in people for i in (p.film_id, p.book_id) if i},
        "items": {
            "films": dict(zip(films.ids, films.themes, strict=True)),
            "books": dict(zip(books.ids, books.themes, strict=True)),
        },
        "doubles": [[p.film_id, p.book_id] for p in people if p.film_id and p.book_id and p.film_id != p.book_id],
        "dirty": dirty,
    }
    (folder / TRUTH).write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def _likes(person: Person) -> list[str]:
    return [THEMES[number].name for number in np.argsort(-person.taste, kind="stable")[:2]]


def _domain(letter: str, size: int, rng: np.random.Generator) -> Domain:
    domain = Domain(letter)
    for number in range(size):
        mix = np.zeros(len(THEMES))
        mix[number % len(THEMES)] = 0.8
        mix[rng.integers(len(THEMES))] += 0.2
        domain.mixes.append(mix)
    ranks = rng.permutation(size) + 1
    domain.popularity = 1.0 / (ranks + 8.0) ** 0.7
    # One item in twenty-five was never touched by anybody: it can be found by its content alone.
    domain.popularity[rng.choice(size, size // 25, replace=False)] = 0.0
    # Three quarters were there before the first event; the rest comes out during the two years.
    domain.released = np.where(rng.random(size) < 0.75, START, rng.integers(START, END, size))
    return domain


def _people(size: int, rng: np.random.Generator) -> list[Person]:
    doubles, quiet = min(15, size // 6), max(2, size // 50)
    found = []
    for number in range(1, size + 1):
        both = number <= doubles or rng.random() < 0.5
        films = both or rng.random() < 0.5
        first, last = _pick(WORDS.first_names, rng), _pick(WORDS.last_names, rng)
        named = number <= doubles or rng.random() > 0.03
        user = f"u{number:04d}"
        book_user = f"r{number:04d}" if number <= doubles else user
        found.append(
            Person(
                film_id=user if films else None,
                book_id=book_user if both or not films else None,
                name=f"{first} {last}" if named else None,
                email=f"{first}.{last}{number}@example.org".lower() if named else None,
                city=_pick(WORDS.cities, rng),
                born=int(rng.integers(1940, 2006)),
                taste=_taste(rng),
                active=number <= size - quiet,
            )
        )
    return found


def _taste(rng: np.random.Generator) -> np.ndarray:
    taste = rng.dirichlet(np.full(len(THEMES), 0.5)) * 0.2
    first, second = rng.choice(len(THEMES), 2, replace=False)
    taste[first] += 0.5
    taste[second] += 0.3
    return np.asarray(taste)


def _describe(
    domain: Domain,
    titles: tuple[str, ...],
    sentences: tuple[str, ...],
    maker: str,
    makers: int,
    rng: np.random.Generator,
) -> None:
    """Fill `domain.rows`: a title of its own, two or three sentences, a maker who keeps to a theme."""
    taken: set[str] = set()
    for item, mix in zip(domain.ids, domain.mixes, strict=True):
        main = int(mix.argmax())
        title = _title(_pick(titles, rng), mix, rng)
        while title in taken:
            title = f"{title}, {_title('the {trait} {thing}', mix, rng)}"
        taken.add(title)
        chosen = rng.permutation(len(sentences))[: rng.integers(2, 4)]
        keeps_to = main if rng.random() < 0.9 else int(rng.integers(len(THEMES)))
        known = keeps_to + len(THEMES) * int(rng.integers(makers // len(THEMES)))
        domain.rows.append(
            {
                f"{'film' if domain.letter == 'f' else 'book'}_id": item,
                "title": title,
                "description": " ".join(_sentence(sentences[number], mix, rng) for number in chosen)
                if rng.random() > 0.03
                else "",
                maker: f"{WORDS.first_names[known % 30]} {WORDS.last_names[(known * 7 + known // 30) % 30]}",
                "genre": THEMES[main].genre if rng.random() < 0.85 else _pick(GENRES, rng),
                "year": int(rng.integers(1950, 2022)),
            }
        )


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _sentence(template: str, mix: np.ndarray, rng: np.random.Generator) -> str:
    text = _write(template, mix, rng)
    return text[:1].upper() + text[1:]


def _title(template: str, mix: np.ndarray, rng: np.random.Generator) -> str:
    words = _write(template, mix, rng).split()
    small = {"a", "an", "the", "of", "and", "on", "for", "from", "to", "in"}
    return " ".join(w if n and w in small else w[:1].upper() + w[1:] for n, w in enumerate(words))


def _write(template: str, mix: np.ndarray, rng: np.random.Generator) -> str:
    theme = THEMES[int(np.searchsorted(mix.cumsum(), rng.random()).clip(0, len(mix) - 1))]
    one, two = rng.permutation(len(theme.things))[:2]
    thing, other = theme.things[one], theme.things[two]
    hero, place = _pick(theme.heroes, rng), _pick(theme.places, rng)
    text = template.format(
        trait=_pick(theme.traits, rng),
        thing=thing,
        things=_plural(thing),
        other=other,
        others=_plural(other),
        hero=hero,
        who=_bare(hero),
        place=place,
        where=_bare(place),
        deed=_pick(theme.deeds, rng),
    )
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)


def _bare(words: str) -> str:
    return re.sub(r"^(a|an|the|two) ", "", words)


def _plural(word: str) -> str:
    if word.endswith(("s", "sh", "ch", "x")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _events(
    people: list[Person], domain: Domain, side: str, mean: int, rng: np.random.Generator
) -> list[tuple[str, str, int, int]]:
    """(user, item, rating 1 to 5, time) of everybody: liked themes more often, with higher ratings.

    Tastes drift: the first liked theme comes earlier in a person's time, the second later.
    """
    mixes, ids = np.stack(domain.mixes), domain.ids
    found = []
    for person in people:
        user = getattr(person, side)
        if user is None or not person.active:
            continue
        match = mixes @ person.taste
        draw = domain.popularity * (0.02 + match) ** 2
        count = int(np.clip(rng.lognormal(np.log(mean), 0.45), 8, 90))
        count = min(count, len(draw) // 3)
        items = rng.choice(len(draw), count, replace=False, p=draw / draw.sum())
        first, second = np.argsort(-person.taste, kind="stable")[:2]
        lean = mixes[items, second] - mixes[items, first]
        # One in sixteen comes near the end: nothing can be learned of them from the time before.
        late = rng.random() < 1 / 16
        begin = END - 0.06 * rng.random() * (END - START) if late else START + rng.beta(1.0, 1.6) * (END - START)
        moment = np.clip(rng.beta(1.2, 1.2, count) + 0.25 * lean, 0, 1)
        time = np.maximum(begin + moment * (END - begin), domain.released[items] + rng.exponential(864_000, count))
        liked = 1.1 + 3.5 * np.sqrt(match[items] / (match.max() + 1e-9)) + rng.normal(0, 0.7, count)
        ratings = np.clip(np.round(liked), 1, 5).astype(int)
        found += [
            (user, ids[item], int(rating), int(at)) for item, rating, at in zip(items, ratings, time, strict=True)
        ]
    return sorted(found, key=lambda event: (event[3], event[0], event[1]))


# files, each with its dirty rows -------------------------------------------------------------------------


def _write_covers(folder: Path, domains: list[Domain], rng: np.random.Generator) -> None:
    """A picture an item, but for one in twenty; the first film's is cut off in the middle."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for domain in domains:
        for item, mix in zip(domain.ids, domain.mixes, strict=True):
            picture = draw_cover(THEMES[int(mix.argmax())], rng)
            if rng.random() < 0.95 or item == "f0001":
                (folder / f"{item}.jpg").write_bytes(picture)
    broken = folder / "f0001.jpg"
    broken.write_bytes(broken.read_bytes()[:400])


def _write_csv(path: Path, rows: list[dict[str, Any]], separator: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_films(path: Path, clean: list[dict[str, Any]]) -> dict[str, int]:
    rows = [dict(row) for row in clean]
    rows += [dict(row) for row in clean[10:16]]  # delivered twice
    rows += [row | {"description": "", "year": ""} for row in clean[20:23]]  # a poorer row of the same film
    rows += [clean[30] | {"film_id": "", "title": title} for title in ("Nameless", "Also Nameless")]
    rows += [clean[31] | {"film_id": f"x{n}", "title": f"Out of Time {n}", "year": 2190 + n} for n in range(2)]
    for number, year in ((3, "MCMXC"), (4, "unknown"), (5, "19x4")):
        rows[number]["year"] = year
    _write_csv(path, rows)
    return {"duplicate": 6, "merged": 3, "null_key": 2, "rule": 2, "coerced": 3, "quarantined": 4}


def _write_books(path: Path, clean: list[dict[str, Any]]) -> dict[str, int]:
    lines = [json.dumps(row, ensure_ascii=False) for row in [*clean, *clean[7:11]]]
    lines += [json.dumps(clean[12] | {"book_id": "x1", "title": None}), '{"book_id": "x2", "title": "Cut o']
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return {"duplicate": 4, "null": 1, "malformed": 1, "quarantined": 2}


def _write_users(path: Path, people: list[Person], side: str) -> dict[str, int]:
    rows = []
    for person in people:
        user = getattr(person, side)
        if user is None:
            continue
        name, email = person.name, person.email
        if user.startswith("r") and name and email:  # the same person, written another way
            name, email = "  ".join(name.upper().split()), f" {email.title()} "
        rows.append(
            {
                "user_id": user,
                "name": name or "",
                "email": email or "",
                "city": person.city,
                "born": person.born,
            }
        )
    rows += [dict(row) for row in rows[20:22]]
    if side == "film_id":
        rows.append(rows[0] | {"user_id": "", "email": ""})
        _write_csv(path, rows)
        return {"duplicate": 2, "null_key": 1, "quarantined": 1}
    rows[25] |= {"born": "n/a"}
    _write_csv(path, rows)
    return {"duplicate": 2, "coerced": 1, "quarantined": 0}


def _write_ratings(path: Path, events: list[tuple[str, str, int, int]]) -> dict[str, int]:
    user, item, _, time = events[100]
    dirty = [
        *events[50:70],
        *((user, f"x9{n}", 5, time + n) for n in range(5)),
        *((f"nobody{n}", item, 4, time + n) for n in range(3)),
        *((events[200 + n][0], events[200 + n][1], 11, events[200 + n][3] + 5) for n in range(7)),
    ]
    users, items, ratings, times = zip(*[*events, *dirty], strict=True)
    instants = pa.array([datetime.fromtimestamp(at, UTC) for at in times], pa.timestamp("us", "UTC"))
    columns = {
        "user_id": users,
        "film_id": items,
        "rating": pa.array(ratings, pa.int32()),
        "rated_at": instants,
    }
    pq.write_table(pa.table(columns), path)
    return {"duplicate": 20, "unknown_end": 8, "rule": 7, "quarantined": 15}


def _write_reads(path: Path, events: list[tuple[str, str, int, int]]) -> dict[str, int]:
    rows: list[dict[str, Any]] = [
        {"user_id": user, "book_id": item, "rating": rating, "read_at": at} for user, item, rating, at in events
    ]
    rows += [dict(row) for row in rows[30:45]]
    rows += [rows[60 + n] | {"book_id": f"x8{n}"} for n in range(3)]
    for number in range(4):
        rows[80 + number]["rating"] = "five"
    _write_csv(path, rows, "\t")
    return {"duplicate": 15, "unknown_end": 3, "bad_type": 4, "quarantined": 7}
