#!/usr/bin/env python3
"""Operators through wellspring's Python package and through PyTorch, side by side in one process.

    python3 bench/operators.py [--build build] [--threads N] [--quick] [--only NAME] [--shapes 64x64,1024x1024,...]

Each operator on [n, n] in f32 and bf16 with all threads, and with one at n = 1024; those that take any shape also on
[64, 512, 512] and [2^26]. PyTorch runs as shipped; a second
run has an allocator that keeps its memory for both, which is PyTorch's best. GB/s count each operand and result once;
the share from 4096 squared on is of the rate of copying memory, or of multiply-adds. Rows "fixed" have a shape of their own:
convolutions, transforms, and the linear layers of Qwen2.5-7B and Llama-3-8B.
"""

import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import common

KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}
TUNED = "MALLOC_MMAP_MAX_" in os.environ
common.need("torch", preload=False)
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


# PyTorch's functions in one place, as ours are.
theirs = SimpleNamespace(**{**vars(F), **vars(torch)})
ours = None  # the package of --build


def same(moved, call):
    return call, call, moved


def named(moved, *names):
    """Operators of one tensor that both sides call by one name."""
    return {n: same(moved, lambda m, x, n=n: getattr(m, n)(x.a)) for n in names}


def paired(moved, *names):
    return {n: same(moved, lambda m, x, n=n: getattr(m, n)(x.a, x.b)) for n in names}


def integers(*names):
    return {f"{n} i32": same(3, lambda m, x, n=n: getattr(m, n)(x.i, x.j)) for n in names}


# name: call of ours, call of PyTorch's, what must move: tensors of [n, n] elements, or those and further bytes for an
# element (masks, indices); 0: a product
OPERATORS = {
    **named(2, "abs", "neg", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tan",
            "cosh", "asin", "acos", "atanh", "erfc", "erfinv", "sqrt", "rsqrt", "reciprocal",
            "square", "floor", "ceil", "round", "trunc", "sign", "frac", "logit", "lgamma",
            "digamma", "clone",
            "rand_like", "randn_like", "bernoulli"),
    **{n: same(2, lambda m, x, n=n: getattr(m, n)(x.around)) for n in (
        "sin", "cos", "tanh", "sinh", "asinh", "atan", "erf", "sigmoid", "relu", "silu", "hardswish", "hardsigmoid", "mish",
        "selu", "elu", "softplus", "leaky_relu", "relu6")},
    **named((1, 1), "isnan", "isinf", "isfinite", "signbit"),
    "acosh": same(2, lambda m, x: m.acosh(x.above)),
    "gelu erf": same(2, lambda m, x: m.gelu(x.around)),
    "gelu tanh": same(2, lambda m, x: m.gelu(x.around, approximate="tanh")),
    **paired(3, "add", "sub", "mul", "div", "pow", "maximum", "minimum", "fmod", "remainder", "floor_divide", "atan2",
             "hypot", "copysign", "logaddexp", "xlogy"),
    **paired((2, 1), "eq", "ne", "lt", "le", "gt", "ge"),
    **integers("add", "mul", "bitwise_and", "bitwise_or", "bitwise_xor"),
    "bitwise_not i32": same(2, lambda m, x: m.bitwise_not(x.i)),
    "add scalar": same(2, lambda m, x: m.add(x.a, 1.5)),
    "mul scalar": same(2, lambda m, x: m.mul(x.a, 1.5)),
    "rsub scalar": same(2, lambda m, x: m.rsub(x.a, 1.5)),
    "pow 2": same(2, lambda m, x: m.pow(x.a, 2)),
    "pow 2.5": same(2, lambda m, x: m.pow(x.a, 2.5)),
    "clamp": same(2, lambda m, x: m.clamp(x.a, 0.5, 1.0)),
    "add row": same(2, lambda m, x: m.add(x.a, x.row)),
    "where": same((3, 1), lambda m, x: m.where(x.mask, x.a, x.b)),
    "masked_fill": same((2, 1), lambda m, x: m.masked_fill(x.a, x.mask, 0.5)),
    "lerp": same(3, lambda m, x: m.lerp(x.a, x.b, 0.25)),
    "addcmul": (lambda m, x: m.addcmul(x.a, x.b, x.a, value=0.5), lambda m, x: m.addcmul(x.a, x.b, x.a, value=0.5), 3),
    "addcdiv": (lambda m, x: m.addcdiv(x.a, x.b, x.b, value=0.5), lambda m, x: m.addcdiv(x.a, x.b, x.b, value=0.5), 3),
    "gelu_and_mul": (lambda m, x: m.gelu_and_mul(x.a, x.b), lambda m, x: m.gelu(x.a) * x.b, 3),
    "silu_and_mul": (lambda m, x: m.silu_and_mul(x.a, x.b), lambda m, x: m.silu(x.a) * x.b, 3),
    "dropout": (lambda m, x: m.native_dropout(x.a, 0.25)[0], lambda m, x: m.dropout(x.a, 0.25, True), (2, 1)),
    "multinomial 8": same(1, lambda m, x: m.multinomial(x.a, 8, True)),
    **{f"{n} {d}": same(1, lambda m, x, n=n, d=d: getattr(m, n)(x.a, d)) for d in (-1, 0)
       for n in ("sum", "mean", "amax", "amin", "argmax", "argmin", "logsumexp")},
    **named(1, "sum", "mean", "max", "min", "argmax", "count_nonzero"),
    "prod": same(1, lambda m, x: m.prod(x.near_one)),
    "all": same(1, lambda m, x: m.all(x.a)),
    "any -1": same(1, lambda m, x: m.any(x.a, -1)),
    "var -1": same(1, lambda m, x: m.var(x.a, -1)),
    "var_mean -1": same(1, lambda m, x: m.var_mean(x.a, -1)),
    "var_mean 0": same(1, lambda m, x: m.var_mean(x.a, 0)),
    "vector_norm": (lambda m, x: m.vector_norm(x.a), lambda m, x: torch.linalg.vector_norm(x.a), 1),
    "vector_norm -1": (lambda m, x: m.vector_norm(x.a, 2, -1), lambda m, x: torch.linalg.vector_norm(x.a, 2, -1), 1),
    **{f"{n} {d}": same(2, lambda m, x, n=n, d=d: getattr(m, n)(x.a, d)) for d in (-1, 0)
       for n in ("softmax", "log_softmax", "cumsum")},
    "cumprod -1": same(2, lambda m, x: m.cumprod(x.near_one, -1)),
    "cummax -1": same((2, 8), lambda m, x: m.cummax(x.a, -1)),
    "rms_norm": (lambda m, x: m.rms_norm(x.a, x.scale), lambda m, x: m.rms_norm(x.a, x.row.shape, x.row, 1e-5), 2),
    "layer_norm": (lambda m, x: m.layer_norm(x.a, x.scale, x.scale),
                   lambda m, x: m.layer_norm(x.a, x.row.shape, x.row, x.row), 2),
    "skip_rms_norm": (lambda m, x: m.skip_rms_norm(x.a, x.b, x.row.shape, x.row),
                      lambda m, x: m.rms_norm(x.a + x.b, x.row.shape, x.row, 1e-5), 3),
    "skip_layer_norm": (lambda m, x: m.skip_layer_norm(x.a, x.b, x.row.shape, x.row, x.row),
                        lambda m, x: m.layer_norm(x.a + x.b, x.row.shape, x.row, x.row), 3),
    "group_norm": same(2, lambda m, x: m.group_norm(x.images, 8, x.channels, x.channels)),
    "batch_norm": (lambda m, x: m.batch_norm(x.images, x.channels, x.channels, x.mean, x.variance, False),
                   lambda m, x: F.batch_norm(x.images, x.mean, x.variance, x.channels, x.channels), 2),
    "matmul": same(0, lambda m, x: m.matmul(x.a, x.b)),
    "addmm": same(0, lambda m, x: m.addmm(x.row, x.a, x.b)),
    "mv": same(1, lambda m, x: m.mv(x.a, x.row)),
    "outer": same(1, lambda m, x: m.outer(x.row, x.row)),
    "cat": same(4, lambda m, x: m.cat([x.a, x.b])),
    "stack 1": same(4, lambda m, x: m.stack([x.a, x.b], 1)),
    "hstack": same(4, lambda m, x: m.hstack([x.a, x.b])),
    "flip": same(2, lambda m, x: m.flip(x.a, [1])),
    "roll": same(2, lambda m, x: m.roll(x.a, [3], [1])),
    "tile": (lambda m, x: m.tile(x.a, [2, 1]), lambda m, x: m.tile(x.a, (2, 1)), 3),
    "repeat": (lambda m, x: m.repeat(x.a, [1, 2]), lambda m, x: x.a.repeat(1, 2), 3),
    "repeat_interleave": same(3, lambda m, x: m.repeat_interleave(x.a, 2, 1)),
    "transpose": (lambda m, x: m.contiguous(m.transpose(x.a, 0, 1)), lambda m, x: x.a.t().contiguous(), 2),
    "pad": same(2, lambda m, x: m.pad(x.a, [1, 1, 2, 2])),
    "triu": same(1.5, lambda m, x: m.triu(x.a)),
    "tril": same(1.5, lambda m, x: m.tril(x.a)),
    "select_scatter": same(2, lambda m, x: m.select_scatter(x.a, x.row, 0, 3)),
    "slice_scatter": same(2, lambda m, x: m.slice_scatter(x.a, x.half, 0, 0, x.half.shape[0])),
    "index_select 0": same(2, lambda m, x: m.index_select(x.a, 0, x.order)),
    "index_select 1": same(2, lambda m, x: m.index_select(x.a, 1, x.order)),
    "embedding": same(2, lambda m, x: m.embedding(x.a, x.order)),
    "gather 1": same((2, 8), lambda m, x: m.gather(x.a, 1, x.places)),
    "gather 0": same((2, 8), lambda m, x: m.gather(x.a, 0, x.places)),
    "scatter 1": same((3, 8), lambda m, x: m.scatter(x.a, 1, x.places, x.b)),
    "index_put": (lambda m, x: m.index_put(x.a, [x.order], x.b), lambda m, x: m.index_put(x.a, (x.order,), x.b), 3),
    "nonzero": same((0, 9), lambda m, x: m.nonzero(x.mask)),
    "masked_select": same((1.5, 1), lambda m, x: m.masked_select(x.a, x.mask)),
    "sort": same((2, 8), lambda m, x: m.sort(x.a, -1)),
    "topk 8": same(1, lambda m, x: m.topk(x.a, 8)),
    "cross_entropy": (lambda m, x: m.cross_entropy_loss(x.a, x.order), lambda m, x: m.cross_entropy(x.a, x.order), 1),
    "nll_loss": (lambda m, x: m.nll_loss_nd(x.a, x.order), lambda m, x: m.nll_loss(x.a, x.order), 0.01),
    "mse_loss": same(2, lambda m, x: m.mse_loss(x.a, x.b)),
    "max_pool2d": same(1.25, lambda m, x: m.max_pool2d(x.images, [2, 2])),
    "upsample_nearest2d": (lambda m, x: m.upsample_nearest2d(x.images, x.twice),
                           lambda m, x: torch._C._nn.upsample_nearest2d(x.images, x.twice), 5),
    # They make tensors: listed apart.
    "zeros": same(None, lambda m, x: m.zeros(x.a.shape, dtype=x.a.dtype)),
    "full_like": same(None, lambda m, x: m.full_like(x.a, 2.0)),
    "ones_like": same(None, lambda m, x: m.ones_like(x.a)),
}


def convolution(batch, channels, size, filters, taps, groups=1):
    weight = (filters, channels // groups, taps, taps)
    return ([(batch, channels, size, size), weight], 2 * batch * filters * (channels // groups) * size * size * taps * taps,
            lambda m, x: m.conv2d(x[0], x[1], None, [1, 1], [taps // 2, taps // 2], [1, 1], groups))


def linear(rows, inputs, outputs):
    return [(rows, inputs), (outputs, inputs)], 2 * rows * inputs * outputs, lambda m, x: m.linear(x[0], x[1])


# name: shapes, operations, call
FIXED = {
    "conv2d [8,64,56,56] 64 3x3": convolution(8, 64, 56, 64, 3),
    "conv2d [8,256,28,28] 128 1x1": convolution(8, 256, 28, 128, 1),
    "conv2d [8,128,28,28] 128 3x3 groups 4": convolution(8, 128, 28, 128, 3, 4),
    "conv2d [8,128,56,56] depthwise 3x3": convolution(8, 128, 56, 128, 3, 128),
    "bmm [64,512,64] by [64,64,512]": ([(64, 512, 64), (64, 64, 512)], 2 * 64 * 512 * 512 * 64, lambda m, x: m.bmm(x[0], x[1])),
    **{f"linear Qwen2.5-7B {n}x3584x18944": linear(n, 3584, 18944) for n in (1, 16, 512)},
    **{f"linear Llama-3-8B {n}x4096x14336": linear(n, 4096, 14336) for n in (1, 16, 512)},
}
FIXED_F32 = {
    "rfft [1024,4096]": ([(1024, 4096)], 2.5 * 1024 * 4096 * 12, (lambda m, x: m.fft_rfft(x[0]), lambda m, x: torch.fft.rfft(x[0]))),
    "rfft [1000,1000]": ([(1000, 1000)], 2.5 * 1e6 * 9.97, (lambda m, x: m.fft_rfft(x[0]), lambda m, x: torch.fft.rfft(x[0]))),
}


# Operators of a square, or of images made from one; the others are measured on other shapes as well.
SQUARE = ("group_norm", "batch_norm", "matmul", "addmm", "mv", "outer", "cat", "stack 1", "hstack", "flip", "roll", "tile", "repeat",
          "repeat_interleave", "transpose", "pad", "triu", "tril", "select_scatter", "slice_scatter", "index_select 0",
          "index_select 1", "embedding", "gather 1", "gather 0", "scatter 1", "index_put", "nonzero", "masked_select", "sort",
          "topk 8", "cross_entropy", "nll_loss", "max_pool2d", "upsample_nearest2d", "multinomial 8")


def inputs(shape, kind):
    torch.manual_seed(0)
    uniform = lambda *shape: torch.rand(*shape).mul_(0.7).add_(0.25).to(kind)
    whole = lambda: torch.randint(1, 100, shape, dtype=torch.int32)
    n = shape[-1]
    x = SimpleNamespace(a=uniform(*shape), b=uniform(*shape), mask=torch.rand(shape) > 0.5, row=uniform(n),
                        around=uniform(*shape) * 8 - 5, above=uniform(*shape) + 1, i=whole(), j=whole(),
                        near_one=torch.rand(shape).mul_(1e-3).add_(0.9995).to(kind))
    x.scale = x.row.float()  # weights of ours are f32
    if shape == (n, n):
        x.half, x.order, x.places = uniform(n // 2, n), torch.randperm(n), torch.randint(0, n, shape)
        x.images = x.b.reshape(16, 16, n // 16, n // 16)
        x.channels, x.mean, x.variance = uniform(16), uniform(16), uniform(16) + 0.5
        x.twice = [n // 8, n // 8]
    y = SimpleNamespace(**{k: ours.from_dlpack(v) if torch.is_tensor(v) else v for k, v in vars(x).items()})
    return x, y


# Operators that the roofs say little of, and why; of the others the same call in the caches says it.
LIMITS = {
    "index_select 1": "one element from each line of the source: lines are read whole",
    "gather 0": "one element from each line of the source: lines are read whole",
    "gather 1": "indices of 8 bytes; elements in random order within a row",
    "scatter 1": "indices of 8 bytes; elements in random order within a row",
    "embedding": "whole rows in random order: each begins anew",
    "index_put": "whole rows in random order: each begins anew",
    "masked_select": "counts first, then moves: the mask is read twice",
    "nonzero": "counts first, then writes: the mask is read twice",
    "sort": "n log n comparisons",
    "multinomial 8": "sums all weights before it draws",
    "mse_loss": "two passes: the terms, then their sum",
    "transpose": "one side goes by columns: a page for each row",
    "softmax 0": "by strips of columns: a page for each row", "log_softmax 0": "by strips of columns: a page for each row",
    "argmax 0": "keeps value and place of each column", "argmin 0": "keeps value and place of each column",
    **dict.fromkeys(("cumsum 0", "sum 0", "mean 0", "amax 0", "amin 0", "logsumexp 0"), "by strips of columns: a page for each row"),
    **dict.fromkeys(("var -1", "var_mean -1", "var_mean 0"), "reads twice: the mean, then the deviations from it"),
    "nll_loss": "one element of each row: a line for four bytes",
    "randn_like": "Philox and Box-Muller for each element", "rand_like": "Philox: ten rounds for four numbers",
    "bernoulli": "Philox: ten rounds for four numbers", "dropout": "Philox: ten rounds for four numbers",
}


def limits(rows):
    """Of each row below 0.8 of the roof what limits it: arithmetic, where it is as slow in the caches (1024 squared)."""
    found = {}
    by_name = {row["what"]: row for row in rows}
    for what, row in by_name.items():
        if row["roof_share"] is None or row["roof_share"] >= 0.8 or row["unit"] != "GB/s":
            continue
        name = what.split(" f32 [")[0].split(" bf16 [")[0]
        shape = what[what.index("["):what.index("]") + 1]
        near = by_name.get(what.replace(shape, "[1024, 1024]"))
        if near and near["ours"] < 1.25 * row["ours"]:
            found[what] = f"arithmetic: {near['ours']} GB/s in the caches"
        elif near and near["ours"] * row["roof_share"] < row["ours"]:  # less than the roof
            found[what] = f"arithmetic, {near['ours']} GB/s in the caches, and waiting for memory"
        else:
            found[what] = LIMITS.get(name, "not known") + (f" ({near['ours']} GB/s in the caches)" if near else "")
    return found


RANDOM = ("rand_like", "randn_like", "bernoulli", "dropout", "multinomial 8")


def compare(bench, title, our_call, their_call, exact=True):
    """Agreement, and seconds of both; None, said, where one side does not take the type."""
    answers = []
    for side, call in (("Wellspring", our_call), ("PyTorch", their_call)):
        try:
            answers.append(call())
        except (RuntimeError, NotImplementedError, TypeError) as e:
            print(f"{title}: left out, {side}: {str(e).splitlines()[0][:110]}")
            return None
    a, b = answers
    first = lambda r: r[0] if isinstance(r, (tuple, list)) else r
    agreement = None
    if exact:
        a, b = torch.from_dlpack(first(a)), first(b)
        wide = torch.complex128 if b.is_complex() else torch.float64
        agreement = float((a.to(wide) - b.to(wide)).norm() / b.to(wide).norm().clamp(min=1e-300))
    del a, b, answers
    begin = time.perf_counter()
    our_call()
    short = time.perf_counter() - begin < 0.01  # several turns cost nothing, and one may meet another process
    budget, least = (0.01 if short else 0.02, 2) if bench.args.quick else (0.06, 3)
    times = bench.turns(count=3 if short or not bench.args.quick else 1, budget=budget,
                        ours=lambda s: common.median_seconds(our_call, s, least),
                        torch=lambda s: common.median_seconds(their_call, s, least))
    return agreement, times["ours"], times["torch"]


def titled(text, threads):
    return f"{text} x{threads}" + (", allocator tuned" if TUNED else "")


def on_shape(bench, name, dtype, shape, threads, x, y, roofs):
    own_type = name.endswith("i32") or name == "nonzero"
    title = titled(f"{name}{'' if own_type else ' ' + dtype} {list(shape)}", threads)
    if not bench.wants(title) or (own_type and dtype != "f32"):
        return
    mine, peers, moved = OPERATORS[name]
    if moved == 0 and dtype == "bf16" and shape[0] > 1024 and "avx512_bf16" not in common.processor():
        print(f"{title}: left out, PyTorch takes minutes for it on this processor")
        return
    found = compare(bench, title, lambda: mine(ours, y), lambda: peers(theirs, x), name not in RANDOM and moved is not None)
    if not found:
        return
    agreement, own, peer = found
    tensors, more = moved if isinstance(moved, tuple) else (moved or 1, 0)
    count = math.prod(shape)
    work, unit = (tensors * TYPES[dtype].itemsize + more) * count / 1e9, "GB/s"
    if moved == 0:
        work, unit = 2 * shape[0]**3 / 1e9, "GF/s"
    share = work * 1e9 / own / roofs[dtype if moved == 0 else "copy"] if count >= 1 << 24 and moved is not None else None
    if count <= 4096:
        work, unit = None, "us"
    show = (lambda s: s * 1e6) if work is None else (lambda s: work / s)
    bench.row(title, unit, show(own), show(peer), "torch", None if moved is None else 0.9, roof_share=share, agreement=agreement,
              tolerance=None if agreement is None else 2e-2 if dtype == "bf16" else 1e-4, threads=threads)


def fixed(bench, name, dtype, threads, roofs):
    title = titled(f"fixed: {name} {dtype}", threads)
    if not bench.wants(title):
        return
    shapes, operations, call = {**FIXED, **FIXED_F32}[name]
    mine, peers = call if isinstance(call, tuple) else (call, call)
    torch.manual_seed(0)
    x = [torch.rand(s).sub_(0.5).to(TYPES[dtype]) for s in shapes]
    y = [ours.from_dlpack(t) for t in x]
    found = compare(bench, title, lambda: mine(ours, y), lambda: peers(theirs, x))
    if found:
        agreement, own, peer = found
        bench.row(title, "GF/s", operations / own / 1e9, operations / peer / 1e9, "torch", 0.9, agreement=agreement,
                  roof_share=operations / own / roofs[dtype], tolerance=2e-2 if dtype == "bf16" else 1e-4, threads=threads)


def main():
    def arguments(parser):
        parser.add_argument("--shapes", default=",".join(([] if TUNED else ["64x64"]) + ["1024x1024", "4096x4096", "64x512x512", str(1 << 26)]))

    bench = common.Bench("operators", __doc__, arguments)
    sys.path.insert(0, os.path.join(bench.args.build, "python"))
    global ours
    import wellspring as ours
    bench.limits = limits
    cases = [(bench.threads, tuple(map(int, shape.split("x")))) for shape in bench.args.shapes.split(",")]
    if not TUNED and bench.threads > 1:
        cases.append((1, (1024, 1024)))
    for threads, shape in cases:
        torch.set_num_threads(threads)
        ours.set_num_threads(threads)
        roofs = {what: bench.roof(what, threads) for what in ("copy", "f32", "bf16")}
        for dtype, kind in TYPES.items():
            x, y = inputs(shape, kind)
            for name in OPERATORS:
                if name not in SQUARE or shape == shape[-1:] * 2:
                    on_shape(bench, name, dtype, shape, threads, x, y, roofs)
            if shape == (1024, 1024):
                for name in {**FIXED, **(FIXED_F32 if dtype == "f32" else {})}:
                    fixed(bench, name, dtype, threads, roofs)
            if bench.rows:
                bench.write()  # what is measured stays if the rest is stopped
    # Of all rows, those that --only kept included.
    counted = [r["ratio"] for r in bench.result()["rows"] if r["ratio"] and r["goal"] == 0.9 and ("tuned" in r["what"]) == TUNED]
    mean = math.exp(sum(map(math.log, counted)) / len(counted))
    if len(counted) > 100:
        bench.row("geometric mean" + (", allocator tuned" if TUNED else ""), "ratio", mean, 1.0, "torch", 2.0 if TUNED else 3.0)
    bench.write()
    if not TUNED and not bench.args.only:
        # Keeps this run's rows, which have other names.
        subprocess.run([sys.executable] + sys.argv + ["--only", ", allocator tuned"], check=True, env={**os.environ, **KEEPING})


if __name__ == "__main__":
    main()
