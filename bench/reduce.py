#!/usr/bin/env python3
"""Reductions, softmax, copies and picking against PyTorch's, side by side in one run.

    python3 bench/reduce.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is the program build/bench/reduce_bench. GB/s count each operand and result once. PyTorch runs with an
allocator that keeps its memory (the settings of glibc below): with the usual ones it is slower. Roofs: the
rates of reading, and of copying (read and written), of large blocks.
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

# name: PyTorch's function of x, y, places, list; the operands and results of [N, N] that it moves
CASES = {
    "sum": (lambda x, y, p, l: x.sum(), 1),
    "sum_0": (lambda x, y, p, l: x.sum(0), 1),
    "sum_1": (lambda x, y, p, l: x.sum(1), 1),
    "mean_1": (lambda x, y, p, l: x.mean(1), 1),
    "var_1": (lambda x, y, p, l: x.var(1), 1),
    "amax_1": (lambda x, y, p, l: x.amax(1), 1),
    "argmax_0": (lambda x, y, p, l: x.argmax(0), 1),
    "argmax_1": (lambda x, y, p, l: x.argmax(1), 1),
    "softmax_1": (lambda x, y, p, l: x.softmax(1), 2),
    "softmax_0": (lambda x, y, p, l: x.softmax(0), 2),
    "log_softmax_1": (lambda x, y, p, l: x.log_softmax(1), 2),
    "softmax_backward": (None, 3),
    "transpose": (lambda x, y, p, l: x.t().contiguous(), 2),
    "clone": (lambda x, y, p, l: x.clone(), 2),
    "convert": (lambda x, y, p, l: x.to(torch.bfloat16 if x.dtype == torch.float32 else torch.float32), None),
    "cat_0": (lambda x, y, p, l: torch.cat([x, y], 0), 4),
    "cat_1": (lambda x, y, p, l: torch.cat([x, y], 1), 4),
    "index_select": (lambda x, y, p, l: x.index_select(0, l), 2),
    "gather_0": (lambda x, y, p, l: x.gather(0, p), None),
    "gather_1": (lambda x, y, p, l: x.gather(1, p), None),
}
PLACES = ("argmax_0", "argmax_1")  # results that have to agree exactly, in the tensors' own dtype


def hashes(count, n):
    h = (np.arange(count, dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    return h ^ (h >> 13)


@functools.lru_cache(maxsize=4)
def inputs(n):
    """Those of reduce_bench."""
    x, y = (torch.from_numpy(((hashes(n * n, k) >> 8).astype(np.float32) / 4194304 - 2).reshape(n, n)) for k in (0, 1))
    places = torch.from_numpy((hashes(n * n, 9) % n).astype(np.int64).reshape(n, n))
    return x, y, places, torch.from_numpy((hashes(n, 9) % n).astype(np.int64))


def peer(name, dtype, n, exact=False):
    """A function to time, and the bytes that a call has to move. exact: in f64, from the same inputs."""
    x, y, places, indices = inputs(n)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    work = torch.float64 if exact and name not in PLACES + ("convert",) else kind
    x, y = (t.to(kind).to(work) for t in (x, y))
    function, factor = CASES[name]
    size = x.element_size()
    moved = n * n * (6 if name == "convert" else 8 + 2 * size if name.startswith("gather") else factor * size)
    if function is None:
        x.requires_grad_()
        out = x.softmax(1)
        return lambda: torch.autograd.grad(out, x, y, retain_graph=True)[0], moved
    return lambda: function(x, y, places, indices), moved


def measure(bench, ours, case, roofs):
    name, dtype, n = case
    title = f"{name} {dtype} [{n}, {n}]"
    if not bench.wants(title):
        return
    with tempfile.NamedTemporaryFile() as file:
        ours.ask(name, dtype, 1024, 0, file.name)
        agreement = common.distance(np.fromfile(file.name, np.float32), peer(name, dtype, 1024, exact=True)[0]().detach().double())
    run, moved = peer(*case)
    with torch.no_grad() if CASES[name][0] else torch.enable_grad():
        times = bench.turns(budget=0.12, ours=lambda budget: ours.number(*case, budget, "-"),
                            torch=lambda budget: common.median_seconds(run, budget))
    rate = moved / times["ours"]
    roof = roofs["read" if CASES[name][1] == 1 else "copy"]
    tolerance = 0 if name in PLACES else 0.004 if dtype == "bf16" else 2e-6
    bench.row(title, "GB/s", rate / 1e9, moved / times["torch"] / 1e9, "torch", 1.0, rate / roof, agreement,
              tolerance=tolerance)


def main():
    bench = common.Bench("reduce", __doc__)
    roofs = {what: bench.roof(what) for what in ("read", "copy")}
    ours = bench.program("reduce_bench")
    for name in CASES:
        for dtype in ("f32", "bf16"):
            for n in (1024, 4096):
                measure(bench, ours, (name, dtype, n), roofs)
    bench.write()


if __name__ == "__main__":
    main()
