"""A command under torchrun: its first process runs it, the others help it to train, and do nothing else.

Spark, Neo4j, encoders, the adaptation of encoders and the ranker are the first process's alone.
"""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed.distributed import World


def rank() -> int | None:
    """This process's number under torchrun with several processes, else None."""
    several = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    return int(os.environ["RANK"]) if several else None


def world() -> "World":
    """The processes that train together: all that torchrun started, or this one alone.

    The first process asks only when it comes to train, for that loads torch; the others have been waiting.
    """
    from embed.distributed import ALONE, join

    return ALONE if rank() is None else join()


def led_by_first(command: Callable[[], Any]) -> Any:
    """Run a command in the first process, for its exit code or None; the others help until it has ended, for None.

    Where it fails they are not told, for they may be in the midst of a step: torchrun ends them.
    """
    if rank():
        _follow()
        return None
    code = command()
    if rank() is not None and not code:
        world().dismiss()
    return code


def _follow() -> None:
    from embed.distributed import serve

    # Waiting for another process is no Python code, which alone would heed Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(world())
