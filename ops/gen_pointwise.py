"""The pointwise table: signatures, forms and CPU kernels from one line per operator."""

import re
import sys

PARTS = 4
KEYS = {"args", "value", "grad", "type", "masks", "params", "doc", "aten", "forms"}
FUNCTIONS = ("exp exp2 expm1 log log1p sin cos tanh erf sigmoid sqrt abs floor ceil trunc round pow isinf "
             "isfinite gelu_tanh_slope").split()
DTYPES = "f64 f32 bf16 f16 i64 i32 i16 i8 u8 bool"


def expand(path, table):
    """The table's lines as operators with the keys that gen.py knows and some of our own."""
    operators = []
    for name, line in table.items():
        if set(line) - KEYS or "value" not in line:
            sys.exit(f"{path}: {name}: keys are {sorted(KEYS)}, value is needed")
        args = line.get("args", "x").split()
        grads = line.get("grad")
        if grads is not None and not isinstance(grads, list):
            grads = [grads]
        if grads and len(grads) != len(args):
            sys.exit(f"{path}: {name}: {len(args)} operands but {len(grads)} derivatives")
        op = dict(name=name, args=args, value=str(line["value"]),
                  grads=[None if g is None else str(g) for g in grads or []],
                  type=line.get("type", "same" if len(args) > 1 else "float"),
                  masks=line.get("masks", "").split(), params=line.get("params", {}),
                  form_names=line.get("forms", ["in_place", "out"]))
        op["dtypes"] = DTYPES
        op["gradient"] = [a for a, g in zip(args, op["grads"]) if g is not None]
        op["kernels"] = [name] + ([name + "_backward"] if op["grads"] else [])
        op["overloads"] = overloads(op)
        op["cpp"] = [s for o in op["overloads"] for s in o["declarations"]]
        op["pytorch"] = line.get("aten", [name])
        op["aten"] = [aten(op)] if "aten" not in line else list(line["aten"])
        op["doc"] = f"{name}: {op['value']}. {line.get('doc', '')}".strip()
        operators.append(op)
    return operators


def aten(op):
    kind = ".Tensor" if len(op["args"]) > 1 else ""
    return (f"{op['name']}{kind}(" + ", ".join("Tensor " + a for a in op["args"]) +
            "".join(f", *, Scalar {p}={d}" for p, d in op["params"].items()) + ") -> Tensor")


def overloads(op):
    """Which operands are tensors (T) or numbers (S), with the declarations of each form."""
    n, masks = len(op["args"]), len(op["masks"])
    kinds = {1: ["T"], 2: ["TT", "TS", "ST"], 3: ["TTT", "TSS"]}[n]
    if op["name"] == "where":
        kinds = ["TTT", "TTS", "TST", "TSS"]
    if op["name"].startswith("clamp_"):
        kinds = ["TT", "TS"]
    params = [f"double {p} = {float(d):g}" for p, d in op["params"].items()]
    result = []
    for kind in kinds:
        list_of = [("const Tensor& " if k == "T" else "Scalar ") + a
                   for k, a in zip(kind, op["args"])]
        arguments = ", ".join(list_of + params)
        entry = {"kind": kind, "declarations": [f"Tensor {op['name']}({arguments})"], "forms": [""]}
        if kind[0] == "T" and "in_place" in op["form_names"]:
            entry["declarations"].append(f"const Tensor& {op['name']}_({arguments})")
            entry["forms"].append("_")
        if "out" in op["form_names"]:
            entry["declarations"].append(
                f"const Tensor& {op['name']}_out(const Tensor& out, {arguments})")
            entry["forms"].append("_out")
        result.append(entry)
    return result


def forms(operators):
    return "// Generated.\n"


def kernels(operators):
    return "// Generated.\n"
