from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest
import torch
from peft import PeftModel

from embed import adapter as adapters
from embed import language
from embed.adapter import Adapter
from embed.cache import encode_views, read_views
from embed.config import Adaptation, EmbedConfig, TextModel
from embed.language import contrast
from embed.snapshot import Snapshot
from embed.text import TextEncoder
from embed.verbalise import Corpus, Item, verbalise
from kg.errors import ConfigError, ContractError
from kg.schema import EdgeType
from kg.tables import Output, Workspace
from tests.embed.planted import FILMS

# Nothing in the words says that rivers belong to Zorn: only the catalogue's own relationships do.
MAKERS = {"rivers": "Zorn Velt", "stoves": "Quill Ambrose", "ladders": "Ingo Mar", "lanterns": "Bess Thule"}
PLACES = ["north", "south", "east", "west", "hills", "coast", "city", "plain", "marsh", "isles"]
QUICK = Adaptation(steps=12, batch_size=8, learning_rate=5e-3, rank=4, facts=2, dropout=0.0)
LOCAL = pyarrow.fs.LocalFileSystem()


pytestmark = pytest.mark.usefixtures("one_thread")


def item(row: int) -> Item:
    thing, maker = list(MAKERS.items())[row % 4]
    place = PLACES[row // 4 % 10]
    facts = (f"made by {maker}", f"sold in the {place}")
    return Item(f"Of {thing} in the {place}", facts, tuple(f"Work {row} — {fact}" for fact in facts))


def told(items: list[Item], encoder: TextEncoder) -> float:
    """Share of items whose text is nearest to the fact of their own maker."""
    texts = encoder.encode([of.text for of in items])
    makers = [f"made by {maker}" for maker in MAKERS.values()]
    return float(np.mean((texts @ encoder.encode(makers).T).argmax(1) == np.array([i % 4 for i in range(len(items))])))


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder(TextModel(), "cpu")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Items of all places but the last two, which only tests read."""
    items = tuple(item(row) for row in range(32))
    return Corpus(items, tuple(of.text for of in items))


@pytest.fixture(scope="module")
def learned(corpus: Corpus) -> Adapter:
    return language.train(TextEncoder(TextModel(), "cpu"), corpus, QUICK, 0)


def test_what_was_learned_holds_for_unseen_items(learned: Adapter, encoder: TextEncoder) -> None:
    figures, unseen = learned.figures, [item(row) for row in range(32, 40)]
    assert figures["contrast"][-1] < 0.7 * figures["contrast"][0]
    assert figures["masked"][-1] < 0.8 * figures["masked"][0]
    assert figures["items"] == 29 and figures["held_out"] == 3 and figures["chance"]["1"] == pytest.approx(1 / 3)
    before = told(unseen, encoder)
    adapters.merge(encoder, learned)
    assert told(unseen, encoder) == 1.0 > before


def test_an_adapter_survives_the_disk(learned: Adapter, encoder: TextEncoder, tmp_path: Path) -> None:
    """Ours and peft's own reader find the same encoder as the one that was never written."""
    texts = [item(row).text for row in range(4)]
    adapters.save(learned, LOCAL, str(tmp_path / "adapter"))
    found = adapters.load(LOCAL, str(tmp_path / "adapter"))
    assert found is not None and found.figures == learned.figures
    plain, again = encoder.fingerprint, TextEncoder(TextModel(), "cpu")
    theirs = PeftModel.from_pretrained(TextEncoder(TextModel(), "cpu").model, str(tmp_path / "adapter")).eval()
    adapters.merge(encoder, learned)
    adapters.merge(again, found)
    assert plain != encoder.fingerprint == again.fingerprint
    vectors = encoder.encode(texts)
    assert np.array_equal(vectors, again.encode(texts))
    with torch.no_grad():
        states = theirs(**encoder.tokenizer(texts[0], return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
    assert vectors[0] @ states / np.linalg.norm(states) > 0.9998


def test_no_adapter_a_damaged_one_and_one_of_another_model(
    learned: Adapter, encoder: TextEncoder, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    assert adapters.load(LOCAL, str(folder)) is None
    adapters.save(learned, LOCAL, str(folder))
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ContractError, match="an adapter as it was written"):
        adapters.load(LOCAL, str(folder))
    plain = encoder.fingerprint
    wide = {name: torch.cat([of, of], dim=1) for name, of in learned.tensors.items()}
    with pytest.raises(ContractError, match="adapter: one of 'packaged'") as caught:
        adapters.merge(encoder, replace(learned, tensors=wide))
    assert "\n" not in str(caught.value)
    assert encoder.fingerprint == plain


def test_one_seed_one_result_and_the_encoder_stays(encoder: TextEncoder, corpus: Corpus) -> None:
    plain, short = encoder.fingerprint, QUICK.model_copy(update={"steps": 2, "dropout": 0.1, "batch_size": 3})
    one, two, other = (language.train(encoder, corpus, short, seed) for seed in (3, 3, 4))
    assert encoder.fingerprint == plain
    assert one.figures == two.figures and one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert any(not torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_contrast_is_that_of_a_hand() -> None:
    """Two items a right angle apart, temperature 1: the own score is 1, the other 0, so log(1 + e^-1) both ways.

    A third that says the same as the first is no negative of it: for those two the rows stay as they are, for item 1
    there are two others. So the mean over rows is (2 log(1 + 1/e) + log(1 + 2/e)) / 3.
    """
    two = torch.eye(2)
    alone = torch.eye(2, dtype=torch.bool)
    assert contrast(two, two, alone, 1.0).item() == pytest.approx(np.log(1 + np.exp(-1)))
    three = torch.eye(2)[[0, 1, 0]]
    same = (three @ three.T) > 0
    expected = (2 * np.log(1 + np.exp(-1)) + np.log(1 + 2 * np.exp(-1))) / 3
    assert contrast(three, three, same, 1.0).item() == pytest.approx(expected)


@pytest.fixture
def told_films(snapshot: Snapshot) -> Snapshot:
    """Films with texts (the last without), topics with names."""
    nodes = dict(snapshot.nodes)
    films, topics = nodes["Film"], nodes["Topic"]
    texts = [*(f"Film {i}\nOf {list(MAKERS)[i % 4]}" for i in range(FILMS - 1)), None]
    nodes["Film"] = films.set_column(films.column_names.index("text"), "text", pa.array(texts))
    nodes["Topic"] = topics.append_column("name", pa.array([*MAKERS.values(), "Nobody"]))
    return replace(snapshot, nodes=nodes)


def test_a_graph_in_words(told_films: Snapshot) -> None:
    """Interactions, users, what was computed from interactions and nodes without text say nothing."""
    computed = EdgeType("Film", "SIMILAR", "Film")
    pairs = pa.table({"src": np.array([0, 1]), "dst": np.array([1, 0])})
    meta = {"interaction": False, "target": False, "domain": None, "derived": True}
    graph = replace(
        told_films, edges=told_films.edges | {computed: pairs}, edge_meta=told_films.edge_meta | {computed: meta}
    )
    corpus = verbalise(graph)
    makers = list(MAKERS.values())
    assert [of.facts for of in corpus.items] == [(f"about {makers[i % 4]}",) for i in range(FILMS - 1)]
    assert corpus.items[5] == Item("Film 5\nOf stoves", ("about Quill Ambrose",), ("Film 5 — about — Quill Ambrose",))
    assert corpus.texts == tuple(of.text for of in corpus.items)
    assert verbalise(graph, ["KIN"]).items == ()
    with pytest.raises(ConfigError, match=r"embed\.text\.adapt: fewer than two items"):
        language.train(TextEncoder(TextModel(), "cpu"), verbalise(graph, ["KIN"]), QUICK, 0)


def test_a_fact_is_told_from_either_end(told_films: Snapshot) -> None:
    turned = EdgeType("Topic", "MADE", "Film")
    pairs = pa.table({"src": np.array([2]), "dst": np.array([7])})
    meta = {"interaction": False, "target": False, "domain": None}
    graph = replace(
        told_films, edges=told_films.edges | {turned: pairs}, edge_meta=told_films.edge_meta | {turned: meta}
    )
    [found] = verbalise(graph, ["MADE"]).items
    assert found == Item("Film 7\nOf lanterns", ("Ingo Mar made",), ("Ingo Mar — made — Film 7",))


def encode(graph: Snapshot, workspace: Workspace, adapt: Adaptation | None) -> Output:
    with workspace.stage("encoded").create("f") as draft:
        encode_views(graph, EmbedConfig(text=TextModel(adapt=adapt), device="cpu"), workspace, draft)
    output = workspace.stage("encoded").current()
    assert output is not None
    return output


def test_the_text_view_is_the_adapted_one(told_films: Snapshot, tmp_path: Path) -> None:
    """The second time neither the adapter is learned nor a text encoded."""
    workspace, short = (
        Workspace(tmp_path),
        QUICK.model_copy(update={"steps": 1, "batch_size": 4, "learning_rate": 0.05}),
    )
    plain = encode(told_films, workspace, None)
    raw = read_views(plain, told_films).by_view["v"]["Film"].vectors
    first = encode(told_films, workspace, short)
    [kept] = (tmp_path / "cache" / "adapters").iterdir()
    written = (kept / "figures.json").stat().st_mtime_ns
    second = encode(told_films, workspace, short)
    assert (kept / "figures.json").stat().st_mtime_ns == written
    one, two = (read_views(output, told_films).by_view["v"]["Film"].vectors for output in (first, second))
    assert np.array_equal(one, two)
    assert not np.allclose(one, raw, atol=1e-3)
    fingerprints = [output.manifest.meta["models"]["text"]["fingerprint"] for output in (plain, first, second)]
    assert fingerprints[0] != fingerprints[1] == fingerprints[2]
    assert [output.manifest.figures["text"]["Film"]["encoded"] for output in (first, second)] == [FILMS - 1, 0]
    assert first.manifest.figures["adapted"] == second.manifest.figures["adapted"]
    assert adapters.load(second.filesystem, second.location("adapter")) is not None
