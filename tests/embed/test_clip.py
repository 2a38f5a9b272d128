import colorsys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageDraw

from embed.adapter import load, merge
from embed.cache import encode_views, read_views
from embed.clip import Pairs, Projections, assembled, fit, split
from embed.clip_adapt import adapt
from embed.clip_text import ClipText, text_tower
from embed.config import CatalogueClip, EmbedConfig, ImageModel, TextModel, TowerAdaptation
from embed.image import ImageEncoder
from embed.retrieval import chance, recall
from embed.snapshot import Snapshot
from embed.text import TextEncoder
from kg.errors import ConfigError
from kg.tables import Output, Workspace
from tests.embed.planted import BOOKS, FILMS

SHAPES = {"circle": "ellipse", "square": "rectangle", "stripes": "line"}
QUICK = CatalogueClip(dim=16, epochs=30, batch_size=16, learning_rate=0.01, dropout=0.0, held_out=0.4)


pytestmark = pytest.mark.usefixtures("one_thread")


def paint(path: Path, row: int) -> tuple[str, str]:
    """A shape on a ground, and what it is called; both repeat every three rows, size and colour never."""
    shape = list(SHAPES)[row % 3]
    picture = Image.new("RGB", (96, 96), tuple(int(255 * v) for v in colorsys.hsv_to_rgb(row / 50, 0.3, 0.9)))
    pen, edge = ImageDraw.Draw(picture), 10 + row % 12
    if shape == "stripes":
        for x in range(0, 96, 12):
            pen.line((x, 0, x, 96), fill=(20, 20, 20), width=4)
    else:
        getattr(pen, SHAPES[shape])((edge, edge, 96 - edge, 96 - edge), fill=(20, 20, 20))
    picture.save(path)
    return str(path), f"A picture of {shape}, number {row}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    folder = tmp_path_factory.mktemp("drawn")
    paths, texts = zip(*(paint(folder / f"{i}.png", i) for i in range(45)), strict=True)
    return list(paths), list(texts)


@pytest.fixture(scope="module")
def pairs(drawn: tuple[list[str], list[str]]) -> Pairs:
    paths, texts = drawn
    images, good = ImageEncoder(ImageModel(), "cpu").encode(paths)
    assert good.all()
    return Pairs(images, text_tower(ImageModel(), "cpu").encode(texts))


def test_recall_is_that_of_a_hand() -> None:
    """Row 0 finds its own first, row 1 second, row 2 third, row 3 shares the place with two others."""
    targets = np.eye(4)
    queries = np.array([[9.0, 1, 0, 0], [5, 4, 0, 0], [3, 2, 1, 0], [0, 1, 1, 1]])
    assert recall(queries, targets, (1, 2, 3)) == {"1": 0.25, "2": 0.5, "3": 1.0}
    assert chance(4, (1, 2, 8)) == {"1": 0.25, "2": 0.5, "8": 1.0}
    assert recall(np.ones((5, 3)), np.ones((5, 3)), (1, 4)) == {"1": 0.0, "4": 0.0}


def test_held_out_pictures_find_texts_of_their_kind(pairs: Pairs) -> None:
    projections, figures = fit(pairs, QUICK, 0)
    assert figures["pairs"] == 27 and figures["held_out"] == 9 and figures["chance"]["1"] == pytest.approx(1 / 9)
    assert figures["loss"][-1] < 0.7 * figures["loss"][0]
    assert (
        min(figures["held_out_loss"]) == figures["held_out_loss"][figures["best_epoch"]] < figures["held_out_loss"][0]
    )
    unseen = np.random.default_rng(0).permutation(45)[:9]
    images, texts = projections.project_images(pairs.images[unseen]), projections.project_texts(pairs.texts[unseen])
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    right = (unseen[(images @ texts.T).argmax(1)] % 3 == unseen % 3).mean()
    start, _ = fit(pairs, QUICK.model_copy(update={"epochs": 0}), 0)
    before = start.project_images(pairs.images[unseen]) @ start.project_texts(pairs.texts[unseen]).T
    assert right >= 8 / 9 > (unseen[before.argmax(1)] % 3 == unseen % 3).mean()


def test_one_seed_one_result(pairs: Pairs) -> None:
    short = QUICK.model_copy(update={"epochs": 3, "dropout": 0.3})
    (one, first), (two, second), (other, _) = (fit(pairs, short, seed) for seed in (0, 0, 1))
    assert first == second and torch.equal(one.image.weight, two.image.weight)
    assert not torch.equal(one.image.weight, other.image.weight)


def test_projections_make_an_open_clip_model(pairs: Pairs, drawn: tuple[list[str], list[str]]) -> None:
    """What is projected from cached features equals what open_clip's own model makes of pixels and tokens."""
    projections, _ = fit(pairs, QUICK.model_copy(update={"epochs": 2}), 0)
    model, (paths, texts) = assembled(projections), drawn
    encoder, reader = ImageEncoder(ImageModel(), "cpu"), text_tower(ImageModel(), "cpu")
    pixels = torch.stack([encoder.transform(Image.open(path)) for path in paths[:3]])
    tokens = reader.tokenizer(texts[:3], padding=True, return_tensors="pt")["input_ids"]  # type: ignore[attr-defined]
    with torch.no_grad():
        images = model.encode_image(pixels, normalize=True).numpy()  # type: ignore[operator]
        told = model.encode_text(tokens, normalize=True).numpy()  # type: ignore[operator]
    # bfloat16, where the processor has it, costs a little.
    assert ((images * projections.project_images(pairs.images[:3])).sum(1) > 0.998).all()
    assert ((told * projections.project_texts(pairs.texts[:3])).sum(1) > 0.998).all()
    assert float(model.logit_scale) == float(projections.logit_scale)


LORA = TowerAdaptation(rank=4, steps=12, batch_size=16, learning_rate=2e-3)


def test_an_adapted_text_tower_learns_what_pictures_show(pairs: Pairs, drawn: tuple[list[str], list[str]]) -> None:
    texts, encoder = drawn[1], TextEncoder(TextModel(), "cpu")
    before = encoder.fingerprint
    adapter = adapt(encoder, pairs.images, texts, QUICK, LORA, 0)
    losses = adapter.figures["loss"]
    assert encoder.fingerprint == before, "the encoder was changed"
    assert len(losses) == 12 and np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    # One seed, one result; what is held out takes no part: other texts and pictures in its place, the same result.
    learned = split(len(pairs), QUICK.held_out, np.random.default_rng(0))[-1]
    images, told = np.zeros_like(pairs.images), ["nothing"] * len(texts)
    for row in learned:
        images[row], told[row] = pairs.images[row], texts[row]
    assert adapt(encoder, images, told, QUICK, LORA, 0).figures == adapter.figures
    merge(encoder, adapter)
    assert encoder.fingerprint != before
    _, figures = fit(Pairs(pairs.images, encoder.encode(texts)), QUICK.model_copy(update={"epochs": 5}), 0)
    _, plain = fit(pairs, QUICK.model_copy(update={"epochs": 5}), 0)
    assert min(figures["held_out_loss"]) < min(plain["held_out_loss"])


def test_too_few_pairs_are_one_clear_line(pairs: Pairs) -> None:
    with pytest.raises(ConfigError, match=r"embed\.image\.clip: 5 items have a picture and a text, expected 20"):
        fit(pairs.take(np.arange(5)), QUICK, 0)


@pytest.fixture
def shown(snapshot: Snapshot, drawn: tuple[list[str], list[str]]) -> Snapshot:
    """Films and books have pictures; the last film has no text, the last book neither."""
    paths, texts = drawn
    nodes = dict(snapshot.nodes)
    for label, count, first in (("Film", FILMS, 0), ("Book", BOOKS, FILMS)):
        table = nodes[label]
        words = [*texts[first : first + count - 1], None]
        images = [*paths[first : first + count - 1], paths[-1] if label == "Film" else None]
        for column, values in (("text", words), ("image", images)):
            table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
        nodes[label] = table
    return replace(snapshot, nodes=nodes)


def encode(shown: Snapshot, workspace: Workspace, image: ImageModel) -> Output:
    with workspace.stage("encoded").create("f") as draft:
        encode_views(shown, EmbedConfig(image=image), workspace, draft)
    output = workspace.stage("encoded").current()
    assert output is not None
    return output


def test_the_image_view_is_the_projected_one(shown: Snapshot, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    raw = read_views(encode(shown, workspace, ImageModel()), shown)
    first = encode(shown, workspace, ImageModel(clip=QUICK))
    views = read_views(first, shown)
    assert (raw.widths["c"], views.widths["c"]) == (1280, 16)
    assert np.array_equal(views.by_view["c"]["Book"].mask, raw.by_view["c"]["Book"].mask)
    assert views.by_view["c"]["Film"].mask.all(), "a picture without a text is projected too"
    assert np.array_equal(views.by_view["v"]["Film"].vectors, raw.by_view["v"]["Film"].vectors)
    figures = first.manifest.figures
    assert figures["clip"]["pairs"] + 2 * figures["clip"]["held_out"] == FILMS + BOOKS - 2
    assert figures["image"]["Film"]["encoded"] == 0, "the towers' features come from the cache"
    assert first.manifest.meta["models"]["image"]["projections"]
    assert first.filesystem.get_file_info(first.location("clip.safetensors")).size > 16 * 1280 * 4


def test_the_adapter_of_the_text_tower_is_kept(shown: Snapshot, tmp_path: Path) -> None:
    adapted = QUICK.model_copy(update={"epochs": 1, "adapt": LORA.model_copy(update={"steps": 1})})
    output = encode(shown, Workspace(tmp_path), ImageModel(clip=adapted))
    assert len(output.manifest.figures["clip_adapted"]["loss"]) == 1
    found = load(output.filesystem, output.location("clip_adapter"))
    assert found is not None and len(found.tensors) > 0
    with pytest.raises(ConfigError, match=r"embed\.image\.clip\.adapt: only the packaged"):
        encode(shown, Workspace(tmp_path), named_weights(tmp_path).model_copy(update={"clip": adapted}))


def named_weights(folder: Path) -> ImageModel:
    """A named model with weights of its own, at random."""
    torch.manual_seed(0)
    model, _, _ = open_clip.create_model_and_transforms("ViT-S-32-alt", precision="fp32")
    torch.save(model.state_dict(), folder / "weights.pt")
    return ImageModel(model="ViT-S-32-alt", pretrained=str(folder / "weights.pt"))


def test_a_named_model_is_measured_as_it_is(shown: Snapshot, tmp_path: Path) -> None:
    """With no epochs a named model's own towers are compared: the projections change nothing."""
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("ViT-S-32-alt", precision="fp32")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    named = ImageModel(model="ViT-S-32-alt", pretrained=str(tmp_path / "weights.pt"), clip=CatalogueClip(epochs=0))
    output = encode(shown, Workspace(tmp_path / "runs"), named)
    views, clip = read_views(output, shown), output.manifest.figures["clip"]
    path, text = shown.nodes["Film"]["image"][0].as_py(), shown.nodes["Film"]["text"][0].as_py()
    tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
    with torch.no_grad():
        picture = model.eval().encode_image(transform(Image.open(path))[None], normalize=True)[0].numpy()
        told = model.encode_text(tokenizer([text]), normalize=True)[0].numpy()
    assert views.by_view["c"]["Film"].vectors[0] @ picture > 0.999
    assert ClipText(named, "cpu").encode([text])[0] @ told > 0.999
    assert clip["before"] == clip["after"] and clip["best_epoch"] == 0
    assert set(clip["after"]) == {"image_to_text", "text_to_image"}


def test_a_trained_model_starts_from_itself() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(Projections.as_trained(8, 3.0).project_images(vectors), vectors, atol=1e-6)
