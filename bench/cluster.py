#!/usr/bin/env python3
"""The control plane beside a live Slurm: jobs, arrays, a long queue, lost nodes, a controller that is killed.

Both run on this machine, one after the other: two nodes of 8 made-up devices here, six nodes in Slurm (tools/slurm_here).
The goal of a row is the ratio that the figure of the plan would have; a row without a peer has the plan's figure over ours.
"""
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import common

sys.path.insert(0, os.path.join(common.ROOT, "cluster/testing"))
from harness import Cluster, until  # noqa: E402


class Slurm:
    """A live Slurm, or nothing where it is not installed."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="ws-bench-slurm-")
        os.chmod(self.folder, 0o755)
        self.tool = f"{common.ROOT}/tools/slurm_here"
        started = subprocess.run([self.tool, "start", self.folder, "MaxArraySize=2001"], capture_output=True, text=True)
        self.works = started.returncode == 0
        if not self.works:
            print("no Slurm here, so no peer:", started.stderr.strip()[-200:], flush=True)
            return
        text = subprocess.run([self.tool, "env", self.folder], capture_output=True, text=True, check=True).stdout
        self.environment = {**os.environ, **dict(re.findall(r"(?:export )?(\w+)=['\"]?([^'\"\n]+)", text))}

    def run(self, *words):
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True, cwd="/tmp").stdout

    def submit(self, *words):
        return self.run("sbatch", "--parsable", "-o", "/dev/null", *words).strip()

    def idle(self):
        return not self.run("squeue", "-h").strip()

    def stop(self):
        if self.works:
            subprocess.run([self.tool, "stop", self.folder], capture_output=True)
        subprocess.run(["rm", "-rf", self.folder])


def measured(f):
    begin = time.monotonic()
    f()
    return time.monotonic() - begin


def slurm_figures(quick):
    slurm = Slurm()
    if not slurm.works:
        return {}
    most_lost = 5 if quick else 40
    try:
        until(60, "Slurm's nodes are idle", lambda: "idle" in slurm.run("sinfo", "-h", "-o", "%t"))
        starts = []
        for _ in range(3 if quick else 7):
            begin = time.monotonic()
            job = slurm.submit("--wrap", "sleep 0.5")
            until(30, "it runs", lambda: slurm.run("squeue", "-h", "-j", job, "-o", "%T").strip() in ("RUNNING", "COMPLETING", ""))
            starts.append(time.monotonic() - begin)
            until(30, "it ends", slurm.idle)
        jobs = 30 if quick else 300

        def many():
            for _ in range(jobs):
                slurm.submit("--wrap", "true")
            until(300, "they end", slurm.idle)

        def lost():
            # A node and all that runs there is gone: until the job runs elsewhere, or for as long as one may wait.
            job = slurm.submit("--requeue", "--wrap", "sleep 1000")
            where = lambda: slurm.run("squeue", "-h", "-j", job, "-o", "%T %N").split()
            until(30, "it runs", lambda: where()[:1] == ["RUNNING"])
            node = where()[1]
            begin = time.monotonic()
            subprocess.run([slurm.tool, "kill", slurm.folder, node], check=True)
            while time.monotonic() - begin < most_lost:
                now = where()
                if now[:1] == ["RUNNING"] and now[1] != node:
                    return time.monotonic() - begin
                time.sleep(0.1)
            return None
        elements = 100 if quick else 1000

        def array():
            slurm.submit(f"--array=0-{elements - 1}", "--wrap", "true")
            while not slurm.idle():  # asked seldom: here, too
                time.sleep(0.1)
        return {"start": statistics.median(starts), "many": measured(many), "element": measured(array) / elements,
                "lost": lost(), "lost_limit": most_lost}
    finally:
        slurm.stop()


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1000


def limit(bench, what, unit, ours, most, **more):
    """A figure that has to stay below one of the plan."""
    bench.row(what, unit, ours, ratio=most / ours, goal=1.0, **more)


def jobs(bench, peer):
    quick = bench.args.quick
    with Cluster(leases=(60, 90)) as c:
        c.up()
        for name in ("n1", "n2"):
            c.node(name, [{"chip": "a100", "count": 8}])
        starts = []
        for _ in range(5 if quick else 21):
            begin = time.monotonic()
            job = c.submit("sleep 0.2")
            until(10, "it runs", lambda: c.state(job) != "queued" and c.state(job) != "starting")
            starts.append(time.monotonic() - begin)
            c.wait(job)
        start = statistics.median(starts)
        theirs = peer.get("start")
        if theirs:
            bench.row("submit to running, empty cluster", "s", start, theirs, "Slurm", goal=theirs / 0.2)
        else:
            limit(bench, "submit to running, empty cluster", "s", start, 0.2)

        count = 30 if quick else 300

        def many(submit):
            for _ in range(count):
                submit()
            until(120, "they end", lambda: not c.call("GET", "/jobs?state=active&limit=1")["jobs"])
        theirs = peer.get("many")
        for way, submit in (("by the command line", lambda: c.run("job", "submit", "--", "true", check=True)),
                            ("over HTTP", lambda: c.submit("true"))):
            ours = measured(lambda: many(submit))
            what = f"{count} short jobs {way}, end to end"
            if theirs:
                bench.row(what, "s", ours, theirs, "Slurm, sbatch", goal=theirs / (5 * count / 300))
            else:
                limit(bench, what, "s", ours, 5 * count / 300)

        elements = 1000 if quick else 10000

        def array():
            job = c.submit("true", array=f"0-{elements - 1}")
            while c.state(job) != "succeeded":  # asked seldom: to ask costs as much as a few elements
                time.sleep(0.1)
        ours = 1e3 * statistics.median([measured(array) for _ in range(1 if quick else 3)]) / elements
        theirs = peer.get("element")
        what = f"array of {elements}, an element"
        if theirs:
            bench.row(what, "ms", ours, 1e3 * theirs, "Slurm, 1,000", goal=1e3 * theirs / 1.0)
        else:
            limit(bench, what, "ms", ours, 1.0)


def queue(bench):
    count = 1000 if bench.args.quick else 10000
    load = bench.program("cluster_bench", 1)
    with Cluster(leases=(60, 90)) as c:
        c.up()
        c.node("n1", [{"chip": "a100", "count": 1}])
        c.wait(c.submit("sleep 1000"), "running")  # so that the others wait
        seconds = load.number("submit", c.url, c.token, 8, count, "a100")
        bench.row(f"{count} jobs submitted over 8 connections", "jobs/s", count / seconds, ratio=count / seconds / 2000, goal=1.0)
        page = load.number("page", c.url, c.token, 1.0)
        limit(bench, f"a page of 50 jobs, {count} queued", "ms", 1e3 * page, 50)
        limit(bench, f"memory of the controller, {count} queued", "MB", memory_mb(c.controller.pid), 200)


def lost_node(bench, peer):
    """A node is gone with all its processes; seconds until its job runs on another one."""
    times = []
    for _ in range(1 if bench.args.quick else 5):
        with Cluster(leases=(2, 4)) as c:
            c.up()
            for name in ("n1", "n2"):
                c.node(name, [{"chip": "a100", "count": 1}])
            job = c.wait(c.submit("sleep 100"), "running")["id"]
            node = c.show(job)["on"][0]
            begin = time.monotonic()
            c.kill_node(node, attempts=True)
            until(30, "it runs elsewhere", lambda: (lambda j: j["state"] == "running" and j["on"] != [node])(c.show(job)))
            times.append(time.monotonic() - begin)
    what = "node killed, leases 2 and 4 s, to running elsewhere"
    if peer:
        theirs, limit_ = peer["lost"], peer["lost_limit"]
        bench.row(what, "s", statistics.median(times), theirs or limit_,
                  "Slurm, SlurmdTimeout=5" + ("" if theirs else f": not within {limit_} s"), goal=(theirs or limit_) / 5)
    else:
        limit(bench, what, "s", statistics.median(times), 5)


def cut_off(bench):
    """Nodes out of reach for longer than their leases, then back (faults_test.py): one by a stopped daemon, one by a cable."""
    test = subprocess.run([sys.executable, f"{common.ROOT}/cluster/controller/faults_test.py", "cut_off"], capture_output=True, text=True)
    found = re.search(r"had ended ([\d.]+) s before the new one began", test.stdout)
    if test.returncode or not found:
        sys.exit("faults_test.py: " + (test.stdout + test.stderr)[-1000:])
    bench.row("node cut off longer than its lease, then back: results beyond one", "jobs", 0, agreement=0.0, tolerance=0.0)
    bench.row("the old attempt had ended before the new one began", "s", float(found[1]))


def killed(bench):
    runs = 40 if bench.args.quick else 1000
    test = subprocess.run([sys.executable, f"{common.ROOT}/cluster/controller/kill_test.py", str(runs)], capture_output=True, text=True)
    found = re.search(r"(\d+) kills at (\d+) points, the slowest start afterwards ([\d.]+) s", test.stdout)
    if test.returncode or not found:
        sys.exit("kill_test.py: " + (test.stdout + test.stderr)[-1000:])
    bench.row(f"controller killed at a write of its state, {found[1]} times: jobs lost or doubled", "jobs", 0, agreement=0.0, tolerance=0.0)
    limit(bench, f"controller back after {found[1]} kills, the slowest", "s", float(found[3]), 1.0)


def main():
    bench = common.Bench("cluster", __doc__)
    only = bench.args.only
    os.environ["WELLSPRING_BINARY"] = os.path.join(bench.args.build, "bin/wellspring")
    peer = slurm_figures(bench.args.quick) if not only or only in ("jobs", "node") else {}
    if not only or only in "jobs":
        jobs(bench, peer)
    if not only or only in "queue":
        queue(bench)
    if not only or only in "node":
        lost_node(bench, peer)
        cut_off(bench)
    if not only or only in "kill":
        killed(bench)
    bench.write()


main()
