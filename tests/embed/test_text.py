import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from embed.config import TextModel
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


def test_the_fingerprint_tells_models_apart(encoder: TextEncoder) -> None:
    assert encoder.fingerprint == TextEncoder(TextModel(), "cpu").fingerprint
    assert encoder.fingerprint != TextEncoder(TextModel(max_length=64), "cpu").fingerprint


def test_an_unknown_model_is_one_clear_line(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match=r"embed\.text\.model: no model") as caught:
        TextEncoder(TextModel(model=str(tmp_path)), "cpu")
    assert "\n" not in str(caught.value)
