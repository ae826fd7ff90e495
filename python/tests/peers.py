"""How the tests of the package run: under the Python that the package was built for (WELLSPRING_PEERS, else
.cache/peers/venv), with the build folder's package; status 77 (skipped) where either is missing."""
import importlib.util
import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.environ.get("WELLSPRING_BUILD") or os.path.join(ROOT, "build")


def need(*modules):
    """Goes on where these modules and the package are; else runs this script again where they are, or skips."""
    package = os.path.join(BUILD, "python")
    if package not in sys.path:
        sys.path.insert(0, package)
    has_core = any(name.startswith("_core.") and name.endswith(".so") and sys.implementation.cache_tag[-3:] in name
                   for name in os.listdir(os.path.join(package, "wellspring"))) if os.path.isdir(os.path.join(package, "wellspring")) else False
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if has_core and not missing:
        return
    python = os.environ.get("WELLSPRING_PEERS") or os.path.join(ROOT, ".cache/peers/venv/bin/python")
    if os.path.exists(python) and os.environ.get("WELLSPRING_TEST_PEERS") != python:
        os.environ["WELLSPRING_TEST_PEERS"] = python
        os.execv(python, [python] + sys.argv)
    print("no package in " + package if not has_core else f"no {', '.join(missing)}", "(./dev setup --peers)")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)


def optional(module):
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def main():
    """Runs the tests of the script; the last line counts them for tools/run_tests."""
    program = unittest.main(exit=False, argv=[a for a in sys.argv if a != sys.argv[1]] if sys.argv[1:] and os.path.isdir(sys.argv[1]) else None)
    r = program.result
    bad, skipped = len(r.failures) + len(r.errors), len(r.skipped)
    print(f"{r.testsRun - bad - skipped} passed, {bad} failed, {skipped} skipped", flush=True)
    sys.exit(bool(bad))
