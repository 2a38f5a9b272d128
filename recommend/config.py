"""The project file's section `recommend:`; importable without torch."""

from pydantic import Field

from kg.section import Section


class Sources(Section):
    """How many items each source proposes per user and target domain; 0 switches a source off."""

    vector: int = Field(200, ge=0)
    """Nearest items in the fused vector z."""
    graph: int = Field(200, ge=0)
    """Items that a walk user, item, user, item reaches most easily."""
    neighbours: int = Field(200, ge=0)
    """Best items of the item-to-item model (EASE), which is also one of the ranker's inputs."""
    shared: int = Field(100, ge=0)
    """Items that share entities (genres, people, …) with the user's history."""
    content: int = Field(100, ge=0)
    """Items whose text and picture are nearest to those of the user's history."""
    popular: int = Field(100, ge=0)
    """Most popular items: all that a user without history and features has."""


class Ranker(Section):
    """The network that turns a user's candidates into probabilities."""

    hidden: int = Field(32, ge=1)
    """Width of the hidden layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the hidden layer's units dropped in training."""
    epochs: int = Field(40, ge=1)
    """At most so many passes over the label users; early stopping usually ends sooner."""
    patience: int = Field(6, ge=1)
    """Passes without a lower loss on held-out users before training stops."""
    lr: float = Field(5e-3, gt=0)
    """Learning rate of AdamW."""
    weight_decay: float = Field(1e-2, ge=0)
    """AdamW's decay."""
    batch: int = Field(128, ge=1)
    """Lists (a user in a domain) a step."""
    holdout: float = Field(0.15, gt=0, lt=0.9)
    """Share of the label users that early stopping looks at."""
    cold: float = Field(0.15, ge=0, le=0.5)
    """Share of the label users that are shown once more with their history taken away, so that
    the ranker learns what to trust for a user without one."""
    max_users: int = Field(20_000, ge=10)
    """At most so many label users, drawn by the seed: bounds memory and time."""
    negatives: int = Field(100, ge=1)
    """Candidates without a label that a training step sees of each list, drawn anew each pass."""


class Grid(Section):
    """Values that validation chooses from; each model has the same number of trials."""

    ease: tuple[float, ...] = Field((30.0, 100.0, 200.0, 400.0, 800.0, 1600.0), min_length=1)
    """EASE's L2 penalty."""
    item_knn: tuple[tuple[int, float], ...] = Field(
        ((20, 0.0), (20, 20.0), (50, 0.0), (50, 20.0), (100, 0.0), (100, 20.0)), min_length=1
    )
    """Item-kNN's neighbours and shrinkage."""


class RecommendConfig(Section):
    """How recommendations are made, compared and exported."""

    top_n: int = Field(20, ge=1)
    """Items per user and target domain in the export."""
    domains: tuple[str, ...] | None = None
    """Target domains; default: all."""
    exclude_seen: bool = True
    """Leave out items that the user has any event with."""
    write_relationships: bool = False
    """Also write the export to Neo4j as `RECOMMENDED` relationships."""
    candidates: Sources = Sources()
    ranker: Ranker = Ranker()
    grid: Grid = Grid()
    recent: float = Field(0.1, gt=0, le=1)
    """Share of the latest events that counts as now in `recent` popularity."""
    max_item_model: int = Field(12_000, ge=1)
    """EASE inverts a matrix of items by items: beyond so many only the most popular take part."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap resamples behind the confidence intervals."""
