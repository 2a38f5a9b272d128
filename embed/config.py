"""What changes a learned vector: the project file's section `embed`. Imports no torch."""

from typing import Literal

from pydantic import Field

from kg.section import Section


class GraphModel(Section):
    """The graph view `h`."""

    model: Literal["graphsage", "gcn", "gat"] = "graphsage"
    layers: int = Field(2, ge=1, le=4)
    """How many hops a node sees."""
    dim: int = Field(64, ge=4, le=1024)
    """Width of every view and of `z`."""
    heads: int = Field(4, ge=1)
    """Attention heads of `gat`; they share `dim`, which they must divide."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of a layer's values that training sets to zero."""
    fanout: int = Field(15, ge=1)
    """Neighbours sampled by node, relation and hop in mini-batch mode."""
    max_relations: int = Field(3, ge=1)
    """Between two labels the relations with most edges keep weights of their own; the rest share one set."""
    ids: bool = True
    """Whether users and items also have a learned vector of their own, propagated along interactions."""
    id_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of nodes whose own vector a training step hides, so that a node never seen still gets a good one."""
    full_graph_edges: int = Field(2_000_000, ge=0)
    """Up to so many edges a step passes messages over the whole graph; above, over sampled neighbourhoods."""


class TextModel(Section):
    """The text view `v`."""

    model: str = "packaged"
    """`packaged` (all-MiniLM-L6-v2, needs no network), a local folder, or a name on the Hugging Face hub."""
    batch_size: int = Field(16, ge=1)
    """Texts by step; each core has its own (measured: `embed.text.WORKERS`), a GPU wants more."""
    max_length: int = Field(128, ge=8)
    """Tokens read of each text."""


class ImageModel(Section):
    """The image view `c`."""

    model: str = "packaged"
    """`packaged` (EfficientNet-Lite0 trained on ImageNet, needs no network) or an open_clip model's name."""
    pretrained: str | None = None
    """open_clip's tag or a checkpoint file for `model`."""
    batch_size: int = Field(8, ge=1)
    """Pictures by step; small ones stay in the processor's cache, a GPU wants more."""


class EmbedConfig(Section):
    """How embeddings are learned."""

    seed: int = 0
    """One seed, one result on one machine (mini-batch mode repeats exactly with one thread only)."""
    device: str = "auto"
    """`auto`, or a torch device; DGL's own kernels stay on the CPU where its build knows no other."""
    graph: GraphModel = GraphModel()
    text: TextModel | None = TextModel()
    """null: no text view."""
    image: ImageModel | None = ImageModel()
    """null: no image view."""
    fusion: Literal["attention", "concat", "mean"] = "attention"
    """How views become `z`: attention by node, a linear map of all views, or a mean with learned weights."""
    objective: Literal["softmax", "bpr"] = "softmax"
    """Link prediction loss: sampled softmax, or Bayesian personalised ranking."""
    temperature: float = Field(0.2, gt=0)
    """Divides the cosine of user and item in the loss."""
    negatives: int = Field(1024, ge=1)
    """Items drawn by step and domain as negatives, shared by the step's positives."""
    epochs: int = Field(40, ge=1)
    """At most so many passes over the target edges."""
    patience: int = Field(6, ge=1)
    """Validations without a better figure before training stops."""
    max_seconds: float = Field(600, gt=0)
    """Training stops after so long, at the end of an epoch."""
    batch_size: int = Field(4096, ge=1)
    """Target edges by step; they are hidden from message passing in that step."""
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
