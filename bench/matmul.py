#!/usr/bin/env python3
"""Matrix products of the training shapes against PyTorch's mm, linear and its gradients.

    python3 bench/matmul.py [--build build] [--threads 2] [--quick] [--only NAME]

Ours is build/bench/matmul_bench. NN, NT and TN say which operand lies transposed; TN cases give f32 (weight
gradients; the peer's give bf16 for bf16). The goal is PyTorch's speed; where the sums are f32's, roof_share is of
the multiply-adds that the processor can do in registers, measured in the same run. One row of a weight
(decoding) is compared with reading memory.
"""

import tempfile

import common

common.need("torch")
import numpy as np  # noqa: E402
import torch  # noqa: E402

# what, M, N, K
PRODUCTS = [
    ("NN", 1024, 1024, 1024),
    ("NT", 1024, 2304, 768), ("NN", 1024, 768, 2304), ("TN", 2304, 768, 1024),  # GPT-2: qkv
    ("NT", 1024, 3072, 768), ("NN", 1024, 768, 3072), ("TN", 3072, 768, 1024),  # and its feed-forward
    ("NT", 1024, 50257, 768),
    ("NT", 4096, 1536, 512), ("NN", 4096, 512, 1536), ("TN", 1536, 512, 4096),  # Llama 34M: qkv
    ("NT", 4096, 2752, 512), ("NN", 4096, 512, 2752), ("TN", 2752, 512, 4096),  # and its feed-forward
    ("TN", 512, 512, 4096), ("NT", 4096, 16384, 512),
]
LAYERS = [("linear", 4096, 1536, 512), ("backward", 4096, 1536, 512)]
ROWS = [("NT", 1, 16384, 2048), ("NT", 4, 16384, 2048)]


def hashed(shape, n):
    """The inputs of matmul_bench: element i is a hash of i, in [-1, 1)."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    return torch.from_numpy(((h >> 8).astype(np.float32) / 8388608 - 1).reshape(shape))


def peer(what, m, n, k, kind, work):
    """A function to time; it returns the result that ours is compared with."""
    if what in ("linear", "backward"):
        x, w, b = (hashed(shape, i).to(kind).to(work) for i, shape in enumerate([(m, k), (n, k), (n,)]))
        if what == "linear":
            return lambda: torch.nn.functional.linear(x, w, b)
        leaves = [t.requires_grad_(True) for t in (x, w, b)]
        y, out = torch.nn.functional.linear(x, w, b), hashed((m, n), 3).to(kind).to(work)
        return lambda: torch.autograd.grad(y, leaves, out, retain_graph=True)[1]
    a = hashed((k, m), 0).t() if what[0] == "T" else hashed((m, k), 0)
    b = hashed((n, k), 1).t() if what[1] == "T" else hashed((k, n), 1)
    a, b = (t.to(kind).to(work) for t in (a, b))
    result = torch.empty(m, n, dtype=work)
    return lambda: torch.mm(a, b, out=result)


def measure(bench, ours, what, dtype, m, n, k):
    label = f"{what} {dtype} {m} x {n} x {k}"
    if not bench.wants(label):
        return
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    words = (what, dtype, "f32" if what == "TN" else dtype, m, n, k)
    with tempfile.NamedTemporaryFile() as file, torch.no_grad():
        ours.ask(*words, 0, file.name)
        with torch.enable_grad():
            exact = peer(what, m, n, k, kind, torch.float32)()
        error = common.distance(np.fromfile(file.name, np.float32), exact.detach().numpy())
    run = peer(what, m, n, k, kind, kind)
    times = bench.turns(ours=lambda budget: ours.number(*words, budget, "-"),
                        torch=lambda budget: common.median_seconds(run, budget))
    name = {"linear": "torch linear", "backward": "torch linear backward"}.get(what, "torch.mm")
    tolerance = 4e-3 if dtype == "bf16" else 3e-6
    if m <= 4:
        amount, unit, roof = n * k * (2 if dtype == "bf16" else 4) / 1e9, "GB/s", bench.roof("read") / 1e9
    else:
        amount, unit = 2e-9 * m * n * k * (2 if what == "backward" else 1), "GF/s"
        roof = bench.roof(dtype) / 1e9
    bench.row(label, unit, amount / times["ours"], amount / times["torch"], peer_name=name, goal=1.0,
              roof_share=amount / times["ours"] / roof, agreement=error, tolerance=tolerance)


def main():
    bench = common.Bench("matmul", __doc__)
    ours = bench.program("matmul_bench")
    for dtype in ("f32", "bf16"):
        for case in PRODUCTS + LAYERS + ROWS:
            measure(bench, ours, case[0], dtype, *case[1:])
    bench.write()


if __name__ == "__main__":
    main()
