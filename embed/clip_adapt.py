"""LoRA on the text tower of catalogue CLIP: texts learn what the pictures beside them show.

The picture tower stays as it is, so its features are computed once; texts are read anew in every step. Projections that
are learned beside LoRA are thrown away: `embed.clip.fit` learns the ones to keep from what the adapted tower makes.
"""

from collections.abc import Callable, Sequence

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from peft import get_peft_model, get_peft_model_state_dict

from embed.adapter import Adapter, lora
from embed.clip import LEAST, MOST, Projections, split
from embed.config import CatalogueClip, TowerAdaptation
from embed.ops import l2_normalise, seed_everything
from embed.text import TextEncoder, pooled
from kg.errors import ConfigError

Progress = Callable[[str, int, int], None]


def adapt(
    encoder: TextEncoder,
    images: Float[np.ndarray, "n images"],
    texts: Sequence[str],
    clip: CatalogueClip,
    config: TowerAdaptation,
    seed: int,
    progress: Progress | None = None,
) -> Adapter:
    """What LoRA learns from pairs; the encoder itself stays as it is. One seed, one result on one thread.

    Row i of `images` belongs to text i. No pair is learned from that `embed.clip.fit` holds out by the same seed.
    `figures` has the loss of each step; `ConfigError` for fewer than `embed.clip.LEAST` pairs.
    """
    if len(images) < LEAST:
        raise ConfigError(
            f"embed.image.clip: {len(images)} items have a picture and a text, expected {LEAST}; set null"
        )
    seed_everything(seed)
    generator = np.random.default_rng(seed)
    learned = split(len(images), clip.held_out, generator)[-1]
    projections = Projections(images.shape[1], encoder.dim, clip.dim).to(encoder.device)
    settings = lora(config)
    # LoRA is put into the encoder's own layers: it reads with them until they are taken out again.
    model = get_peft_model(encoder.model, settings)
    try:
        groups = [
            {"params": [w for w in model.parameters() if w.requires_grad], "lr": config.learning_rate},
            {"params": list(projections.parameters()), "lr": clip.learning_rate},
        ]
        optimiser, losses = torch.optim.AdamW(groups), []
        model.train()
        for step in range(config.steps):
            rows = generator.choice(learned, min(config.batch_size, len(learned)), replace=False)
            loss = _loss(encoder, projections, torch.from_numpy(images[rows]), [texts[row] for row in rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            projections.logit_scale.data.clamp_(0, MOST)
            losses.append(loss.item())
            if progress:
                progress("adapt texts to pictures", step + 1, config.steps)
        tensors = {name: of.detach().cpu().contiguous() for name, of in get_peft_model_state_dict(model).items()}
    finally:
        encoder.model = model.unload().eval().requires_grad_(False)
    return Adapter(settings.to_dict(), tensors, {"loss": losses})


def _loss(
    encoder: TextEncoder, projections: Projections, images: Float[torch.Tensor, "n images"], texts: list[str]
) -> Float[torch.Tensor, ""]:
    tokens = encoder.tokenizer(
        texts, padding=True, truncation=True, max_length=encoder.config.max_length, return_tensors="pt"
    ).to(encoder.device)
    read = pooled(encoder.model(**tokens).last_hidden_state, tokens["attention_mask"])
    shown = l2_normalise(projections.image(images.to(encoder.device)))
    found: torch.Tensor = open_clip.ClipLoss()(
        shown, l2_normalise(projections.text(read)), projections.logit_scale.exp()
    )
    return found
