"""What changes a learned vector: the project file's section `embed`. Imports no torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from kg.section import Section


class GraphModel(Section):
    """The graph view `h`."""

    model: Literal["lightgcn", "graphsage", "gcn", "gat"] = "lightgcn"
    """What passes along interactions: plain propagation, or that with convolutions beside it; see `embed.model`."""
    layers: int = Field(2, ge=1, le=4)
    """Hops along interactions."""
    attribute_layers: int = Field(1, ge=0, le=3)
    """Hops along all other relations before: 1 reaches an item's own genres and people, 2 what those have in common."""
    dim: int = Field(64, ge=4, le=1024)
    """Width of every view and of `z`."""
    heads: int = Field(4, ge=1)
    """Attention heads of `gat`; they share `dim`, which they must divide."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of a layer's values that training sets to zero."""
    fanout: int = Field(15, ge=1)
    """Neighbours sampled by node, relation and hop in mini-batch mode."""
    max_relations: int = Field(8, ge=1)
    """Between two labels the relations with most edges keep weights of their own; the rest share one set."""
    ids: bool = True
    """Whether nodes also have a learned vector of their own, propagated along relations."""
    id_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of nodes whose own vector a training step hides."""
    id_shrinkage: float = Field(5.0, ge=0)
    """With so many interactions a user's or an item's own vector counts half of what it does with very many."""
    cold: float = Field(0.2, ge=0, lt=1)
    """Share of items that a training step treats as new, without interactions or a vector of their own."""
    edge_weights: bool = False
    """Whether an interaction passes messages in proportion to its weight."""
    half_life: float | None = Field(None, gt=0)
    """Days in which an interaction's message loses half its strength; null: age does not matter."""
    full_graph_edges: int = Field(2_000_000, ge=0)
    """Up to so many edges a step passes messages over the whole graph; above, over sampled neighbourhoods."""

    @property
    def hops(self) -> int:
        """How far a vector looks."""
        return self.attribute_layers + self.layers


class LowRank(Section):
    """LoRA on a text encoder: a low-rank change to each of its linear layers (Hu et al., 2022)."""

    rank: int = Field(8, ge=1)
    """Rank of the change to each linear layer."""
    alpha: float = Field(16, gt=0)
    """The change is scaled by `alpha / rank`."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Share of a layer's inputs that the change does not see in a step."""
    steps: int = Field(100, ge=1)
    """Batches learned from, however large the catalogue."""
    batch_size: int = Field(32, ge=2)
    """Items by step; each tells its own neighbourhood, or picture, from those of all others."""
    learning_rate: float = Field(5e-4, gt=0)
    """The highest there is."""


class Adaptation(LowRank):
    """LoRA on the text encoder, learned from a catalogue's texts and relationships, never from interactions.

    A changed catalogue is adapted to anew, and then all its texts are encoded again. The learning rate is reached after
    the first tenth of the steps; then it falls to zero.
    """

    temperature: float = Field(0.05, gt=0)
    """Divides the cosine of text and neighbourhood in the contrast."""
    facts: int = Field(8, ge=1)
    """Of an item's relationships so many, drawn anew each time, stand for its neighbourhood."""
    relations: tuple[str, ...] | None = None
    """Types of relationships that are put into words; null: all but interactions and what was computed from them.

    Name those whose ends have names that mean something: an id is noise.
    """
    masked: float = Field(0.15, gt=0, lt=1)
    """Share of tokens that masked language modelling hides."""
    masked_weight: float = Field(0.1, ge=0)
    """Weight of masked language modelling beside the contrast; 0 leaves it out."""


class TowerAdaptation(LowRank):
    """LoRA on the packaged text tower, learned with projections by open_clip's loss, before the projections proper."""


class CatalogueClip(Section):
    """Projections of pictures and texts into one space, trained on items that have both; the towers stay as they are.

    With the packaged model they start at random, with a named one at what it was trained to. The view `c` is then the
    projected picture.
    """

    dim: int = Field(384, ge=2)
    """Width of the joint space with the packaged model; a named model keeps its own."""
    epochs: int = Field(40, ge=0)
    """At most so many passes over the pairs; 0 reports what a named model is worth as it is."""
    patience: int = Field(4, ge=1)
    """Epochs without a lower loss on held-out pairs before training stops."""
    batch_size: int = Field(256, ge=2)
    """Pairs by step; each tells its own partner from those of all others."""
    learning_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of a tower's features that a step hides."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of pairs not learned from: one half says when to stop, the other what recall is reported."""
    adapt: TowerAdaptation | None = None
    """null: the text tower as it comes; `{}`: adapted to the catalogue's pictures first (packaged model only)."""


class TextModel(Section):
    """The text view `v`."""

    model: str = "packaged"
    """`packaged` (all-MiniLM-L6-v2, needs no network), a local folder, or a name on the Hugging Face hub."""
    batch_size: int = Field(16, ge=1)
    """Texts by step; each core has its own (measured: `embed.text.WORKERS`), a GPU wants more."""
    max_length: int = Field(128, ge=8)
    """Tokens read of each text."""
    adapt: Adaptation | None = None
    """null: the encoder as it comes; `{}`: adapted to the catalogue.

    Off, for it did not pay: on 600 films and 40 steps of 16, held-out plots found their neighbourhood among the ten
    nearest in 47% of cases, before 40%, but Recall@20 of cold films was .311 after .310 (tests.benchmarks.adaptation).
    """


class ImageModel(Section):
    """The image view `c`."""

    model: str = "packaged"
    """`packaged` (EfficientNet-Lite0 trained on ImageNet, needs no network) or an open_clip model's name."""
    pretrained: str | None = None
    """open_clip's tag or a checkpoint file for `model`."""
    batch_size: int = Field(8, ge=1)
    """Pictures by step; small ones stay in the processor's cache, a GPU wants more."""
    clip: CatalogueClip | None = None
    """null: the model's vectors as they come; `{}`: projected to where the catalogue's texts are.

    On 3,256 films a held-out poster has its plot among the ten nearest of 326 in 17% of cases, at random in 3%.
    """


class SelfSupervisedWeights(Section):
    """What is learned without predicting anybody's interaction; 0 leaves one out, and then it costs nothing."""

    contrast: float = Field(0.0, ge=0)
    """Tell a node's `z` from those of others of its label between two passes that each hide some edges and features."""
    reconstruction: float = Field(0.0, ge=0)
    """Tell from `h` what a node brings when that is hidden: properties, text and picture."""
    alignment: float = Field(0.0, ge=0)
    """Tell a node's view from those of others of its label by another view of the node: `h` and `v`, and so on."""

    @property
    def predicts(self) -> bool:
        """Whether interactions are predicted."""
        return False

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not (self.predicts or self.contrast or self.reconstruction or self.alignment):
            raise ValueError("nothing to learn from: all weights are 0")
        return self


class Objectives(SelfSupervisedWeights):
    """What training minimises: a sum of losses, each times its weight; 0 leaves one out."""

    softmax: float = Field(1.0, ge=0)
    """Link prediction by sampled softmax on `z`."""
    bpr: float = Field(0.0, ge=0)
    """Link prediction by Bayesian personalised ranking on `z`."""
    views: float = Field(0.5, ge=0)
    """The same two by each view alone, so that none leans on the others."""

    @property
    def predicts(self) -> bool:
        """Whether interactions are predicted."""
        return bool(self.softmax or self.bpr)


class Pretraining(SelfSupervisedWeights):
    """Epochs before those of `objectives`, without link prediction: at least one weight must be named."""

    epochs: int = Field(10, ge=1)
    """So many passes over the target edges' steps, with what a step would predict hidden; `max_seconds` counts them."""


class SelfSupervision(Section):
    """What self-supervised objectives hide and compare."""

    edge_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of edges, each direction for itself, that a pass of the contrast hides."""
    feature_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of columns of properties, text and picture vectors that a pass of the contrast hides."""
    masked: float = Field(0.5, gt=0, lt=1)
    """Share of users and items that bring nothing, not even their own vector, when what they brought is asked for."""
    temperature: float = Field(0.2, gt=0)
    """Divides the cosines of the contrast and of the alignment."""
    nodes: int = Field(1024, ge=2)
    """At most so many nodes of a label take part in a step, drawn anew; time and memory grow with the square."""


class Health(Section):
    """What new vectors must hold to before Neo4j gets them; no limit changes a vector.

    The numbers are of the demo, where `z` is 64 wide.
    """

    min_rank: float = Field(4.0, ge=1)
    """Least effective rank of `z` of the users, and of the items (40 and 44): below, nearly all lie in a plane or on a
    line. No more than half the width, and half the rows, is asked for."""
    max_cosine: float = Field(0.95, gt=-1, le=1)
    """Highest mean cosine of two users, and of two items, in `z` (.11 and .04): at 1 all are one point."""
    max_blocks: float = Field(0.1, ge=0, le=1)
    """Largest share of rows in blocks of five and more near-duplicates in `z`, of the users, and of the items, that
    have an event, a text or a picture (0): the others coincide by right, and so may a few editions of one book."""
    min_overlap: float = Field(0.2, ge=0, le=1)
    """Least share of an item's ten nearest items in `z` that were so in the last version too, on average over items
    that are in both: .67 without a tenth of the events, .54 by another seed, .28 by another model (without `ids`); .16
    after training diverged, .07 when events went to wrong items. Set it to 0 for a run that is to change them all."""
    max_drop: float = Field(0.1, ge=0)
    """Largest loss of the evaluated model's validation figure (NDCG@10 of `z`), as a share of the last version's: with
    0.1, .27 may follow on .30. Other seeds differed by .02, a tenth of the events less lost .04."""


class EmbedConfig(Section):
    """How embeddings are learned."""

    seed: int = 0
    """One seed, one result on one machine (mini-batch mode repeats exactly with one thread only)."""
    device: str = "auto"
    """`auto`, or a torch device; DGL's own kernels stay on the CPU where its build knows no other."""
    pretrained: str | None = None
    """Where training starts from: another project's name, the path or URI of its workspace, whose newest model is then
    taken, or of a folder with a `model.json`; null: from nothing.

    What has a meaning here is carried over, by what it is for: users for users, items for items, each view for itself;
    own vectors of nodes with the same label and key. `graph.dim` must be that of the model. Paths count from the
    current folder; another or a retrained model is another start, and trains anew.
    """
    graph: GraphModel = GraphModel()
    text: TextModel | None = TextModel()
    """null: no text view."""
    image: ImageModel | None = ImageModel()
    """null: no image view."""
    fusion: Literal["attention", "concat", "mean"] = "attention"
    """How views become `z`: attention by node, a linear map of all views, or a mean with learned weights."""
    objectives: Objectives = Objectives()
    pretraining: Pretraining | None = None
    """null: none."""
    self_supervision: SelfSupervision = SelfSupervision()
    temperature: float = Field(0.15, gt=0)
    """Divides the cosine of user and item in the loss."""
    negatives: int = Field(1024, ge=1)
    """Items drawn by step and domain as negatives, shared by the step's positives."""
    epochs: int = Field(40, ge=1)
    """At most so many passes over the target edges."""
    patience: int = Field(6, ge=1)
    """Validations without a better figure before training stops."""
    max_seconds: float = Field(600, gt=0)
    """Training stops after so long, at the end of an epoch."""
    batch_size: int = Field(8192, ge=1)
    """Target edges by step, at most; they are hidden from message passing in that step."""
    hidden: float = Field(0.1, gt=0, le=1)
    """Share of the target edges that a step predicts and hides, at most: with all of them at once there would be
    nothing left to predict them by."""
    learning_rate: float = Field(0.01, gt=0)
    """Of vectors that belong to one node."""
    shared_rate: float = Field(0.2, gt=0)
    """What the learning rate is multiplied by for maps that nodes share."""
    weight_decay: float = Field(1e-5, ge=0)
    health: Health = Health()
    """What is held back from Neo4j."""

    @property
    def learns_encoders(self) -> bool:
        """Whether an encoder learns from the catalogue, so that a changed catalogue changes it."""
        return bool((self.text and self.text.adapt) or (self.image and self.image.clip))
