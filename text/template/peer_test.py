#!/usr/bin/env python3
"""Our chat templates beside Jinja as transformers sets it up, on random templates: the same text, or both refuse.

    text/template/peer_test.py [BUILD] [--all]

Runs under a Python with `transformers`: this one, or the one that WELLSPRING_PEERS names; else it is left out
(status 77: the golden file in testdata/ is compared all the same). Ours is the test binary, which reads the cases from
a file. --all: ten times as many.
"""
import json
import os
import subprocess
import sys
import tempfile
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
import peers  # noqa: E402

peers.need(["jinja2", "transformers"], "compared with the golden file only")

sys.path.insert(0, os.path.join(ROOT, "text", "template", "testdata"))
import make_golden  # noqa: E402


def main():
    warnings.simplefilter("ignore")
    build = os.path.abspath(next((a for a in sys.argv[1:] if a[0] != "-"), os.path.join(ROOT, "build")))
    binary = os.path.join(build, "tests", "text_template_test")
    n = 30000 if "--all" in sys.argv else 3000
    seed = int.from_bytes(os.urandom(4), "little")
    cases = [c for c in map(make_golden.answer, list(make_golden.all_cases()) + make_golden.random_cases(n, seed)) if c]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for case in cases:
            f.write(json.dumps(case, ensure_ascii=False) + "\n")
        f.flush()
        done = subprocess.run([binary, "--gtest_filter=*FreshCasesOfThePeer"], cwd=ROOT, text=True, capture_output=True,
                              env={**os.environ, "WELLSPRING_TEMPLATE_CASES": f.name})
    good = done.returncode == 0
    if not good:
        print(done.stdout[-8000:], done.stderr[-2000:], f"seed {seed}")
    print(f"{len(cases)} cases, seed {seed}\n{int(good)} passed, {int(not good)} failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
