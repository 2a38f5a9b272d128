"""A made data set of the form that `tests.benchmarks.ranking` reads, as large as it must take.

    python -m tests.benchmarks.ranking_data /tmp/large --users 30000 --items 41000 --pairs 1000000

Users and items have places in a space of a few dimensions and a Zipf-like popularity; of each user's items a tenth is
for validation and a fifth for the test, as in the published splits.
"""

import argparse
from pathlib import Path

import numpy as np

WIDTH, TASTE = 12, 2.5
"""Dimensions of the space, and how much nearness counts beside popularity."""
BLOCK = 256


def made(users: int, items: int, pairs: int, seed: int) -> list[np.ndarray]:
    """Each user's items, different ones, in random order: the largest of noisy affinities (Gumbel's top-k)."""
    rng = np.random.default_rng(seed)
    user, item = (rng.normal(size=(n, WIDTH)).astype(np.float32) for n in (users, items))
    popularity = -0.8 * np.log(np.arange(1, items + 1, dtype=np.float32))
    sizes = np.clip(rng.lognormal(np.log(pairs / users) - 0.5, 1.0, users).astype(int), 4, items // 4)
    found = []
    for start in range(0, users, BLOCK):
        block = slice(start, min(start + BLOCK, users))
        noise = rng.gumbel(size=(block.stop - start, items)).astype(np.float32)
        affinity = TASTE / WIDTH**0.5 * (user[block] @ item.T) + popularity + noise
        most = int(sizes[block].max())
        best = np.argpartition(-affinity, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(affinity, best, 1), axis=1)
        rows = np.take_along_axis(best, order, 1)
        found += [rng.permutation(row[:size]) for row, size in zip(rows, sizes[block], strict=True)]
    return found


def split(rows: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """By file: the first fifth of each user's items to test, the next tenth to validate by, the rest to train on."""
    parts: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for row in rows:
        test, valid, train = np.split(row, [len(row) // 5, len(row) // 5 + len(row) // 10])
        for name, part in (("train", train), ("valid", valid), ("test", test)):
            parts[name].append(part)
    return parts


def write(parts: dict[str, list[np.ndarray]], folder: Path) -> None:
    """One line a user."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        lines = (" ".join(map(str, [user, *row])) for user, row in enumerate(rows))
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("users", 30_000), ("items", 41_000), ("pairs", 1_000_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    write(split(made(given.users, given.items, given.pairs, given.seed)), given.folder)


if __name__ == "__main__":
    main()
