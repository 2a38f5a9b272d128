"""A project whose snapshot, cuts and encoded texts are planted, so that learning can start without Spark and Neo4j."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from embed.cache import ENCODED
from embed.snapshot import Snapshot, own_interactions
from flows.embed import train
from flows.tasks import Run
from kg.interactions import Catalogue, Interactions
from kg.schema import CUT
from kg.split import Cut
from kg.tables import Output, Workspace
from kg.vectors import vector_array
from tests.embed import planted

PROJECT = """\
name: {name}
sources: {{rows: {{format: csv, path: rows.csv}}}}
nodes:
  User: {{source: rows, key: user}}
  Film: {{source: rows, key: film, domain: films}}
  Book: {{source: rows, key: book, domain: books}}
relationships:
  LIKES: {{source: rows, from: {{User: user}}, to: {{Film: film}}, interaction: true}}
  READS: {{source: rows, from: {{User: user}}, to: {{Book: book}}, interaction: true}}
embed:
  device: cpu
  epochs: 2
  batch_size: 64
  learning_rate: 0.02
  graph: {{dim: 16}}
recommend: {{ranker: {{epochs: 1}}, grid: {{ease: [100], item_knn: [[20, 0]]}}}}
"""


@dataclass
class Planted:
    """The project file, and the stages that learning starts from."""

    path: str
    workspace: Workspace
    graph: Output
    cuts: Output
    encoded: Output

    def train(self, run: Run) -> Output:
        """Stage `trained/user_time`."""
        return train(run, self.graph, self.cuts, self.encoded, "user_time")

    def files(self) -> dict[str, bytes]:
        root = Path(self.workspace.root)
        return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def planted_project(folder: Path, name: str = "tiny") -> Planted:
    """The project in `folder`, its workspace in `folder/runs`."""
    path = folder / f"{name}.yaml"
    path.write_text(PROJECT.format(name=name))
    workspace = Workspace(folder / "runs" / name)
    graph = planted.write(Path(workspace.root))
    snapshot = Snapshot.read(graph)
    catalogue = planted.make_catalogue(snapshot)
    train_rows, held = planted.hold_out(own_interactions(snapshot, catalogue))
    with workspace.stage("cuts").create("cuts") as draft:
        draft.write("user_time", _rows(Cut("user_time", train_rows, held, held.take(np.arange(0))), catalogue), CUT)
    with workspace.stage("encoded").create("encoded") as draft:
        for label, view in planted.make_views(snapshot).by_view["v"].items():
            keys = snapshot.keys(label).combine_chunks().filter(pa.array(view.mask))
            draft.write(f"text/{label}", pa.table([keys, vector_array(view.vectors[view.mask])], ENCODED), ENCODED)
    cuts, encoded = (workspace.stage(stage).current() for stage in ("cuts", "encoded"))
    assert cuts and encoded
    return Planted(str(path), workspace, graph, cuts, encoded)


def _rows(cut: Cut, catalogue: Catalogue) -> pa.Table:
    parts = [_side(getattr(cut, side), side, catalogue) for side in ("train", "valid", "test")]
    return pa.concat_tables(parts)


def _side(rows: Interactions, side: str, catalogue: Catalogue) -> pa.Table:
    columns = [
        pa.array(
            [(planted.READS if label == "Book" else planted.LIKES).name for label in catalogue.item_labels[rows.item]]
        ),
        pa.array([f"{side}{n}" for n in range(len(rows))]),
        catalogue.users.keys.take(pa.array(rows.user)),
        catalogue.item_keys.take(pa.array(rows.item)),
        pa.array(rows.time).cast(pa.timestamp("us", "UTC")),
        pa.array(rows.weight.astype(float)),
        pa.array(rows.positive),
        pa.array([side] * len(rows), pa.string()),
    ]
    names = ["edge", "row_id", "from_key", "to_key", "time", "weight", "positive", "split"]
    return pa.table(columns, names).select(CUT.names).cast(CUT)
