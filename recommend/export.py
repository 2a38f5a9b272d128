"""The batch export: the best items of all users by target domain, with reasons, as Parquet and CSV."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from kg.interactions import Catalogue
from kg.schema import RECOMMENDATION
from kg.tables import Draft
from recommend.explain import Explainer
from recommend.filters import history
from recommend.measure import target_domains
from recommend.model import Recommender, TopN

TABLE = "recommendations"
CSV = "recommendations.csv"
BLOCK = 2048
"""Users held at once."""


def explainer(recommender: Recommender) -> Explainer:
    """Sentences by the weights of the recommender's own item-to-item model."""
    return Explainer(recommender.catalogue, recommender.signals.attributes, recommender.signals.knn.between)


def batches(
    recommender: Recommender, n: int, domains: list[str], model: str, users: np.ndarray | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows under `kg.schema.RECOMMENDATION`, a user's domains together, in bounded memory; default: all users."""
    catalogue = recommender.catalogue
    explain = explainer(recommender)
    users = np.arange(catalogue.n_users) if users is None else users
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        for domain in domains:
            found = recommender.recommend(block, domain, n)
            yield _batch(recommender, explain, found, domain, model)


def _batch(recommender: Recommender, explain: Explainer, found: TopN, domain: str, model: str) -> pa.RecordBatch:
    """The rows of some users in one domain; padding is left out."""
    row, place = np.nonzero(found.items >= 0)
    items = found.items[row, place]
    reasons: list[str] = []
    for position, user in enumerate(found.users):
        kept = found.items[position] >= 0
        liked = history(recommender.signals.matrix, int(user))
        reasons += explain.reasons(liked, found.items[position][kept], found.sources[position][kept])
    columns = {
        "user_id": recommender.catalogue.users.decode(found.users[row]),
        "item_id": recommender.catalogue.item_keys.take(pa.array(items)),
        "domain": pa.array([domain] * len(items), pa.string()),
        "rank": pa.array((place + 1).astype(np.int32)),
        "score": pa.array(found.scores[row, place].astype(np.float64)),
        "reason": pa.array(reasons, pa.string()),
        "model": pa.array([model] * len(items), pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in RECOMMENDATION.names], schema=RECOMMENDATION)


def export(recommender: Recommender, draft: Draft, model: str, n: int | None = None) -> int:
    """Write the table `recommendations` and the file ``recommendations.csv``; returns the number of rows.

    Up to n rows (default: the configuration's) a user and target domain, scores descending, ranks from 1, `model`
    names what made them. `ValueError` for a domain that the catalogue lacks.
    """
    config = recommender.config
    domains = _domains(recommender.catalogue, config.domains)
    rows = 0

    def tee(sink: pacsv.CSVWriter) -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in batches(recommender, n or config.top_n, domains, model):
            sink.write_batch(batch)
            rows += batch.num_rows
            yield batch

    with (
        draft.filesystem.open_output_stream(draft.location(CSV)) as stream,
        pacsv.CSVWriter(stream, RECOMMENDATION) as sink,
    ):
        draft.write_batches(TABLE, tee(sink), RECOMMENDATION)
    return rows


def _domains(catalogue: Catalogue, wanted: tuple[str, ...] | None) -> list[str]:
    known = target_domains(catalogue)
    if unknown := [domain for domain in wanted or () if domain not in known]:
        raise ValueError(f"unknown domains {unknown}, expected some of {known}")
    return list(wanted or known)
