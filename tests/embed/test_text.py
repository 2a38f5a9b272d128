from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import embed.ops
from embed.config import TextModel
from embed.ops import half_precision, halved
from embed.text import TextEncoder, packaged_folder
from kg.errors import ConfigError

TEXTS = [
    "A cowboy doll is profoundly threatened and jealous when a new spaceman figure supplants him.",
    "Robots.",
    "Two toys argue over who is their owner's favourite and are lost on the way home.",
    "The annual report of a steel company, with tables of costs by quarter and by plant.",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(TextModel(batch_size=2), "cpu")


def test_packaged_equals_a_plain_loop(encoder: TextEncoder) -> None:
    """One text at a time, float32, no padding: mean of the token states, brought to length 1."""
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder())
    model = AutoModel.from_pretrained(packaged_folder(), dtype=torch.float32).eval()
    expected = []
    for text in TEXTS:
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        expected.append(mean / np.linalg.norm(mean))
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (4, 384)
    # bfloat16, where the processor has it, costs up to 1e-4 of cosine.
    assert ((found * np.stack(expected)).sum(1) > 0.9998).all()


def test_like_texts_are_near(encoder: TextEncoder) -> None:
    cosine = encoder.encode(TEXTS) @ encoder.encode(TEXTS).T
    assert cosine[0, 2] > cosine[0, 3] + 0.2


def test_progress_ends_at_all(encoder: TextEncoder) -> None:
    calls: list[tuple[int, int]] = []
    encoder.encode(TEXTS[:3], lambda done, of: calls.append((done, of)))
    assert calls == [(2, 3), (3, 3)]


def test_batches_on_several_threads_are_those_on_one(encoder: TextEncoder) -> None:
    """Eleven batches over three threads, of one core each; afterwards torch has its threads back, as have new ones."""
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 5)] + [""]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = encoder.encode(texts)
        torch.set_num_threads(3)
        several = encoder.encode(texts)
        with ThreadPoolExecutor(1) as pool:
            assert (torch.get_num_threads(), pool.submit(torch.get_num_threads).result()) == (3, 3)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(several, one, atol=1e-5)


def test_half_width_products_change_no_cosine_by_a_thousandth(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a processor with bfloat16; any other computes the same, only slowly."""
    monkeypatch.setattr(embed.ops, "cpu_has_bfloat16", lambda: False)
    full, fingerprint = encoder.encode(TEXTS), encoder.fingerprint
    monkeypatch.setattr(embed.ops, "cpu_has_bfloat16", lambda: True)
    half = encoder.encode(TEXTS)
    assert np.abs(full - half).max() > 0 and ((full * half).sum(1) >= 1 - 1e-3).all()
    assert encoder.fingerprint == fingerprint
    with half_precision(torch.device("cpu")):
        narrowed = encoder.model(**encoder.tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state
        copied = halved(encoder.model, torch.device("cpu"))(**encoder.tokenizer(TEXTS[1], return_tensors="pt"))
    assert torch.equal(narrowed, copied.last_hidden_state)


def test_the_fingerprint_tells_models_apart(encoder: TextEncoder) -> None:
    assert encoder.fingerprint == TextEncoder(TextModel(), "cpu").fingerprint
    assert encoder.fingerprint != TextEncoder(TextModel(max_length=64), "cpu").fingerprint


def test_an_unknown_model_is_one_clear_line(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match=r"embed\.text\.model: no model") as caught:
        TextEncoder(TextModel(model=str(tmp_path)), "cpu")
    assert "\n" not in str(caught.value)
