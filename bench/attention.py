#!/usr/bin/env python3
"""Attention against PyTorch's scaled_dot_product_attention, side by side in one run.

    python3 bench/attention.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is the program build/bench/attention_bench. GF/s count 4 T S D per head forward (half of it when causal)
and 2.5 times that backward; decoding counts the bytes of K and V, its roof is the rate of reading DRAM.
"""

import tempfile

import common

common.need("torch")
import numpy as np  # noqa: E402
import torch  # noqa: E402

# what, dtype, B, T, S, H, Hk, D, least ratio
SQUARE = [(8, 256, 12, 64), (2, 1024, 12, 64), (4, 256, 8, 128), (1, 1024, 8, 128), (1, 4096, 12, 64), (1, 4096, 8, 128)]
CASES = [
    (what, dtype, b, t, t, h, h, d, 2.0 if dtype == "bf16" else 1.5)
    for b, t, h, d in SQUARE
    for dtype in ("f32", "bf16")
    for what in ("forward", "backward")
]
CASES += [("forward", "bf16", 1, 1024, 1024, 16, 4, 128, 2.0), ("backward", "bf16", 1, 1024, 1024, 16, 4, 128, 2.0)]
CASES += [("decode", dtype, *shape, 1.0) for shape in ((8, 1, 4096, 12, 12, 64), (1, 1, 16384, 32, 8, 128)) for dtype in ("f32", "bf16")]


def hashed(shape, n):
    """The inputs of attention_bench: element i is a hash of i, in [-1, 1)."""
    count = int(np.prod(shape))
    h = (np.arange(count, dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return torch.from_numpy(((h >> 8).astype(np.float32) / 8388608 - 1).reshape(shape))


def peer(what, dtype, b, t, s, h, hk, d, exact=False):
    """A function to time; it returns a list of results. exact: in f32, from the same inputs."""
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    work = torch.float32 if exact else kind
    if t == s:
        packed = hashed((b, t, h + 2 * hk, d), 0).to(kind).to(work)
        q, k, v = packed.split([h, hk, hk], 2)
    else:
        q, k, v = (hashed(shape, n).to(kind).to(work) for n, shape in enumerate([(b, t, h, d), (b, s, hk, d), (b, s, hk, d)]))
    q, k, v = (x.transpose(1, 2).detach().requires_grad_(what == "backward") for x in (q, k, v))

    def forward():
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=t == s, enable_gqa=h != hk)

    if what != "backward":
        def run():
            with torch.no_grad():
                return [forward()]
        return run
    o, out = forward(), hashed((b, t, h, d), 1).to(kind).to(work).transpose(1, 2)

    def run():
        return torch.autograd.grad(o, (q, k, v), out, retain_graph=True)
    return run


def disagreement(path, results):
    """The distance of our results from the peer's f32 results, relative to their norm."""
    theirs = np.concatenate([x.transpose(1, 2).numpy().ravel() for x in results])
    return common.distance(np.fromfile(path, np.float32), theirs)


def measure(bench, ours, case, roofs):
    what, dtype, b, t, s, h, hk, d, goal = case
    heads = f"H{h}" if h == hk else f"H{h}/{hk}"
    name = f"attention {what} {dtype} B{b} {heads} {f'T{t}' if t == s else f'S{s}'} D{d}"
    if not bench.wants(name):
        return
    run = peer(what, dtype, b, t, s, h, hk, d)
    words = (what, dtype, b, t, s, h, hk, d)
    with tempfile.NamedTemporaryFile() as file:
        ours.ask(*words, 0, file.name)
        agreement = disagreement(file.name, peer(*words, exact=True)())
    times = bench.turns(ours=lambda budget: ours.number(*words, budget, "-"),
                        torch=lambda budget: common.median_seconds(run, budget))
    if what == "decode":
        amount, unit, roof = 2 * b * s * hk * d * (2 if dtype == "bf16" else 4), "GB/s", roofs["read"]
    else:
        amount, unit, roof = 2 * b * h * t * s * d * (2.5 if what == "backward" else 1), "GF/s", roofs[dtype]
    bench.row(name, unit, amount / times["ours"] / 1e9, amount / times["torch"] / 1e9,
              "torch scaled_dot_product_attention", goal, amount / times["ours"] / roof, agreement,
              tolerance=0.01 if dtype == "bf16" else 1e-5)


def main():
    bench = common.Bench("attention", __doc__)
    roofs = {what: bench.roof(what) for what in ("f32", "bf16", "read")}
    ours = bench.program("attention_bench")
    for case in CASES:
        measure(bench, ours, case, roofs)
    bench.write()


if __name__ == "__main__":
    main()
