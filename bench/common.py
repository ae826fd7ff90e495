"""What the benchmarks share: the command line, both sides in turns, medians, roofs, rows, files.

A benchmark is then this (see README.md):

    import common
    common.need("torch")                    # runs on under the peers' Python, or ends with status 77
    bench = common.Bench("matmul", __doc__)  # --threads --quick --only --build --out
    ours = bench.program("matmul_bench")     # build/bench/matmul_bench, asked line by line
    peak = bench.roof("f32")                 # flop/s, measured now
    for ... :
        times = bench.turns(ours=lambda budget: ours.number("mm", m, n, k, budget),
                            torch=lambda budget: common.median_seconds(run, budget))
        bench.row("mm 1024 f32", "GF/s", flops / times["ours"] / 1e9, flops / times["torch"] / 1e9,
                  peer_name="torch.mm", goal=1.0, roof_share=flops / times["ours"] / peak,
                  agreement=error, tolerance=1e-5)
    bench.write()
"""

import argparse
import datetime
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
KEYS = ("what", "unit", "threads", "ours", "peer", "peer_name", "ratio", "roof_share", "agreement", "goal", "pass")
LOWER_IS_BETTER = ("s", "ms", "us", "MB", "GB", "nats")  # of units; every other one is a rate
REST = 0.02  # seconds between the sides: idle threads of either spin for a while
TCMALLOC = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"  # the peers' best allocator


def peers_python():
    """The Python that has the peers; it need not exist."""
    return os.environ.get("WELLSPRING_PEERS") or os.path.join(ROOT, ".cache/peers/venv/bin/python")


def need(*modules, preload=True):
    """Goes on only where these Python modules are: here, or under the peers' Python (WELLSPRING_PEERS, else
    .cache/peers/venv), which then runs the script from its beginning. Nowhere: status 77 and how to get them.
    PyTorch runs at its best: with tcmalloc preloaded where it is there (`preload`), and its own choice of kernels."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if not missing:
        if preload and "torch" in modules and os.path.exists(TCMALLOC) and TCMALLOC not in os.environ.get("LD_PRELOAD", ""):
            for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
                os.environ.pop(name, None)
            os.environ["LD_PRELOAD"] = TCMALLOC
            os.execv(sys.executable, [sys.executable] + sys.argv)
        return
    peers = peers_python()
    if os.path.exists(peers) and os.environ.get("WELLSPRING_BENCH_PEERS") != peers:
        os.environ["WELLSPRING_BENCH_PEERS"] = peers
        os.execv(peers, [peers] + sys.argv)
    print(f"{os.path.basename(sys.argv[0])} needs {', '.join(missing)}: ./dev setup --peers", file=sys.stderr)
    sys.exit(77)


def median_seconds(run, budget, least=3):
    """The median time of a call of run(): one call to warm up, then for `budget` seconds, `least` at least."""
    run()
    times = []
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times) < least:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def own_environment(**more):
    """The environment for Wellspring's programs: without what need() preloads for the peers."""
    return {**{k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}, **more}


def distance(ours, theirs):
    """|ours - theirs| / |theirs| in the 2-norm, of anything that numpy takes (for the agreement column)."""
    import numpy as np
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (ours, theirs))
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300))


def peak_rss(command, **options):
    """Runs a command to its end: (its output, peak resident memory in MB, seconds)."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return output, usage.ru_maxrss / 1024, time.perf_counter() - begin


class Program:
    """A program that answers a line with a line."""

    def __init__(self, path, threads, environment=None):
        if not os.path.exists(path):
            sys.exit(f"{path} is missing: ./dev build {os.path.basename(path)}")
        self.path = path
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=own_environment(WELLSPRING_THREADS=str(threads), **(environment or {})))

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.path} stopped at: {' '.join(map(str, words))}")
        return answer.strip()

    def number(self, *words):
        return float(self.ask(*words))


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        lines = [line.split(":") for line in f.read().split("\n\n")[0].split("\n") if ":" in line]
    facts = {key.strip(): value.strip() for key, value in lines}
    flags = facts.get("flags", "").split()
    best = next((s for s in ("avx512_bf16", "avx512_vnni", "avx512f", "avx2") if s in flags), "portable")
    return f"{facts.get('model name', 'CPU')} (family {facts.get('cpu family')} model {facts.get('model')}, {best})"


def memory_gb():
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def version(module):
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_whole(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)


def rounded(x, digits=3):
    """For the files: 3 digits, but whole numbers stay."""
    if isinstance(x, bool) or not isinstance(x, float):
        return x
    return float(f"{x:.{digits}g}") if abs(x) < 1000 else round(x)


class Bench:
    """One benchmark: its arguments, its roofs, its rows."""

    def __init__(self, name, doc, arguments=None):
        """arguments(parser) may add options; they are read from bench.args."""
        self.name, self.title, self.rows, self.roofs, self.programs = name, doc.strip().split("\n")[0], [], {}, {}
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--build", default=os.path.join(ROOT, "build"))
        parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        parser.add_argument("--quick", action="store_true", help="one short turn per case")
        parser.add_argument("--only", default="", help="cases whose name contains this; the others' rows are kept")
        parser.add_argument("--out", default=os.path.join(ROOT, f"bench/results/{name}.json"))
        if arguments:
            arguments(parser)
        self.args = parser.parse_args()
        self.threads = self.args.threads
        self.partial = False  # rows that this run did not ask for are kept, as with --only
        self.limits = None  # limits(rows): what holds a row back, by its name
        self.budget, self.count = (0.1, 1) if self.args.quick else (0.3, 5)
        if "torch" in sys.modules or importlib.util.find_spec("torch"):
            os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
            import torch
            torch.set_num_threads(self.threads)

    def wants(self, what):
        return self.args.only in what

    def wellspring(self):
        return os.path.join(self.args.build, "bin/wellspring")

    def program(self, name, threads=None, environment=None):
        """build/bench/NAME (target NAME of bench/NAME.cpp); built when it is not there."""
        path = os.path.join(self.args.build, "bench", name)
        if not os.path.exists(path):
            subprocess.run(["ninja", "-C", self.args.build, "--quiet", name], check=True)
        return Program(path, threads or self.threads, environment)

    def roof(self, what, threads=None):
        """The machine's own rate, measured now: f32, bf16 (flop/s), read, copy (byte/s)."""
        threads = threads or self.threads
        if threads not in self.programs:
            self.programs[threads] = self.program("roof_bench", threads)
        rate = self.programs[threads].number(what, self.budget)
        key = what if threads == self.threads else f"{what} x{threads}"
        self.roofs[key] = max(rate, self.roofs.get(key, 0))
        return rate

    def turns(self, count=None, budget=None, **sides):
        """Calls every side in turn: side(budget) returns seconds. The medians over the turns, by name."""
        times = {name: [] for name in sides}
        gc.collect()
        for _ in range(count or self.count):
            for name, side in sides.items():
                times[name].append(side(budget or self.budget))
                time.sleep(REST)
        return {name: statistics.median(t) for name, t in times.items()}

    def row(self, what, unit, ours, peer=None, peer_name="", goal=None, roof_share=None, agreement=None,
            tolerance=None, ratio=None, threads=None, least_share=None, or_share=None):
        """Adds and prints a row. The goal is of the ratio (least_share: of roof_share instead; or_share: such a
        roof_share is as good); without either the row passes nothing and misses nothing. agreement above tolerance misses."""
        if ratio is None and peer:
            ratio = peer / ours if unit in LOWER_IS_BETTER else ours / peer
        passed = None
        if least_share is not None:
            passed, goal = roof_share >= least_share, least_share
        elif goal is not None and ratio is not None:
            passed = ratio >= goal or (or_share is not None and roof_share is not None and roof_share >= or_share)
        if tolerance is not None and not agreement <= tolerance:
            passed = False
        values = (what, unit, threads or self.threads, ours, peer, peer_name, ratio, roof_share, agreement, goal, passed)
        row = {key: rounded(value) for key, value in zip(KEYS, values)}
        self.rows.append(row)
        show = lambda value, form, after="": form.format(value) + after if value is not None else ""
        print(f"{what:48} {rounded(ours)!s:>9} {show(rounded(peer), '{!s:>9}')} {unit:8}"
              f"{show(ratio, '{:7.2f}x')}{show(roof_share, '  {:.0%} of the roof')}"
              f"{show(agreement, '  differs {:.1e}')}{'  MISSED' if passed is False else ''}", flush=True)
        return row

    def result(self):
        names = ("torch", "transformers", "tokenizers", "tiktoken", "numpy")
        versions = {"python": platform.python_version()}
        versions.update({n: version(n) for n in names if n in sys.modules and version(n)})
        rows = self.rows
        roofs = {k: round(v / 1e9, 1) for k, v in self.roofs.items()}
        if (self.args.only or self.partial) and os.path.exists(self.args.out):
            with open(self.args.out, encoding="utf-8") as f:
                old = json.load(f)
            new = {r["what"]: r for r in rows}
            rows = [new.pop(r["what"], r) for r in old["rows"]] + list(new.values())
            versions = {**old["versions"], **versions}
            roofs = {**old["machine"].get("roofs", {}), **roofs}
        for row in rows:
            row.pop("limit", None)
        for what, limit in (self.limits(rows) if self.limits else {}).items():
            next(r for r in rows if r["what"] == what)["limit"] = limit
        return {"machine": {"processor": processor(), "cores": os.cpu_count(), "memory_gb": memory_gb(),
                            **({"roofs": roofs} if roofs else {})},
                "date": datetime.date.today().isoformat(), "versions": versions, "rows": rows}

    def write(self):
        """Writes --out and the Markdown table beside it."""
        if not self.rows:
            sys.exit(f"no case of {self.name} contains '{self.args.only}'")
        result = self.result()
        print(summary(result))
        write_whole(self.args.out, json.dumps(result, indent=1) + "\n")
        write_whole(os.path.splitext(self.args.out)[0] + ".md", f"# {self.title}\n\n" + table(result))


def summary(result):
    """Machine, date and versions in a line."""
    machine = ", ".join(f"{k} {v}" for k, v in result["machine"].items() if k not in ("processor", "roofs"))
    return (f"{result['machine']['processor']}, {machine}; {result['date']}; "
            + ", ".join(f"{k} {v}" for k, v in result["versions"].items()) + ".")


def table(result):
    cell = lambda v: "" if v is None else "yes" if v is True else "no" if v is False else str(v)
    roofs = ", ".join(f"{k} {v}" for k, v in result["machine"].get("roofs", {}).items())
    lines = [summary(result), ""]
    if roofs:
        lines += [f"Roofs (GF/s, GB/s), each share of a row that of its own run: {roofs}.", ""]
    lines += ["| " + " | ".join(KEYS) + " |", "|" + "---|" * len(KEYS)]
    lines += ["| " + " | ".join(cell(row.get(k)) for k in KEYS) + " |" for row in result["rows"]]
    limited = [row for row in result["rows"] if row.get("limit")]
    if limited:
        lines += ["", "## What holds them back", "", "| what | roof_share | limit |", "|---|---|---|"]
        lines += [f"| {row['what']} | {cell(row['roof_share'])} | {row['limit']} |" for row in limited]
    return "\n".join(lines) + "\n"
