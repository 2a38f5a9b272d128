"""Language adaptation: LoRA on the text encoder, learned from a catalogue's own words and relationships.

Two objectives, added. *Contrast*: an item's text finds what its neighbourhood says (`embed.verbalise`) among those of
the batch, and the other way round. The neighbourhood is a text too, read by the same encoder, and not a mean of its
nodes' vectors: the words of a relation count, one pass reads all of it, and it leaves out the item's own name, by which
the two would be matched without being understood. *Masked language modelling* over texts and triples.

No interaction takes part, so one adapter serves every cut of a snapshot.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from peft import get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import DataCollatorForLanguageModeling

from embed.adapter import Adapter, load, lora, merge, save
from embed.config import Adaptation
from embed.ops import seed_everything
from embed.retrieval import chance, recall
from embed.snapshot import Snapshot
from embed.text import TextEncoder, pooled
from embed.verbalise import Corpus, Item, verbalise
from kg.errors import ConfigError
from kg.tables import Workspace, fingerprint

HELD_OUT, AT_MOST = 0.1, 256
"""Share of items not learned from, and at most so many: on them retrieval is measured before and after."""
IGNORED = -100
"""The label of a token that was not hidden."""
POINTS = 10
"""Losses are means over so many parts of the steps."""
Progress = Callable[[str, int, int], None]


def adapt(
    encoder: TextEncoder,
    snapshot: Snapshot,
    config: Adaptation,
    seed: int,
    workspace: Workspace,
    progress: Progress | None = None,
) -> Adapter:
    """Adapt the encoder to the snapshot, in place; what was learned from the same words before comes from ``cache/``.

    `ConfigError` when fewer than two items have both a text and a relationship.
    """
    corpus = verbalise(snapshot, config.relations)
    known = fingerprint(encoder.fingerprint, asdict(corpus), config.model_dump(), seed)
    folder = f"{workspace.root}/cache/adapters/{known}"
    adapter = load(workspace.filesystem, folder)
    if adapter is None:
        adapter = train(encoder, corpus, config, seed, progress)
        save(adapter, workspace.filesystem, folder)
    merge(encoder, adapter)
    return adapter


def train(
    encoder: TextEncoder, corpus: Corpus, config: Adaptation, seed: int, progress: Progress | None = None
) -> Adapter:
    """What LoRA learns from a corpus; the encoder itself stays as it is. One seed, one result on one thread.

    `figures`: losses by tenth of the steps, and how well held-out texts find their neighbourhoods before and after.
    """
    if len(corpus.items) < 2:
        raise ConfigError("embed.text.adapt: fewer than two items have both a text and a relationship; set it to null")
    seed_everything(seed)
    generator = np.random.default_rng(seed)
    learned, held = _split(corpus.items, generator)
    figures: dict[str, Any] = {"items": len(learned), "held_out": len(held), "chance": chance(len(held))}
    figures["before"] = retrieval(encoder, held, config.facts)
    settings = lora(config)
    # LoRA is put into the encoder's own layers: it reads with them until they are taken out again.
    model = get_peft_model(encoder.model, settings)
    try:
        figures |= _descend(_Lesson(encoder, learned, corpus.texts, config, generator), config, progress)
        model.eval()
        figures["after"] = retrieval(encoder, held, config.facts)
        tensors = {name: of.detach().cpu().contiguous() for name, of in get_peft_model_state_dict(model).items()}
    finally:
        encoder.model = model.unload().eval().requires_grad_(False)
    return Adapter(settings.to_dict(), tensors, figures)


def retrieval(encoder: TextEncoder, items: Sequence[Item], facts: int) -> dict[str, float]:
    """How often an item's text finds its neighbourhood (its first `facts`) among those of all `items`."""
    return recall(
        encoder.encode([item.text for item in items]), encoder.encode([_told(item.facts[:facts]) for item in items])
    )


def contrast(
    texts: Float[Tensor, "n d"], told: Float[Tensor, "n d"], same: Bool[Tensor, "n n"], temperature: float
) -> Float[Tensor, ""]:
    r"""InfoNCE in both directions (van den Oord et al., 2018, eq. 4; Radford et al., 2021, fig. 3), rows of length 1.

    .. math:: -\tfrac{1}{2n} \sum_i \log\frac{e^{t_i \cdot f_i / \tau}}{\sum_{j \notin S_i} e^{t_i \cdot f_j / \tau}}
        + \log\frac{e^{t_i \cdot f_i / \tau}}{\sum_{j \notin S_i} e^{t_j \cdot f_i / \tau}}

    where `same` says which others :math:`S_i` are no negatives of i, for they have the same text or neighbourhood.
    """
    own = torch.eye(len(texts), dtype=torch.bool, device=texts.device)
    scores = (texts @ told.T / temperature).masked_fill(same & ~own, -torch.inf)
    right = torch.arange(len(texts), device=texts.device)
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


class MaskedHead(nn.Module):
    """Guesses hidden tokens: a layer that starts as the identity, then the product with the encoder's own embeddings.

    Sentence encoders come without the head that they were pre-trained with. This one is thrown away afterwards.
    """

    def __init__(self, embeddings: Float[Tensor, "vocabulary d"]) -> None:
        """The embeddings are used and not learned."""
        super().__init__()
        width = embeddings.shape[1]
        self.embeddings = embeddings
        self.transform = nn.Linear(width, width)
        nn.init.eye_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(len(embeddings)))

    def forward(self, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens vocabulary"]:
        """The logits of all tokens of the vocabulary."""
        return F.linear(self.norm(self.transform(states)), self.embeddings, self.bias)


class _Lesson:
    """Draws batches and says what the encoder, LoRA in its layers, loses on them."""

    def __init__(
        self,
        encoder: TextEncoder,
        items: Sequence[Item],
        texts: Sequence[str],
        config: Adaptation,
        generator: np.random.Generator,
    ) -> None:
        self.encoder, self.items, self.config, self.generator = encoder, items, config, generator
        self.batches = _endless(len(items), config.batch_size, generator)
        # As many triples as texts, whichever there are more of.
        self.sides = [list(texts), list(chain.from_iterable(item.triples for item in items))]
        self.head = MaskedHead(encoder.model.get_input_embeddings().weight.detach()).to(encoder.device)

    def contrast(self) -> Tensor:
        items = [self.items[i] for i in next(self.batches)]
        texts, told = [item.text for item in items], [self._drawn(item.facts) for item in items]
        same = (_equal(texts) | _equal(told)).to(self.encoder.device)
        return contrast(self._read(texts), self._read(told), same, self.config.temperature)

    def masked(self, hide: DataCollatorForLanguageModeling) -> Tensor:
        half = max(self.config.batch_size // 2, 1)
        words = [side[i] for side in self.sides for i in self.generator.integers(0, len(side), half)]
        rows = self._tokens(words, return_special_tokens_mask=True)
        batch = hide([{name: of[i] for name, of in rows.items()} for i in range(len(words))]).to(self.encoder.device)
        labels = batch.pop("labels")
        states = self.encoder.model(**batch).last_hidden_state
        hidden = labels != IGNORED
        # A batch of short texts may hide none.
        return F.cross_entropy(self.head(states[hidden]), labels[hidden]) if hidden.any() else states.sum() * 0

    def _drawn(self, facts: Sequence[str]) -> str:
        chosen = self.generator.permutation(len(facts))[: self.config.facts]
        return _told([facts[i] for i in chosen])

    def _read(self, texts: list[str]) -> Float[Tensor, "texts d"]:
        tokens = self._tokens(texts, padding=True, return_tensors="pt").to(self.encoder.device)
        return pooled(self.encoder.model(**tokens).last_hidden_state, tokens["attention_mask"])

    def _tokens(self, texts: list[str], **how: Any) -> Any:
        return self.encoder.tokenizer(texts, truncation=True, max_length=self.encoder.config.max_length, **how)


def _descend(lesson: _Lesson, config: Adaptation, progress: Progress | None) -> dict[str, list[float]]:
    """Take the steps; the losses."""
    hide = _hider(lesson.encoder, config) if config.masked_weight else None
    learned = [w for w in chain(lesson.encoder.model.parameters(), lesson.head.parameters()) if w.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=config.learning_rate)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config.steps))
    losses: dict[str, list[float]] = {"contrast": [], "masked": []}
    lesson.encoder.model.train()
    for step in range(config.steps):
        loss = lesson.contrast()
        losses["contrast"].append(loss.item())
        if hide:
            masked = lesson.masked(hide)
            losses["masked"].append(masked.item())
            loss = loss + config.masked_weight * masked
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        if progress:
            progress("adapt text", step + 1, config.steps)
    return {name: [float(part.mean()) for part in _parts(of)] for name, of in losses.items()}


def _hider(encoder: TextEncoder, config: Adaptation) -> DataCollatorForLanguageModeling:
    if encoder.tokenizer.mask_token is None:
        raise ConfigError(
            f"embed.text.adapt.masked_weight: {encoder.config.model!r} knows no masked token; set it to 0"
        )
    return DataCollatorForLanguageModeling(encoder.tokenizer, mlm=True, mlm_probability=config.masked)


def _rate(step: int, steps: int) -> float:
    """Up in a tenth of the steps, then down to zero."""
    rise = max(steps // 10, 1)
    return min((step + 1) / rise, (steps - step) / max(steps - rise, 1), 1.0)


def _parts(losses: list[float]) -> list[np.ndarray]:
    return [part for part in np.array_split(np.array(losses), POINTS) if len(part)]


def _split(items: Sequence[Item], generator: np.random.Generator) -> tuple[list[Item], list[Item]]:
    order = generator.permutation(len(items))
    held = min(max(round(HELD_OUT * len(items)), 1), AT_MOST) if len(items) > 2 else 0
    return [items[i] for i in np.sort(order[held:])], [items[i] for i in np.sort(order[:held])]


def _endless(count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of one size, of each item once before any comes again."""
    size = min(size, count)
    while True:
        order = generator.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _told(facts: Sequence[str]) -> str:
    return "; ".join(facts)


def _equal(texts: list[str]) -> Bool[Tensor, "n n"]:
    codes = torch.from_numpy(np.unique(texts, return_inverse=True)[1])
    return codes[:, None] == codes[None]
