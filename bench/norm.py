#!/usr/bin/env python3
"""Norms, gates, rotary, dropout, embedding and AdamW against PyTorch, side by side in one run.

    python3 bench/norm.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is the program build/bench/norm_bench; the peer is the faster of eager PyTorch and torch.compile (AdamW:
the fused one). GB/s count what a perfect operator has to move; the roof is the rate of copying. The peer's
embedding leaves its gradient in the dtype of the table, ours in f32.
"""

import tempfile

import common

common.need("torch")
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

VOCABULARY, HEAD = 50257, 64
# operator, rows, width; then tensors of rows x width that forward and forward + backward have to move
CASES = [
    ("rms_norm", 4096, 768, 2, 5), ("layer_norm", 4096, 768, 2, 5), ("add_rms_norm", 4096, 768, 4, 7),
    ("rms_norm", 4096, 4096, 2, 5), ("swiglu", 4096, 2752, 1.5, 4), ("rotary", 4096, 768, 2, 4),
    ("dropout", 4096, 4096, 2, 4), ("embedding", 4096, 768, 2, 3),
]


def hash32(count, n):
    h = (np.arange(count, dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    return h ^ (h >> 13)


def hashed(shape, n, kind=torch.float32):
    """The inputs of norm_bench: element i is a hash of i, in [-1, 1)."""
    h = hash32(int(np.prod(shape)), n)
    return torch.from_numpy(((h >> 8).astype(np.float32) / 8388608 - 1).reshape(shape)).to(kind)


def peer(op, rows, width, kind):
    """(leaves, forward) of the peer."""
    shape = (rows, width)
    x, w, b = hashed(shape, 0, kind), hashed((width,), 2), hashed((width,), 3)
    if op == "rms_norm":
        return [x, w], lambda x, w: F.rms_norm(x, (width,), w.to(x.dtype), 1e-5)
    if op == "layer_norm":
        return [x, w, b], lambda x, w, b: F.layer_norm(x, (width,), w.to(x.dtype), b.to(x.dtype), 1e-5)
    if op == "add_rms_norm":
        return [x, hashed(shape, 1, kind), w], lambda x, y, w: F.rms_norm(x + y, (width,), w.to(x.dtype), 1e-5)
    if op == "swiglu":
        return [x], lambda x: F.silu(x[:, :width // 2]) * x[:, width // 2:]
    if op == "dropout":
        return [x], lambda x: F.dropout(x, 0.1)
    if op == "embedding":
        ids = torch.from_numpy((hash32(rows, 9) % VOCABULARY).astype(np.int64))
        return [hashed((VOCABULARY, width), 0, kind)], lambda table: F.embedding(ids, table)
    cos, sin = (hashed((rows, 1, HEAD // 2), n) for n in (2, 3))

    def rotary(x):
        a, b = x.float().chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)
    return [x.view(1, rows, width // HEAD, HEAD)], rotary


def side(leaves, forward, both):
    """A function to time: it gives the result and, with `both`, the gradients."""
    for t in leaves:
        t.requires_grad_(both)
    if not both:
        def run():
            with torch.no_grad():
                return [forward(*leaves)]
        return run
    out = forward(*leaves)
    seed = hashed(tuple(out.shape), 5, out.dtype)

    def run():
        y = forward(*leaves)
        return [y, *torch.autograd.grad(y, leaves, seed)]
    return run


def agreement(ours, words, op, results):
    if op == "dropout":
        return None  # the masks are drawn differently
    with tempfile.NamedTemporaryFile() as file:
        ours.ask(*words, 0, file.name)
        theirs = [r.detach().float().numpy().ravel() for r in results]
        parts = np.split(np.fromfile(file.name, np.float32), np.cumsum([len(t) for t in theirs])[:-1])
        return max(map(common.distance, parts, theirs))


def measure(bench, ours, case, dtype, both, roof):
    op, rows, width, forward_moves, both_moves = case
    name = f"{op} {'forward + backward' if both else 'forward'} {dtype} [{rows}, {width}]"
    if not bench.wants(name):
        return
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    words = (op, "both" if both else "forward", dtype, rows, width)
    leaves, forward = peer(op, rows, width, kind)
    eager, compiled = side(leaves, forward, both), side(leaves, torch.compile(forward, dynamic=False), both)
    exact_leaves, exact = peer(op, rows, width, kind)
    exact_leaves = [t.float() for t in exact_leaves]
    error = agreement(ours, words, op, side(exact_leaves, exact, both)())
    times = bench.turns(ours=lambda budget: ours.number(*words, budget, "-"),
                        eager=lambda budget: common.median_seconds(eager, budget),
                        compiled=lambda budget: common.median_seconds(compiled, budget))
    amount = (both_moves if both else forward_moves) * rows * width * (2 if dtype == "bf16" else 4)
    if op == "embedding" and both:
        amount = VOCABULARY * width * 4 + 3 * rows * width * 4
    best = min("eager", "compiled", key=lambda k: times[k])
    bench.row(name, "GB/s", amount / times["ours"] / 1e9, amount / times[best] / 1e9, peer_name=f"torch {best}",
              goal=1.0, roof_share=amount / times["ours"] / roof, agreement=error,
              tolerance=None if error is None else 0.01 if dtype == "bf16" else 1e-5)


def measure_adamw(bench, ours, dtype, roof):
    name = f"AdamW 16M {'f32' if dtype == 'f32' else 'f32 + bf16 copy'}"
    if not bench.wants(name):
        return
    count = 4096 * 4096
    p = hashed((count,), 0).requires_grad_(True)
    p.grad = hashed((count,), 1)
    copy = torch.empty(count, dtype=torch.bfloat16) if dtype == "bf16" else None
    optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1, fused=True)

    def step():
        optimizer.step()
        if copy is not None:
            copy.copy_(p.detach())
    for _ in range(3):
        step()
    words = ("adamw", "forward", dtype, 4096, 4096)
    error = agreement(ours, words, "adamw", [p])
    times = bench.turns(ours=lambda budget: ours.number(*words, budget, "-"),
                        torch=lambda budget: common.median_seconds(step, budget))
    amount = count * (30 if dtype == "bf16" else 28)
    bench.row(name, "GB/s", amount / times["ours"] / 1e9, amount / times["torch"] / 1e9, peer_name="torch fused AdamW",
              goal=1.0, roof_share=amount / times["ours"] / roof, agreement=error, tolerance=1e-5)


def main():
    bench = common.Bench("norm", __doc__)
    ours = bench.program("norm_bench")
    roof = bench.roof("copy")
    for case in CASES:
        for dtype in ("f32", "bf16"):
            for both in (False, True):
                measure(bench, ours, case, dtype, both, roof)
    for dtype in ("f32", "bf16"):
        measure_adamw(bench, ours, dtype, roof)
    bench.write()


if __name__ == "__main__":
    main()
