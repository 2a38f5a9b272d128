"""Two real processes under torchrun learn one model."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.embed import planted
from tests.embed.together import CONFIGS, JOINED, Planted

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def torchrun(job: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "tests.embed.together", job, str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each of two processes had after each training."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun("lead", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    names = [*CONFIGS, "uneven", "uneven-whole"]
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in (0, 1)] for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("alone"))


def test_all_end_with_equal_weights(together: dict[str, list[dict[str, Any]]]) -> None:
    for name, (first, second) in together.items():
        assert first["weights"].keys() == second["weights"].keys()
        assert all(torch.equal(first["weights"][key], second["weights"][key]) for key in first["weights"]), name
        assert first["losses"] == second["losses"] and first["metrics"] == second["metrics"]
        assert first["stopped"] == second["stopped"]


def test_the_mean_gradient_is_that_of_the_joined_batch(
    together: dict[str, list[dict[str, Any]]], alone: Planted
) -> None:
    """Of an epoch's last step, whose batches differ in size; its edges are hidden from both processes."""
    one = alone.fit(JOINED, validate=alone.hits)
    assert len(alone.train) > 2 * JOINED.batch_size and len(alone.train) % JOINED.batch_size % 2 == 1
    learned = 0
    for key, parameter in one.network.named_parameters():
        found = together["exact"][0]["gradients"][key]
        assert (parameter.grad is None) == (found is None), key
        if parameter.grad is not None:
            torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=0)
            learned += int(parameter.grad.abs().max() > 1e-3)
    assert learned > 10
    assert together["exact"][0]["losses"] == pytest.approx(one.history.losses, abs=1e-5)


def test_two_learn_as_well_as_one(together: dict[str, list[dict[str, Any]]], alone: Planted) -> None:
    best = max(alone.fit(planted.SMALL, epochs=8, validate=alone.hits).history.metrics)
    for name in ("learning", "sampled"):
        found = together[name][0]
        assert found["losses"][-1] < 0.9 * found["losses"][0]
        # Eight of 44 at random would hit 18%.
        assert max(found["metrics"]) > max(0.5, best - 0.1), name


def test_one_seed_repeats_and_each_process_has_a_randomness_of_its_own(
    together: dict[str, list[dict[str, Any]]],
) -> None:
    for rank in (0, 1):
        for name, again in (("learning", "again"), ("sampled", "sampled again")):
            one, two = (together[run][rank] for run in (name, again))
            assert one["losses"][:2] == two["losses"] and one["metrics"][:2] == two["metrics"]
    one, other = (found["random"] for found in together["learning"])
    assert not torch.equal(one, other)


def test_who_has_no_edge_left_waits_for_the_others(together: dict[str, list[dict[str, Any]]]) -> None:
    for name in ("uneven", "uneven-whole"):
        assert [len(found["losses"]) for found in together[name]] == [2, 2]


def test_a_failing_first_process_ends_the_others(tmp_path: Path) -> None:
    done = torchrun("fail", tmp_path)
    assert done.returncode != 0 and "planted failure" in done.stderr
    for rank in (0, 1):
        pid = int((tmp_path / f"pid-{rank}").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
