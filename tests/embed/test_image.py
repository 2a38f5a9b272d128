from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import embed.ops
from embed.config import ImageModel
from embed.image import ImageEncoder
from embed.ops import cpu_has_bfloat16, half_precision, halved
from kg.errors import ConfigError


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder(ImageModel(batch_size=2), "cpu")


def draw(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (300, 450)) -> str:
    """A gradient in one colour with a frame; green ones are chequered, for these features see form before colour."""
    ramp = np.linspace(0.3, 1, size[1])[:, None, None] * np.array(colour)[None, None]
    picture = np.broadcast_to(ramp, (size[1], size[0], 3)).astype(np.uint8).copy()
    picture[:20] = 255
    if colour[1] > colour[0]:
        picture[np.indices(picture.shape[:2]).sum(0) // 40 % 2 == 0] = 0
    Image.fromarray(picture).save(path)
    return str(path)


def test_pictures_keep_their_order_and_like_ones_are_near(encoder: ImageEncoder, tmp_path: Path) -> None:
    paths = [draw(tmp_path / "a.jpg", (200, 30, 30)), draw(tmp_path / "b.png", (30, 200, 30))]
    paths.append(draw(tmp_path / "c.png", (205, 35, 30), (320, 460)))
    vectors, good = encoder.encode(paths)
    assert vectors.shape == (3, 1280) and vectors.dtype == np.float32 and good.all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1]
    alone = np.concatenate([encoder.encode([path])[0] for path in paths])
    assert ((alone * vectors).sum(1) > 0.999).all()


def test_the_folded_tower_is_the_plain_one(encoder: ImageEncoder, tmp_path: Path) -> None:
    """timm's own, picture by picture in float32: padding by copies, and a norm after every convolution."""
    assert cpu_has_bfloat16() or not any(isinstance(m, torch.nn.BatchNorm2d) for m in encoder.apply.modules())
    paths = [draw(tmp_path / f"{i}.png", (200 - 40 * i, 50 * i, 90), (200 + 31 * i, 300)) for i in range(4)]
    with torch.inference_mode():
        plain = [encoder.tower(encoder.transform(Image.open(path).convert("RGB"))[None])[0].numpy() for path in paths]
    expected = np.stack([vector / np.linalg.norm(vector) for vector in plain])
    # 1e-6 in float32; bfloat16, where the processor has it, costs up to 1e-3.
    assert ((encoder.encode(paths)[0] * expected).sum(1) > 1 - (1e-3 if cpu_has_bfloat16() else 1e-6)).all()


def test_half_width_weights_are_those_of_autocast(encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with bfloat16; any other computes the same, only slowly."""
    monkeypatch.setattr(embed.ops, "cpu_has_bfloat16", lambda: True)
    cpu, picture = torch.device("cpu"), torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    narrow = halved(encoder.tower, cpu)
    assert narrow is not encoder.tower and narrow.conv_stem.weight.dtype == torch.bfloat16
    with half_precision(cpu):
        assert torch.equal(narrow(picture), encoder.tower(picture))


def test_a_broken_picture_is_masked(encoder: ImageEncoder, tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole.jpg", (90, 90, 200))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "short.jpg").write_bytes(Path(whole).read_bytes()[:900])
    (tmp_path / "empty.png").write_bytes(b"")
    paths = [str(tmp_path / "text.jpg"), whole, str(tmp_path / "short.jpg"), str(tmp_path / "empty.png"), "/no/such"]
    vectors, good = encoder.encode(paths)
    assert good.tolist() == [False, True, False, False, False]
    assert not vectors[~good].any() and np.isclose(np.linalg.norm(vectors[1]), 1, atol=1e-3)
    nothing, none_good = encoder.encode(paths[:1])
    assert len(nothing) == 1 and not none_good.any()


def test_a_grey_or_transparent_picture_is_read(encoder: ImageEncoder, tmp_path: Path) -> None:
    Image.new("L", (50, 60), 128).save(tmp_path / "grey.png")
    Image.new("RGBA", (50, 60), (10, 20, 30, 40)).save(tmp_path / "clear.png")
    assert encoder.encode([str(tmp_path / "grey.png"), str(tmp_path / "clear.png")])[1].all()


def test_any_open_clip_model_with_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("ViT-S-32-alt", precision="fp32")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = ImageEncoder(ImageModel(model="ViT-S-32-alt", pretrained=str(tmp_path / "weights.pt")), "cpu")
    path = draw(tmp_path / "a.png", (10, 200, 99))
    with torch.no_grad():
        expected = model.eval().encode_image(transform(Image.open(path))[None], normalize=True)[0].numpy()
    assert encoder.encode([path])[0][0] @ expected > 0.999


def test_unknown_models_are_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"embed\.image\.pretrained: expected a tag"):
        ImageEncoder(ImageModel(model="ViT-B-32"), "cpu")
    with pytest.raises(ConfigError, match="cannot load 'no-such-model'") as caught:
        ImageEncoder(ImageModel(model="no-such-model", pretrained="openai"), "cpu")
    assert "\n" not in str(caught.value)
