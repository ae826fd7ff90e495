#!/usr/bin/env python3
"""Linear + cross-entropy over a large vocabulary, forward and backward, against PyTorch: time and memory.

    python3 bench/loss.py [--build build] [--threads 2] [--tokens 4096] [--only NAME]

Ours is linear_cross_entropy in build/bench/loss_bench. The peer is cross_entropy(linear(x, w).float()) with its
gradients, the faster of eager PyTorch and torch.compile. A second row compares ours with its own three matrix
products alone; a third the memory that a call takes above its inputs (gradients included), the smaller of the
peer's two.
"""

import os
import subprocess
import sys
import tempfile
import time

import common

common.need("torch", preload="--peak" not in sys.argv)  # tcmalloc keeps what was freed
import numpy as np  # noqa: E402
import torch  # noqa: E402

WIDTH, CLASSES, ROWS_OF_DW = 768, 50257, 1000


def hash32(count, n):
    h = (np.arange(count, dtype=np.uint64) + n * 0x9E3779B9) & 0xFFFFFFFF
    h = h * 2654435761 & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 2246822519 & 0xFFFFFFFF
    return h ^ (h >> 13)


def hashed(shape, n, size):
    """The inputs of loss_bench: element i is a hash of i, in [-size, size)."""
    h = hash32(int(np.prod(shape)), n)
    return torch.from_numpy(np.float32(size) * ((h >> 8).astype(np.float32) / 8388608 - 1).reshape(shape))


def loss(x, w, t):
    return torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, w).float(), t)


class Peer:
    def __init__(self, mode, dtype, tokens, exact=False):
        kind = torch.bfloat16 if dtype == "bf16" else torch.float32
        tensors = hashed((tokens, WIDTH), 0, 1), hashed((CLASSES, WIDTH), 1, 0.1)
        self.x, self.w = (t.to(kind).to(torch.float32 if exact else kind).requires_grad_(True) for t in tensors)
        self.t = torch.from_numpy((hash32(tokens, 2) % CLASSES).astype(np.int64))
        self.loss = torch.compile(loss, dynamic=False) if mode == "compiled" else loss

    def run(self):
        self.x.grad = self.w.grad = None
        value = self.loss(self.x, self.w, self.t)
        value.backward()
        return value

    def results(self):
        value = self.run()
        return [v.detach().float().numpy().ravel() for v in (value, self.x.grad, self.w.grad[:ROWS_OF_DW])]


def status_of(field):
    with open("/proc/self/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))


def peak(mode, dtype, tokens):
    """Bytes by which this process's resident memory rises during a call."""
    peer = Peer(mode, dtype, tokens)
    if mode == "compiled":
        peer.run()  # compiling takes memory as well
        peer.x.grad = peer.w.grad = None
    before = status_of("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as f:
        f.write("5")
    peer.run()
    return status_of("VmHWM") - before


def peak_elsewhere(mode, dtype, tokens):
    command = [sys.executable, os.path.realpath(__file__), "--tokens", str(tokens), "--peak", mode, dtype]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                                env=common.own_environment()).stdout.split()[-1])


def disagreement(path, theirs):
    """The greatest of the distances of loss, dx and dw from the peer's f32 results on the same inputs."""
    ours = np.split(np.fromfile(path, np.float32), np.cumsum([len(t) for t in theirs])[:-1])
    return max(map(common.distance, ours, theirs))


def once(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure_time(bench, dtype, tokens, name):
    ours = bench.program("loss_bench")
    words = (dtype, tokens, WIDTH, CLASSES)
    with tempfile.NamedTemporaryFile() as file:
        ours.ask("loss", *words, 0, file.name)
        error = disagreement(file.name, Peer("eager", dtype, tokens, exact=True).results())
    eager, compiled = Peer("eager", dtype, tokens), Peer("compiled", dtype, tokens)
    compiled.run()
    times = bench.turns(min(bench.count, 3), ours=lambda budget: ours.number("loss", *words, 0, "-"),
                        gemms=lambda budget: ours.number("gemms", *words, 0, "-"),
                        eager=lambda budget: once(eager.run), compiled=lambda budget: once(compiled.run))
    work = 6 * tokens * WIDTH * CLASSES / 1e9
    peak_rate = bench.roof(dtype) / 1e9
    best = min("eager", "compiled", key=lambda k: times[k])
    bench.row(name + " time", "GF/s", work / times["ours"], work / times[best], peer_name=f"torch {best}", goal=1.2,
              roof_share=work / times["ours"] / peak_rate, agreement=error, tolerance=0.01 if dtype == "bf16" else 1e-5)
    bench.row(name + " beside its GEMMs", "GF/s", work / times["ours"], work / times["gemms"],
              peer_name="its three matrix products alone", goal=0.95)


def measure_memory(bench, dtype, tokens, name):
    ours = bench.program("loss_bench").number("peak", dtype, tokens, WIDTH, CLASSES, 0, "-")
    peers = {mode: peak_elsewhere(mode, dtype, tokens) for mode in ("eager", "compiled")}
    best = min(peers, key=peers.get)
    bench.row(name + " memory", "MB", ours / 1e6, peers[best] / 1e6, peer_name=f"torch {best}", goal=5.0)


def arguments(parser):
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--peak", nargs=2, metavar=("MODE", "DTYPE"), help="print the bytes of one peer's call")


def main():
    bench = common.Bench("loss", __doc__, arguments)
    tokens = bench.args.tokens
    if bench.args.peak:
        print(peak(*bench.args.peak, tokens))
        return
    for dtype in ("f32", "bf16"):
        name = f"linear + cross-entropy {dtype} [{tokens}, {WIDTH}] x {CLASSES}"
        if bench.wants(name + " time"):
            measure_time(bench, dtype, tokens, name)
        if bench.wants(name + " memory"):
            measure_memory(bench, dtype, tokens, name)
    bench.write()


if __name__ == "__main__":
    main()
