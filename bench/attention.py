#!/usr/bin/env python3
"""Attention against PyTorch's scaled_dot_product_attention, side by side in one run.

    python3 bench/attention.py [--build build] [--threads 2] [--quick] [--out bench/results/attention.json]

Runs under a Python that has torch: this one, or the one named by WELLSPRING_PEERS. Ours is the program
build/bench/attention_bench (target attention_bench). Each case is timed in turns, ours and the peer's, and
medians over the turns are kept. GF/s count 4 T S D per head forward (half of it when causal) and 2.5 times
that backward. Writes the rows as JSON and as a Markdown table beside it.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import torch
except ImportError:
    peers = os.environ.get("WELLSPRING_PEERS")
    if not peers or os.path.realpath(peers) == os.path.realpath(sys.executable):
        sys.exit("attention.py needs torch: set WELLSPRING_PEERS to a Python that has it")
    os.execv(peers, [peers] + sys.argv)

# what, dtype, B, T, S, H, Hk, D, least ratio
SQUARE = [(8, 256, 12, 64), (2, 1024, 12, 64), (1, 1024, 8, 128), (1, 4096, 12, 64), (1, 4096, 8, 128)]
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


class Ours:
    def __init__(self, program, threads):
        environment = dict(os.environ, WELLSPRING_THREADS=str(threads))
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"attention_bench stopped at: {words}")
        return float(answer)


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


def median_seconds(run, budget):
    run()
    times = []
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def disagreement(path, results):
    """The distance of our results from the peer's f32 results, relative to their norm."""
    ours = np.fromfile(path, np.float32).astype(np.float64)
    theirs = np.concatenate([x.transpose(1, 2).numpy().ravel() for x in results]).astype(np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def measure(ours, case, threads, roofs, budget, turns):
    what, dtype, b, t, s, h, hk, d, goal = case
    run = peer(what, dtype, b, t, s, h, hk, d)
    words = (what, dtype, b, t, s, h, hk, d)
    with tempfile.NamedTemporaryFile() as file:
        ours.ask(*words, 0, file.name)
        agreement = disagreement(file.name, peer(*words, exact=True)())
    mine, theirs = [], []
    for _ in range(turns):
        mine.append(ours.ask(*words, budget, "-"))
        time.sleep(0.05)  # idle threads of either side spin for a while
        theirs.append(median_seconds(run, budget))
        time.sleep(0.05)
    mine, theirs = statistics.median(mine), statistics.median(theirs)
    if what == "decode":
        amount, unit, roof = 2 * b * s * hk * d * (2 if dtype == "bf16" else 4), "GB/s", roofs["memory"]
    else:
        amount, unit, roof = 2 * b * h * t * s * d * (2.5 if what == "backward" else 1), "GF/s", roofs[dtype]
    heads = f"H{h}" if h == hk else f"H{h}/{hk}"
    size = f"T{t}" if t == s else f"S{s}"
    return {
        "what": f"attention {what} {dtype} B{b} {heads} {size} D{d}", "unit": unit, "threads": threads,
        "ours": round(amount / mine / 1e9, 1), "peer": round(amount / theirs / 1e9, 1),
        "peer_name": "torch scaled_dot_product_attention", "ratio": round(theirs / mine, 2),
        "roof_share": round(amount / mine / roof, 3), "agreement": float(f"{agreement:.2g}"),
        "goal": goal, "pass": theirs / mine >= goal and agreement < (0.01 if dtype == "bf16" else 1e-5),
    }


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "CPU")


def table(result):
    rows = result["rows"]
    keys = ["what", "unit", "threads", "ours", "peer", "ratio", "roof_share", "agreement", "goal", "pass"]
    lines = [f"# Attention against {rows[0]['peer_name']} {result['versions']['torch']}", "",
             f"{result['machine']['processor']}, {result['machine']['cores']} cores, {result['date']}.", "",
             "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    for row in rows:
        lines.append("| " + " | ".join("yes" if row[k] is True else "no" if row[k] is False else str(row[k])
                                       for k in keys) + " |")
    return "\n".join(lines) + "\n"


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="one short turn per case")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", default="bench/results/attention.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    budget, turns = (0.1, 1) if args.quick else (0.4, 3)
    program = os.path.join(args.build, "bench", "attention_bench")
    # The processor's rates: one thread's, times the threads.
    single = Ours(program, 1)
    roofs = {dtype: single.ask("roof", dtype, budget) * args.threads for dtype in ("f32", "bf16", "memory")}
    ours = Ours(program, args.threads)
    roofs["memory"] = ours.ask("roof", "memory", budget)
    rows = []
    for case in CASES:
        name = " ".join(map(str, case))
        if args.only not in name:
            continue
        row = measure(ours, case, args.threads, roofs, budget, turns)
        rows.append(row)
        print(f"{row['what']:48} {row['ours']:8.1f} {row['peer']:8.1f} {row['unit']}  {row['ratio']:6.2f}x  "
              f"{row['roof_share']:.0%} of the roof  differs {row['agreement']:.1e}", flush=True)
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "roofs": {k: round(v / 1e9, 1) for k, v in roofs.items()}},
        "date": datetime.date.today().isoformat(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    if rows:
        write(args.out, json.dumps(result, indent=1) + "\n")
        write(os.path.splitext(args.out)[0] + ".md", table(result))


if __name__ == "__main__":
    main()
