"""A whole command under torchrun: one process runs it, two learn."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The first test here pays for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_two_processes_learn_what_one_evaluates(demo, tmp_path):
    """On a copy of the workspace, for what is published belongs to other tests; an evaluation leaves Neo4j alone."""
    workspace = Path(shutil.copytree(demo.workspace, tmp_path / "copy"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "flows.cli", "evaluate", *demo.project("embed.seed=3"), "--workspace", str(workspace)]
    done = subprocess.run(
        [*launcher, *command],
        cwd=demo.folder,
        env=demo.variables(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = demo.figures(workspace)
    assert figures["did"]["models_trained"] == 2
    for cut in ("user_time", "global_time"):
        history = figures["stages"][f"trained/{cut}"]["figures"]["history"]
        assert history["processes"] == 2
        assert history["losses"][-1] < history["losses"][0]
    # Said once: the other process prints nothing.
    assert done.stderr.count("trained/user_time: done") == 1
