#!/usr/bin/env python3
"""The engine's invariance on each instruction set below the best that the machine and the build have."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETS = ["portable", "avx2", "avx512", "avx512vnni", "avx512bf16"]  # each has those before it


def main():
    build = os.path.abspath(sys.argv[1]) if sys.argv[1:] else os.path.join(ROOT, "build")
    passed = 0
    for isa in SETS:
        environment = dict(os.environ, WELLSPRING_ISA=isa, WELLSPRING_SCHEDULES="14")
        try:
            run = subprocess.run([f"{build}/tests/serve_test", "--gtest_filter=Engine.*"], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, timeout=600)
        except subprocess.TimeoutExpired as e:
            print((e.stdout or b"").decode()[-6000:])
            print(f"{passed} passed, 1 failed ({isa}: not done after 10 minutes)")
            return 1
        output = run.stdout
        if run.returncode and f"WELLSPRING_ISA={isa}: this " in output:  # processor, or build
            print(f"note: {isa} is not here")
        elif run.returncode:
            print(output[-6000:])
            print(f"{passed} passed, 1 failed ({isa})")
            return 1
        else:
            passed += 1
    print(f"{passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
