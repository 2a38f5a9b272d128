"""Milliseconds of each kernel of message passing, forward and backward: `python -m tests.benchmarks.messages`.

`embed.messages` takes the faster one by operation and device. Edges are drawn as interactions are: few items have most.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from dgl import ops
from torch import Tensor

from embed.messages import Edges, _SparseSum, edge_softmax, scattered_sum

USERS, ITEMS, HEADS = 6_000, 3_500, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Time all kernels, print the table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.messages", description=__doc__)
    parser.add_argument("--edges", type=int, default=800_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args(arguments)
    found = milliseconds(options.edges, options.dim, options.rounds)
    for name, times in found.items():
        print(f"{name:<10} " + "  ".join(f"{kernel} {value:8.1f}" for kernel, value in times.items()))
    if options.json:
        options.json.write_text(json.dumps({"milliseconds": found}, indent=1) + "\n")
    return 0


def milliseconds(count: int, dim: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by operation and kernel, the kernels in turns."""
    generator = torch.Generator().manual_seed(0)
    src = torch.randint(USERS, (count,), generator=generator)
    dst = (ITEMS * torch.rand(count, generator=generator) ** 2).long()
    plain = Edges(src, dst, USERS, ITEMS)
    weighted = Edges(src, dst, USERS, ITEMS, torch.rand(count, generator=generator))
    x = torch.randn(USERS, dim, generator=generator)
    logits, values = torch.randn(count, HEADS, generator=generator), x.view(USERS, HEADS, -1)
    weight = weighted.weight
    assert weight is not None
    cases: dict[str, dict[str, tuple[Callable[[Tensor], Tensor], Tensor]]] = {
        "sum": {
            "dgl": (lambda given: ops.copy_u_sum(plain.graph, given), x),
            "torch": (lambda given: _SparseSum.apply(given, plain), x),
        },
        "weighted": {
            "dgl": (lambda given: ops.u_mul_e_sum(weighted.graph, given, weight[:, None]), x),
            "torch": (lambda given: _SparseSum.apply(given, weighted), x),
        },
        "softmax": {
            "dgl": (lambda given: ops.edge_softmax(plain.graph, given), logits),
            "torch": (lambda given: edge_softmax(plain, given), logits),
        },
        "attention": {
            "dgl": (lambda given: ops.u_mul_e_sum(plain.graph, given, logits[..., None]), values),
            "torch": (lambda given: scattered_sum(plain, given, logits), values),
        },
    }
    return {name: _in_turns(kernels, rounds) for name, kernels in cases.items()}


def _in_turns(kernels: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    for turn in range(rounds + 1):
        for kernel, (run, given) in kernels.items():
            leaf = given.clone().requires_grad_()
            started = time.perf_counter()
            run(leaf).sum().backward()
            if turn:  # the first makes what is made once
                times[kernel].append(1000 * (time.perf_counter() - started))
    return {kernel: statistics.median(found) for kernel, found in times.items()}


if __name__ == "__main__":
    raise SystemExit(main())
