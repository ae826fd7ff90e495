#!/usr/bin/env python3
"""Pointwise operators against PyTorch's, side by side in one run.

    python3 bench/pointwise.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is the program build/bench/pointwise_bench. GB/s count each operand and result once. PyTorch runs with
an allocator that keeps its memory (the settings of glibc below): with the usual ones it is slower. Roof: the
rate of copying, read and written, of large blocks.
"""

import functools
import os
import sys
import tempfile

KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}
if any(os.environ.get(k) != v for k, v in KEEPING.items()):
    os.environ.update(KEEPING)
    os.execv(sys.executable, [sys.executable] + sys.argv)

import common  # noqa: E402

common.need("torch")
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

# name: PyTorch's function, operands
OPERATORS = {
    "add": (torch.add, 2), "mul": (torch.mul, 2), "div": (torch.div, 2),
    "where": (lambda c, x, y: torch.where(c, x, y), 3),
    "exp": (torch.exp, 1), "log": (torch.log, 1), "sin": (torch.sin, 1), "tanh": (torch.tanh, 1),
    "erf": (torch.erf, 1), "sigmoid": (torch.sigmoid, 1), "pow": (torch.pow, 2),
    "silu": (F.silu, 1), "gelu_erf": (F.gelu, 1), "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), 1),
}
FORWARD = [("forward", op, "f32", 4096) for op in OPERATORS]
FORWARD += [("forward", op, "bf16", 4096) for op in ("add", "mul", "exp", "silu", "gelu_erf", "gelu_tanh")]
FORWARD += [("row", "add", "f32", 4096), ("row", "mul", "bf16", 4096)]
FORWARD += [("forward", op, "f32", 1024) for op in ("add", "mul", "exp", "silu", "gelu_tanh")]
BACKWARD = [("backward", op, dtype, 4096) for op in ("mul", "silu", "gelu_tanh") for dtype in ("f32", "bf16")]


@functools.lru_cache(maxsize=6)
def hashed(shape, n):
    """The inputs of pointwise_bench: element i is a hash of i, in [0.25, 4.25)."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return torch.from_numpy(((h >> 8).astype(np.float32) / 4194304 + 0.25).reshape(shape))


def peer(what, name, dtype, n, exact=False):
    """A function to time, and the bytes that a call has to move. exact: in f64, from the same inputs."""
    function, operands = OPERATORS[name]
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    work = torch.float64 if exact else kind
    x = [hashed((n,) if what == "row" and i == 1 else (n, n), i).to(kind).to(work) for i in range(operands)]
    if name == "where":
        x[0] = x[0] < 2
    moved = sum(t.numel() * t.element_size() for t in x) + n * n * work.itemsize
    if what != "backward":
        def run():
            with torch.no_grad():
                return function(*x)
        return run, moved
    for t in x:
        t.requires_grad_()
    y, g = function(*x), hashed((n, n), 7).to(kind).to(work)
    moved = (1 + 2 * operands) * n * n * work.itemsize
    return lambda: torch.autograd.grad(y, x, g, retain_graph=True)[0], moved


def measure(bench, ours, case, roof):
    what, name, dtype, n = case
    title = {"forward": name, "row": f"{name} with one row", "backward": f"{name} backward"}[what]
    title = f"{title} {dtype} [{n}, {n}]"
    if not bench.wants(title):
        return
    with tempfile.NamedTemporaryFile() as file:
        small = (what, name, dtype, 1024)
        ours.ask(*small, 0, file.name)
        agreement = common.distance(np.fromfile(file.name, np.float32), peer(*small, exact=True)[0]().detach())
    run, moved = peer(*case)
    times = bench.turns(budget=0.15, ours=lambda budget: ours.number(*case, budget, "-"),
                        torch=lambda budget: common.median_seconds(run, budget))
    rate = moved / times["ours"]
    bench.row(title, "GB/s", rate / 1e9, moved / times["torch"] / 1e9, "torch", 1.0,
              rate / roof, agreement, tolerance=0.003 if dtype == "bf16" else 3e-7)


def main():
    bench = common.Bench("pointwise", __doc__)
    roof = bench.roof("copy")
    ours = bench.program("pointwise_bench")
    for case in FORWARD + BACKWARD:
        measure(bench, ours, case, roof)
    bench.write()


if __name__ == "__main__":
    main()
