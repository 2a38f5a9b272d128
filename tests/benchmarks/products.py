"""Products of shops with known truth: one thing under titles of other words, orders and spellings, and other prices.

Hard negatives: variants of one line that differ in the model number or in one word.
"""

import random

import pyarrow as pa

from tests.benchmarks.persons import Names

SCHEMA = pa.schema(
    [
        *(pa.field(n, pa.string()) for n in ("id", "title", "brand")),
        pa.field("price", pa.float64()),
        pa.field("truth", pa.string()),
    ]
)
FILLERS = "new original genuine premium set pack free shipping sale".split()


def products(records: int, seed: int) -> pa.Table:
    """So many records under `SCHEMA`."""
    rng = random.Random(seed)
    vocabulary = random.Random(2000 + seed)
    brands, nouns, words = (Names(vocabulary, size, (2, 3)) for size in (500, 200, 2000))
    rows: list[tuple[str | float | None, ...]] = []
    number = 0
    while len(rows) < records:
        brand, noun = brands.draw(rng), nouns.draw(rng)
        letters, digits = "".join(rng.choices("ABCDEFGHKLMNPRSTVX", k=2)), rng.randint(100, 99_999)
        line = [words.draw(rng) for _ in range(rng.randint(1, 3))]
        for variant in range(rng.choices((1, 2, 3), (75, 15, 10))[0]):
            # A variant is the next model, with a word of its own and a price of its own.
            price = round(rng.uniform(5, 900), 2)
            own = [*line, *([words.draw(rng)] if variant else [])]
            for _ in range(rng.choices((1, 2, 3), (50, 35, 15))[0]):
                rows.append(
                    (
                        f"i{rng.getrandbits(48):012x}",
                        *_offer(rng, brand, noun, own, (letters, digits + variant), price),
                        f"t{number}",
                    )
                )
            number += 1
    rng.shuffle(rows)
    columns = list(zip(*rows[:records], strict=True))
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _offer(
    rng: random.Random, brand: str, noun: str, line: list[str], model: tuple[str, int], price: float
) -> tuple[str, str | None, float | None]:
    letters, digits = model
    code = (
        [rng.choice([f"{letters}{digits}", f"{letters}-{digits}", f"{letters} {digits}"])] if rng.random() < 0.9 else []
    )
    words = [_mistyped(rng, word) for word in [*line, noun] if rng.random() < 0.95]
    words += rng.sample(FILLERS, rng.choices((0, 1, 2), (60, 30, 10))[0])
    if rng.random() < 0.3:
        rng.shuffle(words)
    title = " ".join([*([brand] if rng.random() < 0.8 else []), *words, *code])
    shown = price * rng.uniform(0.95, 1.05) if rng.random() < 0.5 else price
    named = brand.upper() if rng.random() < 0.3 else brand
    return title, named if rng.random() < 0.85 else None, round(shown, 2) if rng.random() < 0.9 else None


def _mistyped(rng: random.Random, word: str) -> str:
    at = rng.randrange(len(word))
    return word[:at] + word[at + 1 :] if rng.random() < 0.04 else word
