#!/usr/bin/env python3
"""Operators through wellspring's Python package and through PyTorch, side by side in one process.

    python3 bench/operators.py [--build build] [--threads N] [--quick] [--only NAME] [--sizes 64,1024,4096]

Each operator on [n, n] (64, 1024, 4096) in f32 and bf16, with all threads and with one. PyTorch runs as shipped (peer
column); a second row, with an allocator that keeps its memory for both, is its best. Shapes of products: Qwen2.5-7B's
and Llama-3-8B's linear layers are in bench/matmul.py. GB/s count each operand and result once.
"""

import os
import subprocess
import sys

import common

KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}
common.need("torch", preload=False)
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402


def unary(name, theirs=None, bytes_moved=2):
    return lambda ws, x: getattr(ws, name)(x[0]), theirs or (lambda x: getattr(torch, name)(x[0])), 1, bytes_moved


def binary(name):
    return lambda ws, x: getattr(ws, name)(x[0], x[1]), lambda x: getattr(torch, name)(x[0], x[1]), 2, 3


# name: ours, PyTorch's, operands, operands and results that must move
OPERATORS = {
    **{n: binary(n) for n in ("add", "mul", "div", "maximum")},
    **{n: unary(n) for n in ("exp", "log", "tanh", "sigmoid", "sin", "erf", "sqrt", "neg", "abs", "relu")},
    "silu": unary("silu", lambda x: F.silu(x[0])),
    "gelu_erf": unary("gelu_erf", lambda x: F.gelu(x[0])),
    "gelu_tanh": unary("gelu_tanh", lambda x: F.gelu(x[0], approximate="tanh")),
    "softmax": (lambda ws, x: ws.softmax(x[0], -1), lambda x: torch.softmax(x[0], -1), 1, 2),
    "log_softmax": (lambda ws, x: ws.log_softmax(x[0], -1), lambda x: torch.log_softmax(x[0], -1), 1, 2),
    "sum(-1)": (lambda ws, x: ws.sum(x[0], -1), lambda x: torch.sum(x[0], -1), 1, 1),
    "sum(0)": (lambda ws, x: ws.sum(x[0], 0), lambda x: torch.sum(x[0], 0), 1, 1),
    "mean": (lambda ws, x: ws.mean(x[0]), lambda x: torch.mean(x[0]), 1, 1),
    "amax(-1)": (lambda ws, x: ws.amax(x[0], -1), lambda x: torch.amax(x[0], -1), 1, 1),
    "argmax(-1)": (lambda ws, x: ws.argmax(x[0], -1), lambda x: torch.argmax(x[0], -1), 1, 1),
    "cat": (lambda ws, x: ws.cat([x[0], x[1]]), lambda x: torch.cat([x[0], x[1]]), 2, 4),
    "transpose.contiguous": (lambda ws, x: ws.contiguous(ws.transpose(x[0], 0, 1)), lambda x: x[0].t().contiguous(), 1, 2),
    "where": (lambda ws, x: ws.where(x[2], x[0], x[1]), lambda x: torch.where(x[2], x[0], x[1]), 2, 3),
    "rms_norm": (lambda ws, x: ws.rms_norm(x[0], x[3]), lambda x: F.rms_norm(x[0], (x[0].shape[1],), x[3].to(x[0].dtype), 1e-5), 1, 2),
    "layer_norm": (lambda ws, x: ws.layer_norm(x[0], x[3], x[3]),
                   lambda x: F.layer_norm(x[0], (x[0].shape[1],), x[3].to(x[0].dtype), x[3].to(x[0].dtype)), 1, 2),
    "matmul": (lambda ws, x: ws.matmul(x[0], x[1]), lambda x: torch.matmul(x[0], x[1]), 2, 0),
}


def measure(bench, ws, name, dtype, n, threads):
    tuned = "MALLOC_MMAP_MAX_" in os.environ
    title = f"{name} {dtype} [{n}, {n}] x{threads}" + (", PyTorch's allocator tuned" if tuned else "")
    if not bench.wants(title):
        return
    ours, theirs, operands, moved = OPERATORS[name]
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    torch.manual_seed(0)
    x = [torch.rand(n, n).add_(0.25).to(kind) for _ in range(2)]
    x += [torch.rand(n, n) > 0.5, torch.rand(n) + 0.5]
    y = [ws.from_dlpack(t) for t in x]
    torch.set_num_threads(threads)
    ws.set_threads(threads)
    a, b = ours(ws, y), theirs(x)
    agreement = common.distance(torch.from_dlpack(a).double(), b.double())
    budget = 0.02 if bench.args.quick else 0.12
    times = bench.turns(count=1 if bench.args.quick else 3, budget=budget,
                        ours=lambda s: common.median_seconds(lambda: ours(ws, y), s),
                        torch=lambda s: common.median_seconds(lambda: theirs(x), s))
    size = n * n * kind.itemsize
    work, unit = (2 * n**3 / 1e9, "GF/s") if name == "matmul" else (moved * size / 1e9, "GB/s")
    if n <= 64:
        bench.row(title, "us", times["ours"] * 1e6, times["torch"] * 1e6, "torch", 0.9, agreement=agreement, threads=threads)
    else:
        bench.row(title, unit, work / times["ours"], work / times["torch"], "torch", 0.9, agreement=agreement,
                  tolerance=2e-2 if dtype == "bf16" else 1e-5, threads=threads)


def main():
    def arguments(parser):
        parser.add_argument("--sizes", default="64,1024,4096")

    bench = common.Bench("operators", __doc__, arguments)
    sys.path.insert(0, os.path.join(bench.args.build, "python"))
    import wellspring as ws
    for threads in sorted({bench.threads, 1}, reverse=True):
        for n in map(int, bench.args.sizes.split(",")):
            for dtype in ("f32", "bf16"):
                for name in OPERATORS:
                    measure(bench, ws, name, dtype, n, threads)
    ratios = [r["ratio"] for r in bench.rows if r["ratio"]]
    mean = 1.0
    for r in ratios:
        mean *= r ** (1 / len(ratios))
    what = "geometric mean of all" + (", PyTorch's allocator tuned" if "MALLOC_MMAP_MAX_" in os.environ else "")
    bench.row(what, "ratio", mean, 1.0, "torch", 2.0 if "MALLOC_MMAP_MAX_" in os.environ else 3.0)
    bench.write()
    if "MALLOC_MMAP_MAX_" not in os.environ:
        only = ["--only", ", PyTorch's allocator tuned"] if not bench.args.only else []
        if only:
            subprocess.run([sys.executable] + sys.argv + only, check=True, env={**os.environ, **KEEPING})


if __name__ == "__main__":
    main()
