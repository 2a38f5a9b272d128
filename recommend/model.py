"""The recommender: signals over data, candidates from them, and a fitted ranker over the candidates."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from pyarrow import fs

from kg.interactions import Catalogue, Interactions
from recommend import online
from recommend.attributes import Attributes
from recommend.candidates import Candidates, propose
from recommend.config import RecommendConfig
from recommend.features import Lists, build
from recommend.fitting import fit
from recommend.measure import target_domains
from recommend.metrics import hits
from recommend.online import OnlineRanker
from recommend.ranker import Ranker, Vectors
from recommend.signals import LATEST, NAMES, Chosen, Signals
from recommend.topk import CELLS, blocks, top_k
from recommend.tuning import choose

if TYPE_CHECKING:
    from embed.infer import Embeddings

FILES = ("ranker.safetensors", "recommender.json")


@dataclass(frozen=True)
class TopN:
    """The best items of some users in one domain."""

    users: Int[np.ndarray, " u"]
    items: Int[np.ndarray, "u n"]
    """Best first; -1 where there are fewer."""
    scores: Float[np.ndarray, "u n"]
    """Probabilities over the user's candidates, descending; 0 beside -1."""
    sources: Int[np.ndarray, "u n"]
    """uint8 bits: which sources proposed the item (`recommend.candidates.SIGNALS`)."""


@dataclass(frozen=True)
class Recommender:
    """A ranker together with the data that it is to rank for."""

    catalogue: Catalogue
    signals: Signals
    ranker: Ranker
    online: OnlineRanker
    config: RecommendConfig
    device: str = "cpu"

    def with_data(self, embeddings: "Embeddings", interactions: Interactions) -> "Recommender":
        """The same rankers and hyperparameters over other data of the same catalogue.

        `embeddings` must be of the same trained model or aligned to it (`embed.infer.align`).
        """
        signals = replace(self.signals, embeddings=embeddings, interactions=interactions).fit()
        return replace(self, signals=signals)

    def recommend(self, users: Int[np.ndarray, " u"], domain: str, n: int) -> TopN:
        """The n best items of each user in a domain, in blocks of bounded memory.

        Items that the user has any event with are left out unless the configuration keeps them.
        """
        parts = [_empty(n)]
        vectors = _vectors(self.signals, self.device)
        for block in blocks(users, self.catalogue.n_items, CELLS // 8):
            candidates, lists = _lists(self.signals, block, self.catalogue.domain_mask(domain), self.config)
            p = np.where(lists.mask, self.ranker.probabilities(lists, vectors), -np.inf)
            places, scores = top_k(p, n)
            at = np.maximum(places, 0)
            items = np.where(places >= 0, np.take_along_axis(candidates.items, at, 1), -1)
            sources = np.where(places >= 0, np.take_along_axis(candidates.sources, at, 1), 0).astype(np.uint8)
            parts.append(TopN(block, items, np.where(places >= 0, scores, 0).astype(np.float32), sources))
        return TopN(*(np.concatenate([getattr(p, name) for p in parts]) for name in TopN.__dataclass_fields__))

    def top(self, users: Int[np.ndarray, " u"], domain: str) -> Int[np.ndarray, "u k"]:
        """The items alone, as `recommend.measure` asks for them."""
        return self.recommend(users, domain, max(20, self.config.top_n)).items

    def save(self, filesystem: fs.FileSystem, path: str) -> None:
        """Write the rankers and hyperparameters (not the data) into a folder."""
        filesystem.create_dir(path, recursive=True)
        state = {
            "chosen": asdict(self.signals.chosen),
            "config": self.config.model_dump(mode="json"),
            "online": asdict(self.online),
        }
        contents = (self.ranker.to_bytes(), json.dumps(state, indent=1).encode())
        for name, content in zip(FILES, contents, strict=True):
            with filesystem.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)


def load(
    filesystem: fs.FileSystem,
    path: str,
    catalogue: Catalogue,
    embeddings: "Embeddings",
    interactions: Interactions,
    attributes: Attributes | None = None,
    device: str = "cpu",
    config: RecommendConfig | None = None,
) -> Recommender:
    """What `Recommender.save` wrote, over data; `FileNotFoundError` when there is nothing.

    `config` replaces the saved one where only the export changed (`top_n`, `domains`, …).
    """
    weights, state = _saved(filesystem, path)
    config = config or RecommendConfig.model_validate(state["config"])
    chosen = Chosen(state["chosen"]["ease"], tuple(state["chosen"]["item_knn"]))
    signals = _signals(interactions, embeddings, attributes, chosen, config)
    ranker = Ranker.from_bytes(weights, device)
    return Recommender(catalogue, signals, ranker, OnlineRanker(**state["online"]), config, device)


def load_online(filesystem: fs.FileSystem, path: str) -> OnlineRanker:
    """The small ranker of what `Recommender.save` wrote."""
    return OnlineRanker(**_saved(filesystem, path)[1]["online"])


def _saved(filesystem: fs.FileSystem, path: str) -> tuple[bytes, dict[str, Any]]:
    contents = []
    for name in FILES:
        with filesystem.open_input_stream(f"{path}/{name}") as stream:
            contents.append(stream.read())
    return contents[0], json.loads(contents[1])


def fit_ranker(
    catalogue: Catalogue,
    embed: Callable[[Interactions], "Embeddings"],
    train: Interactions,
    valid: Interactions,
    config: RecommendConfig,
    *,
    attributes: Attributes | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Recommender:
    """Choose hyperparameters and fit both rankers on labels `valid`, with everything else fitted on `train`.

    `embed` gives the embeddings of a model trained on `train` for any interactions: it is called with `train`,
    and with `train` less the events of some users, who show the rankers what cold users look like.
    """
    rng = np.random.default_rng(seed)
    chosen = choose(catalogue, train, valid, config)
    warm = _signals(train, embed(train), attributes, chosen, config)
    users = np.flatnonzero(np.diff(valid.matrix().indptr))
    users = np.sort(rng.permutation(users)[: config.ranker.max_users])
    parts = [_labelled(catalogue, warm, users, valid, config, 0)]
    z_users = [warm.embeddings.users["z"]]
    if len(blanked := np.sort(rng.permutation(users)[: round(len(users) * config.ranker.cold)])):
        rest = train.take(~np.isin(train.user, blanked))
        cold = _signals(rest, embed(rest), attributes, chosen, config)
        parts.append(_labelled(catalogue, cold, blanked, valid, config, catalogue.n_users))
        z_users.append(cold.embeddings.users["z"])
    lists, labels = _join(parts)
    vectors = Vectors.of(np.concatenate(z_users), warm.embeddings.items["z"], device)
    ranker = fit(lists, labels, vectors, NAMES, config.ranker, seed)
    small = fit(_online_lists(lists), labels, vectors, online.SIGNALS, config.ranker, seed)
    return Recommender(catalogue, warm, ranker, OnlineRanker.of(small.network.state_dict(), LATEST), config, device)


def _signals(
    interactions: Interactions,
    embeddings: "Embeddings",
    attributes: Attributes | None,
    chosen: Chosen,
    config: RecommendConfig,
) -> Signals:
    return Signals(interactions, embeddings, attributes, chosen, config.max_item_model, config.recent).fit()


def _lists(signals: Signals, users: np.ndarray, mask: np.ndarray, config: RecommendConfig) -> tuple[Candidates, Lists]:
    found = signals.block(users)
    seen = signals.seen if config.exclude_seen else None
    candidates = propose(found, users, mask, seen, config.candidates)
    return candidates, build(candidates, found, NAMES, signals.history[users])


def _labelled(
    catalogue: Catalogue, signals: Signals, users: np.ndarray, valid: Interactions, config: RecommendConfig, shift: int
) -> tuple[Lists, np.ndarray]:
    """Lists and labels of all domains in which a user has a label; users are numbered from `shift`."""
    relevant, parts = valid.matrix(), []
    for domain in target_domains(catalogue):
        for block in blocks(users, catalogue.n_items, CELLS // 8):
            _, lists = _lists(signals, block, catalogue.domain_mask(domain), config)
            labels = hits(lists.items, block, relevant)
            kept = np.flatnonzero(labels.any(1))
            parts.append((replace(lists.take(kept), users=block[kept] + shift), labels[kept]))
    return _join(parts)


def _join(parts: list[tuple[Lists, np.ndarray]]) -> tuple[Lists, np.ndarray]:
    """One set of lists, padded to the longest."""
    width = max(labels.shape[1] for _, labels in parts)

    def pad(values: np.ndarray, fill: float) -> np.ndarray:
        gap = [(0, 0), (0, width - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
        return np.pad(values, gap, constant_values=fill)

    lists = Lists(
        np.concatenate([lists.users for lists, _ in parts]),
        np.concatenate([pad(lists.items, -1) for lists, _ in parts]),
        np.concatenate([pad(lists.signals, 0) for lists, _ in parts]),
        np.concatenate([pad(lists.context, 0) for lists, _ in parts]),
        np.concatenate([lists.cold for lists, _ in parts]),
    )
    return lists, np.concatenate([pad(labels, False) for _, labels in parts])


def _online_lists(lists: Lists) -> Lists:
    """The same lists with what Neo4j holds alone."""
    columns = [NAMES.index(name) for name in online.SIGNALS]
    return replace(lists, signals=np.ascontiguousarray(lists.signals[:, :, columns]), context=lists.context[:, :, :0])


def _vectors(signals: Signals, device: str) -> Vectors:
    return Vectors.of(signals.embeddings.users["z"], signals.embeddings.items["z"], device)


def _empty(n: int) -> TopN:
    none = np.empty((0, n))
    return TopN(np.empty(0, np.int64), none.astype(np.int64), none.astype(np.float32), none.astype(np.uint8))
