"""Turns ops/schema/*.yaml into C++: python3 ops/gen.py OUTPUT_FOLDER SCHEMA.yaml...

Writes FAMILY.h for each family (declarations with their documentation), registry.cpp (the table behind
ops/registry.h), out_forms.cpp (operators that write to given tensors), pointwise_forms.cpp (the operators of the pointwise family), pointwise_kernels_N.cpp (their
CPU kernels), pointwise_device.cpp with pointwise_N.inc (those of device chips: the host's half and the device
source) and pointwise_reference.cpp (their slow reference). A file whose content stays the same is only touched.
"""

import os
import re
import sys
import textwrap

import yaml

import gen_out
import gen_pointwise

KEYS = {"name", "cpp", "aten", "pytorch", "dtypes", "kernels", "gradient", "doc", "source",
        "out", "also"}
DTYPES = "f64 f32 bf16 f16 i64 i32 i16 i8 u8 bool c64".split()
WIDTH = 100


def fail(where, what):
    sys.exit(f"{where}: {what}")


def words(value):
    return value.split() if isinstance(value, str) else list(value or [])


def load(path):
    with open(path, encoding="utf-8") as f:
        try:
            family = yaml.safe_load(f)
        except yaml.YAMLError as e:
            line = e.problem_mark.line + 1 if getattr(e, "problem_mark", None) else 1
            fail(f"{path}:{line}", f"not YAML: {getattr(e, 'problem', None) or e}")
    name = os.path.splitext(os.path.basename(path))[0]
    if not isinstance(family, dict) or family.get("family") != name:
        fail(path, f"family must be '{name}', as the file is called")
    for key in ("doc", "operators"):
        if not family.get(key):
            fail(path, f"lacks '{key}'")
    if name == "pointwise":
        family["operators"] = gen_pointwise.expand(path, family["operators"])
    for op in family["operators"]:
        where = f"{path}: operator {op.get('name', '(without a name)')}"
        check(where, op, name == "pointwise")
        if op.get("out") and not gen_out.expand(op):
            fail(where, "'out', but no declaration gives a Tensor or a tuple of them")
    return family


def check(where, op, pointwise):
    """Names what is wrong with an operator; puts its dtypes and gradient into their one form."""
    for key in ("name", "cpp", "doc", "dtypes"):
        if not op.get(key):
            fail(where, f"lacks '{key}'")
    if not pointwise and set(op) - KEYS:
        fail(where, f"unknown keys {sorted(set(op) - KEYS)}; known are {sorted(KEYS)}")
    if op["dtypes"] != "all" and (unknown := set(words(op["dtypes"])) - set(DTYPES)):
        fail(where, f"unknown dtypes {' '.join(sorted(unknown))}; known are all, {' '.join(DTYPES)}")
    if op.get("gradient") == "none":
        op["gradient"] = ""
    operands = set(re.findall(r"\w+", " ".join(op["cpp"])))
    if unknown := [g for g in words(op.get("gradient")) if g not in operands]:
        fail(where, f"gradient of {' '.join(unknown)}, which no declaration names")


def comment(text, prefix):
    lines = []
    for paragraph in text.strip().split("\n"):
        lines += textwrap.wrap(paragraph, WIDTH - len(prefix) - 1) or [""]
    # Rejoin: the YAML's line breaks are no paragraphs.
    lines = textwrap.wrap(" ".join(lines), WIDTH - len(prefix) - 1)
    return "".join(f"{prefix} {line}\n" for line in lines)


def declaration(text):
    return "\n    ".join(textwrap.wrap(text + ";", WIDTH - 4, break_long_words=False)) + "\n"


def header(family):
    text = f"// Generated from ops/schema/{family['family']}.yaml.\n#pragma once\n"
    text += comment(family["doc"], "//")
    text += """
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <vector>

#include "ops/scalar.h"
#include "tensor/tensor.h"

namespace wellspring {

"""
    if family.get("declarations"):
        text += family["declarations"] + "\n"
    for op in family["operators"]:
        doc = op["doc"].strip()
        if op.get("source"):
            doc += f" Source: {op['source'].strip()}."
        if op.get("gradient"):
            doc += f" Gradient: {', '.join(words(op['gradient']))}."
        text += comment(doc, "///")
        text += "".join(declaration(d) for d in op["cpp"]) + "\n"
    return text + "}  // namespace wellspring\n"


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def registry(families):
    text = ("// Generated from ops/schema/*.yaml.\n#include \"ops/registry.h\"\n\n"
            "namespace wellspring {\nnamespace {\n\nconstexpr OperatorInfo kOperators[] = {\n")
    for family in families:
        for op in family["operators"]:
            fields = [op["name"], family["family"], "\n".join(op["cpp"]),
                      "\n".join(op.get("aten") or []), " ".join(words(op.get("pytorch"))),
                      op["dtypes"], " ".join(words(op.get("kernels"))),
                      " ".join(words(op.get("gradient"))), op.get("value", ""),
                      " ".join(op["doc"].split()), " ".join((op.get("source") or "").split())]
            text += "    {" + ",\n     ".join(quote(f) for f in fields) + "},\n"
    return text + """};

}  // namespace

std::span<const OperatorInfo> operators() { return kOperators; }

const OperatorInfo* find_operator(std::string_view name) {
  for (const OperatorInfo& op : kOperators)
    if (op.name == name) return &op;
  return nullptr;
}

}  // namespace wellspring
"""


def write(path, text):
    try:
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return  # what includes it stays built
    except FileNotFoundError:
        pass
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)


def main(out, paths):
    os.makedirs(out, exist_ok=True)
    families = [load(p) for p in sorted(paths)]
    seen = {}
    for family in families:
        for op in family["operators"]:
            if op["name"] in seen:
                fail(family["family"], f"operator {op['name']} stands in {seen[op['name']]} too")
            seen[op["name"]] = family["family"]
        write(os.path.join(out, family["family"] + ".h"), header(family))
    write(os.path.join(out, "registry.cpp"), registry(families))
    write(os.path.join(out, "out_forms.cpp"), gen_out.definitions(families))
    pointwise = next(f for f in families if f["family"] == "pointwise")["operators"]
    write(os.path.join(out, "pointwise_forms.cpp"), gen_pointwise.forms(pointwise))
    write(os.path.join(out, "pointwise_reference.cpp"), gen_pointwise.reference(pointwise))
    for part in range(gen_pointwise.PARTS):
        write(os.path.join(out, f"pointwise_kernels_{part}.cpp"),
              gen_pointwise.kernels(pointwise[part::gen_pointwise.PARTS]))
    units, table = gen_pointwise.device(pointwise)
    write(os.path.join(out, "pointwise_device.cpp"), table)
    for name, text in units.items():
        write(os.path.join(out, name + ".inc"), text)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
