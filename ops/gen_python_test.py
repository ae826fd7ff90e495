#!/usr/bin/python3
"""ops/gen_python.py: every declaration has a binding and a stub; a type that it does not know is named."""
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

OPS = os.path.dirname(os.path.realpath(__file__))
# The schema, what stands in it, what instead; what the error names.
UNKNOWN = [
    ("softmax.yaml", "Tensor softmax(const Tensor& x, int dim, std::optional<DType> dtype = {})",
     "Tensor softmax(const Tensor& x, std::complex<float> dim)", "no Python type for 'std::complex<float>' of 'dim'"),
    ("activation.yaml", "Tensor swiglu(const Tensor& gate_up)",
     "std::map<int, Tensor> swiglu(const Tensor& gate_up)", "no Python type for the result 'std::map<int, Tensor>'"),
]


def generate(schemas, out):
    return subprocess.run([sys.executable, os.path.join(OPS, "gen_python.py"), out] +
                          sorted(os.path.join(schemas, f) for f in os.listdir(schemas)), capture_output=True, text=True)


def main():
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        out, schemas = os.path.join(folder, "out"), os.path.join(OPS, "schema")
        done = generate(schemas, out)
        if done.returncode:
            sys.exit(done.stderr)
        source = "".join(open(os.path.join(out, f), encoding="utf-8").read() for f in sorted(os.listdir(out)) if f.endswith(".cpp"))
        with open(os.path.join(out, "_core.pyi"), encoding="utf-8") as f:
            stubs = {n.name for n in ast.parse(f.read()).body if isinstance(n, ast.FunctionDef)}
        declared = 0
        for name in sorted(os.listdir(schemas)):
            if name == "pointwise.yaml":
                continue
            with open(os.path.join(schemas, name), encoding="utf-8") as f:
                for op in yaml.safe_load(f)["operators"]:
                    declared += len(op["cpp"])
                    python = {re.search(r"(\w+)\(", d)[1].removesuffix("_out") for d in op["cpp"]}
                    failures += [f"{name}: no stub of {p}" for p in python - stubs]
        bound = source.count("m.def(")
        if bound < declared:
            failures.append(f"{bound} bindings of at least {declared} declarations")
        copy = os.path.join(folder, "schema")
        for name, old, new, said in UNKNOWN:
            shutil.copytree(schemas, copy)
            path = os.path.join(copy, name)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            if old not in text:
                failures.append(f"the schema has no longer '{old}'")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text.replace(old, new))
            wrong = generate(copy, os.path.join(folder, "wrong"))
            if not wrong.returncode or said not in wrong.stderr:
                failures.append(f"'{new}': no error that says {said}, but: {wrong.stderr[-300:]}")
            shutil.rmtree(copy)
    print(*failures, sep="\n")
    print(f"{3 - min(3, len(failures))} passed, {len(failures)} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
