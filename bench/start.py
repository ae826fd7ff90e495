#!/usr/bin/env python3
"""How long the program takes to start and say its version, beside what importing PyTorch takes.

    python3 bench/start.py [--build build] [--quick]

The goal is an absolute one: 10 ms, so the ratio column is 10 ms over ours. `import torch` is no peer, only
the measure of what a command that computes would cost if it were a Python program.
"""

import os
import subprocess

import common

GOAL_MS = 10.0


def milliseconds(command, times, **options):
    def run():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    return 1e3 * common.median_seconds(run, 0, times)


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
        python = os.environ.get("WELLSPRING_PEERS") or os.path.join(common.ROOT, ".cache/peers/venv/bin/python")
        peer = milliseconds([python, "-c", "import torch"], 3) if os.path.exists(python) else None
        bench.row(what, "ms", milliseconds([program, "ops", "list"], times // 5), peer, "python -c 'import torch'",
                  threads=1)
    bench.write()


if __name__ == "__main__":
    main()
