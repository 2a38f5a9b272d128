"""Stage `ablation`, a table of what each view and each fusion is worth (`crossgraph embed --ablate`)."""

from typing import TYPE_CHECKING

from flows.embed import CHOOSING, MODEL
from flows.pretrained import find_start
from flows.progress import counted
from flows.tasks import Run
from kg.events import catalogue, read_cut
from kg.tables import Draft, Output

if TYPE_CHECKING:
    from embed.infer import Embeddings
    from recommend.ablation import Variant

TABLE = "ablation.md"


def ablate(run: Run, graph: Output, cuts: Output, encoded: Output, trained: Output, *, seeds: int = 1) -> Output:
    """Train the variants of what `trained` holds and measure them on the validation part of its cut.

    The table is in the output's figures and, as Markdown, in its file `ablation.md`; Neo4j is not touched.
    """
    inputs = [[output.manifest.fingerprint for output in (graph, cuts, encoded, trained)], seeds]
    return run.stage(
        "ablation",
        inputs,
        ["recommend.ablation", "embed.train", "embed.checkpoint"],
        lambda draft: _ablate(run, graph, cuts, encoded, trained, seeds, draft),
    )


def _ablate(run: Run, graph: Output, cuts: Output, encoded: Output, trained: Output, seeds: int, draft: Draft) -> None:
    from embed.cache import read_views
    from embed.checkpoint import load
    from embed.snapshot import Snapshot
    from embed.train import fit
    from recommend.ablation import ablate as table
    from recommend.ablation import markdown
    from recommend.measure import validation

    nodes, snapshot, own = catalogue(graph), Snapshot.read(graph), run.embed_config
    cut, views = read_cut(cuts, CHOOSING, graph), read_views(encoded, snapshot)
    start = find_start(run)
    pretrained = start.read(run.torch_device) if start else None

    def vectors(variant: "Variant") -> "Embeddings":
        if variant.views is views and variant.config == own:
            found = load(trained.filesystem, trained.location(MODEL), snapshot, views, nodes, run.torch_device)
            return found.embed(cut.train)
        with counted(f"train {variant.name}, seed {variant.config.seed}") as bar:
            found = fit(
                snapshot,
                variant.views,
                nodes,
                cut.train,
                variant.config,
                validate=validation(nodes, cut.train, cut.valid),
                pretrained=pretrained,
                progress=bar,
            )
        run.report.did(models_trained=1)
        return found.embed(cut.train)

    found = table(own, views, vectors, nodes, cut.train, cut.valid, seeds=seeds)
    draft.figures |= found.to_dict()
    with draft.filesystem.open_output_stream(draft.location(TABLE)) as stream:
        stream.write(markdown(found).encode())
