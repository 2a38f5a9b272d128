"""What catalogue CLIP and language adaptation bring on MovieLens-1M's films: real titles, plots, posters and people.

    CROSSGRAPH_DATA=… python -m tests.benchmarks.adaptation --films 600 --steps 40 --json adaptation.json

*Catalogue CLIP*: how often a held-out poster finds its title and plot, and the other way round. *Language adaptation*:
how often a held-out text finds its neighbourhood; and Recall@20 of films that nobody is taken to have seen (a seeded
fifth), ranked for the users who did by the nearness of their text to the mean of the user's other films, before and
after. No interaction takes part in learning. Choose on one --seed, report others.

With --model and --pretrained a named open_clip model is measured, as it is and with projections learned on top.
"""

import argparse
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

import flows  # noqa: F401 - it tells OpenMP's threads how to wait, before anything loads torch
from embed.adapter import merge
from embed.clip import Pairs, Projections, fit
from embed.clip_text import ClipText, text_tower
from embed.config import Adaptation, CatalogueClip, ImageModel, TextModel
from embed.image import ImageEncoder
from embed.language import train
from embed.text import TextEncoder
from embed.verbalise import Corpus, Item
from tests.benchmarks.options import data_folder

COLD, TOP = 0.2, 20
FACTS = {
    "Director": "directed by",
    "Actors": "acted by",
    "Writer": "written by",
    "Genre": "in genre",
    "Country": "made in",
    "Production": "made by",
}


@dataclass(frozen=True)
class Films:
    """Some films, and who saw which of them."""

    items: list[Item]
    posters: list[Path]
    seen: sparse.csr_matrix
    """CSR[users, films] of ones, all ratings of the split."""


def read(folder: Path, count: int, seed: int) -> Films:
    """So many films with a poster, drawn from a seed."""
    split, films = folder / "ml1m-splits" / "colakg", folder / "ml1m"
    new = {old: int(index) for old, index in _lines(split / "item_map.txt")}
    rows = {}
    for line in (films / "omdb_metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        poster = films / "posters" / f"{row['movie_id']}.jpg"
        if str(row["movie_id"]) in new and poster.exists():
            rows[new[str(row["movie_id"])]] = (_item(row), poster)
    chosen = sorted(np.random.default_rng(seed).permutation(sorted(rows))[:count].tolist())
    pairs = [
        (int(user), int(film))
        for side in ("train", "test")
        for user, *seen in _lines(split / f"{side}.txt")
        for film in seen
        if film
    ]
    user, film = np.array(pairs).T
    found = sparse.csr_matrix((np.ones(len(user), np.float32), (user, film)), (user.max() + 1, len(new)))
    items, posters = zip(*(rows[index] for index in chosen), strict=True)
    return Films(list(items), list(posters), found[:, chosen])


def _lines(path: Path) -> list[list[str]]:
    return [line.split(" ") for line in path.read_text("utf-8").splitlines() if line]


def _item(row: dict[str, Any]) -> Item:
    told = {name: (row.get(name) or "").replace("N/A", "") for name in [*FACTS, "Plot"]}
    facts = [
        f"{words} {name}"
        for field, words in FACTS.items()
        for name in dict.fromkeys(part.strip() for part in re.sub(r"\([^)]*\)", "", told[field]).split(","))
        if name
    ]
    text = "\n".join(filter(None, (row["ml_title"], told["Plot"])))
    return Item(text, tuple(facts), tuple(f"{row['ml_title']} — {fact}" for fact in facts))


def clip(films: Films, image: ImageModel, config: CatalogueClip, seed: int) -> dict[str, Any]:
    """Figures of `embed.clip.fit` on the films' posters and texts."""
    started, tower = time.perf_counter(), text_tower(image, "auto")
    images, good = ImageEncoder(image).encode([str(path) for path in films.posters])
    texts = tower.encode([item.text for item in films.items])
    encoded = time.perf_counter()
    trained = Projections.as_trained(texts.shape[1], tower.logit_scale) if isinstance(tower, ClipText) else None
    _, figures = fit(Pairs(images[good], texts[good]), config, seed, trained)
    return figures | {"seconds_encoding": encoded - started, "seconds": time.perf_counter() - encoded}


def language(films: Films, config: Adaptation, seed: int) -> dict[str, Any]:
    """Figures of `embed.language.train`, and Recall@20 of cold films before and after."""
    encoder = TextEncoder(TextModel(max_length=64))
    texts, items = [item.text for item in films.items], tuple(item for item in films.items if item.facts)
    before, started = cold(films, encoder.encode(texts), seed), time.perf_counter()
    adapter = train(encoder, Corpus(items, tuple(texts)), config, seed)
    seconds = time.perf_counter() - started
    merge(encoder, adapter)
    after = cold(films, encoder.encode(texts), seed)
    return adapter.figures | {"cold_before": before, "cold_after": after, "seconds": seconds}


def cold(films: Films, vectors: np.ndarray, seed: int) -> float:
    """Recall@20 of the cold films, by the cosine with the mean of the user's other films."""
    count = len(vectors)
    hidden = np.random.default_rng([seed, 1]).permutation(count)[: round(COLD * count)]
    warm = np.setdiff1d(np.arange(count), hidden)
    truth = films.seen[:, hidden].toarray()
    asked = (truth.sum(1) > 0) & (films.seen[:, warm].sum(1).A1 > 0)
    scores = (films.seen[:, warm] @ vectors[warm])[asked] @ vectors[hidden].T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    found = np.take_along_axis(truth[asked], best, axis=1).sum(1)
    return float((found / truth[asked].sum(1)).mean())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--pretrained")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    films = read(data_folder(), given.films, given.seed)
    image = ImageModel(model=given.model, pretrained=given.pretrained)
    found: dict[str, Any] = {"films": len(films.items), "seed": given.seed}
    found["clip"] = clip(films, image, CatalogueClip(), given.seed)
    _tell("catalogue CLIP", found["clip"])
    found["language"] = language(films, Adaptation(steps=given.steps, batch_size=given.batch), given.seed)
    _tell("language adaptation", found["language"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


def _tell(title: str, figures: dict[str, Any]) -> None:
    print(title)
    for name, value in figures.items():
        print(f"  {name:18} {json.dumps(value)}", flush=True)


if __name__ == "__main__":
    main()
