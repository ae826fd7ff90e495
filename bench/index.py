#!/usr/bin/env python3
"""Indexing, rearranging, creating, sorting, scanning and drawing against PyTorch's, side by side in one run.

    python3 bench/index.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is the program build/bench/index_bench. GB/s count each operand and result once (indices included, a
result in place of a copy as read and written). PyTorch runs with an allocator that keeps its memory.
Draws are compared by their mean and deviation alone: the generators differ.
"""

import reduce as shared  # noqa: E402  (its inputs, and the allocator's settings)

import tempfile

import common
import numpy as np
import torch

N = 1024  # of the agreement


def index_put(x, at, values, accumulate):
    return torch.index_put(x, (at,), values, accumulate)


# name: PyTorch's function of x, y, places, list, mask, row; the operands and results of [N, N] that it moves in
# its own dtype; the bytes of indices for each element
CASES = {
    "full": (lambda a: torch.full_like(a.x, 1.5), 1, 0),
    "zeros": (lambda a: torch.zeros_like(a.x), 1, 0),
    "arange": (lambda a: torch.arange(a.x.numel(), dtype=a.x.dtype), 1, 0),
    "triu": (lambda a: a.x.triu(), 1.5, 0),
    "outer": (lambda a: torch.outer(a.row, a.row), 1, 0),
    "mv": (lambda a: a.x @ a.row, 1, 0),
    "flip": (lambda a: a.x.flip((0, 1)), 2, 0),
    "roll": (lambda a: a.x.roll(100, 1), 2, 0),
    "repeat": (lambda a: a.x[: len(a.x) // 4].repeat(2, 2), 1.25, 0),
    "repeat_interleave": (lambda a: a.x[: len(a.x) // 2].repeat_interleave(2, 0), 1.5, 0),
    "pad": (lambda a: torch.constant_pad_nd(a.x, (1, 1, 1, 1)), 2, 0),
    "pad_reflect": (lambda a: torch.nn.functional.pad(a.x[None], (3, 3, 3, 3), "reflect"), 2, 0),
    "hstack": (lambda a: torch.hstack((a.x, a.y)), 4, 0),
    "select_scatter": (lambda a: a.x.select_scatter(a.row, 0, 7), 2, 0),
    "slice_scatter": (lambda a: a.x.slice_scatter(a.y[: len(a.x) // 2], 0, 0, len(a.x) // 2), 2, 0),
    "index_select": (lambda a: a.x.index_select(0, a.list), 2, 0),
    "index_select_1": (lambda a: a.x.index_select(1, a.list), 2, 0),
    "gather_0": (lambda a: a.x.gather(0, a.places), 2, 8),
    "gather_1": (lambda a: a.x.gather(1, a.places), 2, 8),
    "scatter_1": (lambda a: a.x.scatter(1, a.places, a.y), 3, 8),
    "scatter_add_0": (lambda a: a.x.scatter_add(0, a.places, a.y), 3, 8),
    "scatter_add_1": (lambda a: a.x.scatter_add(1, a.places, a.y), 3, 8),
    "index_add": (lambda a: a.x.index_add(0, a.list, a.y), 3, 0),
    "index": (lambda a: a.x[a.list], 2, 0),
    "index_put": (lambda a: index_put(a.x, a.list, a.y, False), 3, 0),
    "index_put_add": (lambda a: index_put(a.x, a.list, a.y, True), 3, 0),
    "masked_fill": (lambda a: a.x.masked_fill(a.mask, 3), 2, 1),
    "masked_select": (lambda a: a.x.masked_select(a.mask), 1.5, 1),
    "nonzero": (lambda a: a.mask.nonzero(), 0, 9),
    "cumsum_1": (lambda a: a.x.cumsum(1), 2, 0),
    "cumsum_0": (lambda a: a.x.cumsum(0), 2, 0),
    "cummax_1": (lambda a: a.x.cummax(1)[0], 2, 8),
    "sort_1": (lambda a: a.x.sort(1, stable=True)[0], 2, 8),
    "sort_0": (lambda a: a.x.sort(0, stable=True)[0], 2, 8),
    "topk50": (lambda a: a.x.topk(50, 1)[0], 1, 0),
    "rand": (lambda a: torch.rand(a.x.shape, dtype=a.x.dtype), 1, 0),
    "randn": (lambda a: torch.randn(a.x.shape, dtype=a.x.dtype), 1, 0),
    "exponential": (lambda a: torch.empty_like(a.x).exponential_(), 1, 0),
    "randint": (lambda a: torch.randint(0, 1000, a.x.shape), 0, 8),
    "randperm": (lambda a: torch.randperm(a.x.numel()), 0, 8),
    "multinomial": (lambda a: torch.multinomial(a.x + 2, 1, True), 1, 0),
}
DRAWS = ("rand", "randn", "exponential", "randint", "randperm", "multinomial")
# Places that meet: the last stays here, any there.
MEETING = ("scatter_1", "index_put")
SLOW = ("sort", "topk", "randperm", "cummax")


class Inputs:
    """Those of index_bench."""

    def __init__(self, dtype, n, exact):
        x, y, self.places, self.list = shared.inputs(n)
        kind = torch.bfloat16 if dtype == "bf16" else torch.float32
        self.x, self.y = x.to(kind), y.to(kind)
        if exact:  # in f64, from the same inputs
            self.x, self.y = self.x.double(), self.y.double()
        self.mask, self.row = self.x > 0, self.x[3].clone()


def agreement(ours, name, dtype):
    with tempfile.NamedTemporaryFile() as file:
        ours.ask(name, dtype, N, 0, file.name)
        mine = np.fromfile(file.name, np.float32)
    if name in MEETING:
        return None
    theirs = CASES[name][0](Inputs(dtype, N, name not in DRAWS)).double().numpy().ravel()
    if name not in DRAWS:
        return common.distance(mine, theirs)
    if name == "randperm":
        mine = np.sort(mine)
        return common.distance(mine, np.arange(len(mine)))
    # Distance of mean and deviation in standard errors, as a part of what is allowed (5).
    error = theirs.std() / np.sqrt(len(mine))
    return max(abs(mine.mean() - theirs.mean()), abs(mine.std() - theirs.std())) / error / 5 * 1e-6


def main():
    bench = common.Bench("index", __doc__)
    copy = bench.roof("copy")
    ours = bench.program("index_bench")
    for name, (function, factor, extra) in CASES.items():
        for dtype in ("f32", "bf16"):
            for n in (1024, 4096):
                title = f"{name} {dtype} [{n}, {n}]"
                if not bench.wants(title) or (dtype == "bf16" and factor == 0):
                    continue
                agrees = agreement(ours, name, dtype)
                inputs = Inputs(dtype, n, False)
                moved = n * n * (factor * inputs.x.element_size() + extra)
                count = 2 if name.startswith(SLOW) and n > 1024 else None
                with torch.no_grad():
                    times = bench.turns(count=count, budget=0.12,
                                        ours=lambda budget: ours.number(name, dtype, n, budget, "-"),
                                        torch=lambda budget: common.median_seconds(lambda: function(inputs), budget))
                bench.row(title, "GB/s", moved / times["ours"] / 1e9, moved / times["torch"] / 1e9, "torch", 1.0,
                          moved / times["ours"] / copy, agrees,
                          tolerance=None if agrees is None else 0.004 if dtype == "bf16" else 2e-6)
    bench.write()


if __name__ == "__main__":
    main()
