#!/usr/bin/env python3
"""What beginning costs: starting the program, importing the package, the first call of an operator, one small call.

    python3 bench/start.py [--build build] [--quick]

The goals are absolute ones, so the ratio column is the goal over ours. `import torch` is no peer, only the measure of
what a command that computes would cost if it were a Python program. Each first call is the first of its process.
"""

import os
import statistics
import subprocess

import common

GOAL_MS = 10.0


def milliseconds(command, times, **options):
    def run():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    return 1e3 * common.median_seconds(run, 0, times)


IMPORT = """
rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6
before, begin = rss(), time.perf_counter()
import {0}
print((time.perf_counter() - begin) * 1e3, rss() - before)
"""
FIRST = """
import wellspring as m
x = m.{shape}
begin = time.perf_counter()
m.{call}
first = time.perf_counter() - begin
begin = time.perf_counter()
m.{other}
print(first * 1e3, (time.perf_counter() - begin) * 1e3)
"""
SMALL = """
import torch, wellspring.torch as wt
x, out = torch.ones(1), torch.empty(1)
def cost(f):
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        for _ in range(2000): f()
        times.append((time.perf_counter() - begin) / 2000)
    return min(times) * 1e6
f = lambda: {}
theirs = cost(f)
wt.enable()
print(cost(f), theirs)
"""
# kind: shape of the first tensor, the call, a call of another shape; goals in ms of the first and of the other
FIRST_CALLS = {
    "exp": ("ones([64, 64])", "exp(x)", "exp(m.ones([65, 33]))", 1, 1),
    "sum": ("ones([64, 64])", "sum(x)", "sum(m.ones([65, 33]))", 1, 1),
    "softmax": ("ones([64, 64])", "softmax(x, -1)", "softmax(m.ones([65, 33]), -1)", 1, 1),
    "sort": ("ones([64, 64])", "sort(x)", "sort(m.ones([65, 33]))", 1, 1),
    "fft_rfft": ("ones([64, 64])", "fft_rfft(x)", "fft_rfft(m.ones([65, 33]))", 1, 1),
    "matmul": ("ones([256, 256])", "matmul(x, x)", "matmul(m.ones([250, 250]), m.ones([250, 250]))", 15, 1.5),
    "conv2d": ("ones([1, 16, 28, 28])", "conv2d(x, m.ones([16, 16, 3, 3]))", "conv2d(m.ones([1, 16, 20, 20]), m.ones([16, 16, 3, 3]))",
               15, 1.5),
}


def asked(bench, code, times):
    """Medians of what a script prints in `times` fresh processes."""
    environment = {**os.environ, "PYTHONPATH": os.path.join(bench.args.build, "python")}
    runs = [subprocess.run([common.peers_python(), "-c", "import time\n" + code], check=True, capture_output=True, text=True, env=environment)
            .stdout.split() for _ in range(times)]
    return [statistics.median(map(float, column)) for column in zip(*runs)]


def package(bench):
    """The Python package; without the peers' Python nothing."""
    times = 3 if bench.args.quick else 9

    def row(what, unit, ours, goal, peer=None, name=""):
        bench.row(what, unit, ours, peer, name, ratio=goal / ours, goal=1.0, threads=1)

    if bench.wants("start: import"):
        took, memory = asked(bench, IMPORT.format("wellspring"), times)
        theirs = asked(bench, IMPORT.format("torch"), 1)
        row("start: import wellspring", "ms", took, 50, theirs[0], "import torch")
        row("start: import wellspring, memory", "MB", memory, 20, theirs[1], "import torch")
    for name, (shape, call, other, goal, goal_other) in FIRST_CALLS.items():
        if bench.wants(f"start: first call of {name}"):
            code = FIRST.format(shape=shape, call=call, other=other)
            first, again = asked(bench, code, times)
            row(f"start: first call of {name}", "ms", first, goal)
            row(f"start: first call of {name}, then of another shape", "ms", again, goal_other)
    if bench.wants("start: first call of exp on OpenCL"):
        code = FIRST.format(shape="tensor([1.0] * 4096, device='opencl:0')", call="exp(x).tolist()", other="exp(x)")
        try:
            asked(bench, code, 1)  # fills the cache of programs on disk
            row("start: first call of exp on OpenCL, program cached", "ms", asked(bench, code, times)[0], 100)
        except subprocess.CalledProcessError:
            print("no OpenCL device here")
    for name, call in (("add", "torch.add(x, x)"), ("exp", "torch.exp(x)"), ("add, out=", "torch.add(x, x, out=out)")):
        what = f"start: one call of {name} inside PyTorch, one element"
        if bench.wants(what):
            ours, theirs = asked(bench, SMALL.format(call), 3)
            row(what, "us", ours, theirs + 2, theirs, "PyTorch's own")


def main():
    bench = common.Bench("start", __doc__)
    times = 10 if bench.args.quick else 100
    program = bench.wellspring()
    floor = milliseconds(["/bin/true"], times)
    for words in (["--version"], ["--help"], ["text", "encode", "--help"]):
        what = f"start: wellspring {' '.join(words)}"
        if bench.wants(what):
            took = milliseconds([program] + words, times)
            bench.row(what, "ms", took, floor, "/bin/true started alike", ratio=GOAL_MS / took, goal=1.0, threads=1)
    what = "start: wellspring ops list (loads the engine)"
    if bench.wants(what):
        python = common.peers_python()
        peer = milliseconds([python, "-c", "import torch"], 3) if os.path.exists(python) else None
        bench.row(what, "ms", milliseconds([program, "ops", "list"], times // 5), peer, "python -c 'import torch'",
                  threads=1)
    if os.path.isdir(os.path.join(bench.args.build, "python/wellspring")):
        package(bench)
    bench.write()


if __name__ == "__main__":
    main()
