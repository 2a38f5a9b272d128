"""Why an item was recommended, as a sentence: from the snapshot's data alone, no model is asked."""

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from kg.interactions import Catalogue
from recommend.attributes import Attributes
from recommend.candidates import SIGNALS
from recommend.filters import history

OPAQUE = re.compile(r"^\S*\d\S*$")
"""Keys like ``m.04ctbw8``: no name for a reader."""
POPULAR, VECTOR = "popular now", "close to your tastes"


class Similar(Protocol):
    """Item-to-item weights."""

    def __call__(self, liked: Int[np.ndarray, " h"], items: Int[np.ndarray, " n"]) -> Float[np.ndarray, "h n"]:
        """How much each liked item speaks for each of the items; not positive: not at all."""
        ...


def humanise(relation: str) -> str:
    """``HAS_GENRE``, ``GENRE_OF`` and ``film.film.genre`` as ``genre``: the words after the last dot."""
    words = re.split(r"[_\s]+", relation.rsplit(".", 1)[-1].lower())
    if len(words) > 1 and words[0] in {"has", "in"}:
        words = words[1:]
    return " ".join(words[:-1] if len(words) > 1 and words[-1] == "of" else words)


def shares(relation: str, name: str) -> str:
    """What two items share: ``same genre, Drama``; ``both directed by Ada Dahl``; names for no reader are left out."""
    words, opaque = humanise(relation), bool(OPAQUE.match(name))
    if words.endswith(" by"):
        return f"both {words} {'the same' if opaque else name}"
    return f"same {words}" + ("" if opaque else f", {name}")


def because(title: str, domain: str | None, shared: tuple[str, str] | None) -> str:
    """The sentence for a liked item: its name, its domain where that is another one, and (relation, name) shared."""
    found = f"because you liked «{title}»" + (f" ({domain})" if domain else "")
    if not shared:
        return f"{found}: liked by the same people"
    return f"{found}: {shares(*shared)}"


def shared_facet(attributes: Attributes, liked: int, item: int) -> tuple[str, str] | None:
    """Relation and name of the rarest facet of both items, one with a readable name first; None: nothing shared."""
    common = np.intersect1d(history(attributes.matrix, liked), history(attributes.matrix, item))
    if not len(common):
        return None
    opaque = [bool(OPAQUE.match(attributes.names[facet])) for facet in common]
    facet = common[np.lexsort((attributes.frequency[common], opaque))[0]]
    return attributes.relations[facet], attributes.names[facet]


@dataclass(frozen=True)
class Explainer:
    """Sentences over one catalogue."""

    catalogue: Catalogue
    attributes: Attributes | None
    similar: Similar

    def title(self, item: int) -> str:
        """An item's name, its key where it has none."""
        return self.attributes.titles[item] if self.attributes else str(self.catalogue.item_keys[item])

    def domain(self, item: int) -> str:
        """An item's domain."""
        return self.catalogue.domains[str(self.catalogue.item_labels[item])]

    def reasons(
        self, liked: Int[np.ndarray, " h"], items: Int[np.ndarray, " n"], sources: Int[np.ndarray, " n"]
    ) -> list[str]:
        """One sentence an item: the liked item that speaks most for it and what both share.

        Where none does, it is what proposed the item (`sources`, bits of `recommend.candidates.SIGNALS`).
        """
        if not len(items):
            return []
        strongest, weights = np.zeros(len(items), np.int64), np.zeros(len(items))
        if len(liked):
            found = self.similar(liked, items)
            strongest, weights = found.argmax(0), found.max(0)
        return [
            self._because(int(liked[strongest[n]]), int(item)) if weights[n] > 0 else _proposed(int(sources[n]))
            for n, item in enumerate(items)
        ]

    def _because(self, liked: int, item: int) -> str:
        foreign = self.domain(liked) if self.domain(liked) != self.domain(item) else None
        shared = shared_facet(self.attributes, liked, item) if self.attributes else None
        return because(self.title(liked), foreign, shared)


def _proposed(sources: int) -> str:
    """A sentence for an item that no liked item speaks for."""
    names = [name for place, name in enumerate(SIGNALS) if sources >> place & 1]
    if "content" in names:
        return "close in text or picture to what you liked"
    return POPULAR if "popular" in names or "vector" not in names else VECTOR
