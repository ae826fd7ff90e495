#!/usr/bin/python3
"""ops/gen.py on the schemas as they are, and on schemas with one mistake each: a clear error instead of a traceback."""
import os
import shutil
import subprocess
import sys
import tempfile

import gen
import gen_speed

OPS = os.path.dirname(os.path.realpath(__file__))

# What is wrong; the schema; what it says instead; parts of the error.
MISTAKES = [
    ("family of another name", "softmax", ("family: softmax", "family: softmux"), "softmax.yaml: family must be 'softmax'"),
    ("no YAML", "softmax", ("family: softmax", "family: [softmax"), "softmax.yaml:2: not YAML: expected ',' or ']'"),
    ("a key missing", "softmax", ("    dtypes:", "    #"), "softmax.yaml: operator softmax: lacks 'dtypes'"),
    ("unknown key", "softmax", ("kernels:", "kernel:"), "operator softmax: unknown keys ['kernel']; known are"),
    ("unknown dtype", "softmax", ("dtypes: f64", "dtypes: fp64"), "operator softmax: unknown dtypes fp64; known are all, f64"),
    ("out of no tensor", "arithmetic", ("name: allclose", "name: allclose\n    out: yes"), "operator allclose: 'out', but no declaration"),
    ("gradient of no operand", "softmax", ("gradient: x", "gradient: z"), "operator softmax: gradient of z, which no declaration"),
    ("an operator twice", "softmax", ("name: softmax", "name: dropout"), "operator dropout stands in dropout too"),
    ("expression with an unknown name", "pointwise", ("value: abs(x)", "value: fabs(x)"), "pointwise.yaml: abs: 'fabs(x)' reads fabs"),
    ("a derivative too few", "pointwise", ("grad: [g * y, g * x]", "grad: [g * y]"), "mul: 2 operands but 1 derivatives"),
    ("unknown key of a line", "pointwise", ("neg: {type:", "neg: {typ:"), "pointwise.yaml: neg: keys are"),
]


def generate(schemas, out):
    return subprocess.run([sys.executable, os.path.join(OPS, "gen.py"), out] +
                          sorted(os.path.join(schemas, f) for f in os.listdir(schemas)),
                          capture_output=True, text=True)


def speeds():
    """What gen_speed.py says of operators without rows: they have a kernel of the one that has."""
    schemas = os.path.join(OPS, "schema")
    operators = [op for f in sorted(os.listdir(schemas)) for op in gen.load(os.path.join(schemas, f))["operators"]]
    kernels = {op["name"]: set(gen.words(op.get("kernels"))) for op in operators}
    for name in filter(None, gen_speed.CALLED.values()):
        yield f"{name} is an operator", name in kernels
    for measured, names in gen_speed.SAME.items():
        for name in names.split():
            yield f"{name} is called as {measured}", bool(kernels.get(name, set()) & kernels.get(measured, set()))


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as top:
        done = generate(os.path.join(OPS, "schema"), os.path.join(top, "good"))
        if done.returncode:
            print(f"the schemas as they are: {done.stderr}")
        passed, failed = passed + (not done.returncode), failed + bool(done.returncode)
        for number, (what, family, (old, new), wanted) in enumerate(MISTAKES):
            schemas = os.path.join(top, str(number))
            shutil.copytree(os.path.join(OPS, "schema"), schemas)
            path = os.path.join(schemas, family + ".yaml")
            with open(path) as f:
                text = f.read()
            assert old in text, f"{family}.yaml no longer says '{old}'"
            with open(path, "w") as f:
                f.write(text.replace(old, new, 1))
            done = generate(schemas, os.path.join(top, "out"))
            good = done.returncode == 1 and wanted in done.stderr and "Traceback" not in done.stderr
            passed, failed = passed + good, failed + (not good)
            if not good:
                print(f"FAILED: {what}: status {done.returncode}, expected '{wanted}' in:\n{done.stderr}")
    for what, good in speeds():
        passed, failed = passed + good, failed + (not good)
        if not good:
            print(f"FAILED: gen_speed.py: {what}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
