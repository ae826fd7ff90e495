"""The out forms of operators whose schema says `out`: declarations, and definitions over ops/out.h."""

import re

# Operands that a form reads, by their C++ type.
READ = {"const Tensor&", "std::optional<Tensor>", "const std::optional<Tensor>&", "std::span<const Tensor>",
        "const std::vector<Tensor>&"}


def split_outside(text, separator=","):
    """Splits where no bracket is open."""
    parts, depth, begin = [], 0, 0
    for i, c in enumerate(text):
        depth += c in "<({["
        depth -= c in ">)}]"
        if c == separator and depth == 0:
            parts.append(text[begin:i].strip())
            begin = i + 1
    last = text[begin:].strip()
    return parts + [last] if last else parts


def parameter(text):
    """(type, name, default or None) of a parameter's declaration."""
    head, _, default = text.partition("=")
    match = re.fullmatch(r"(.+?)\s*\b(\w+)", head.strip())
    return (match[1].strip(), match[2], default.strip() or None) if match else None


def form_of(declaration, takes_dtype=False):
    """(declaration, definition) of the out form of a plain form, or None for one in place. takes_dtype: where none is
    named, the operator computes in the target's dtype."""
    match = re.fullmatch(r"(Tensor|std::tuple<[\w, ]+>) (\w+)\((.*)\)", " ".join(declaration.split()), re.S)
    if not match:
        return None
    result, name, parameters = match[1], match[2], [parameter(p) for p in split_outside(match[3])]
    creates = not any(kind in READ for kind, _, _ in parameters)
    # What is made of numbers alone takes dtype and device of the target.
    given = [p for p in parameters if not (creates and p[1] in ("dtype", "device"))]
    instead = {"dtype": "first.dtype()", "device": "first.device()"} if creates else \
        {"dtype": "dtype.value_or(first.dtype())"} if takes_dtype else {}
    passed = [instead.get(n, n) for _, n, _ in parameters]
    listed = [f"const {result}& out"] + [f"{t} {n}" for t, n, _ in given]
    with_defaults = listed[:1] + [f"{t} {n}" + (f" = {d}" if d else "") for t, n, d in given]
    count = 1 if result == "Tensor" else result.count(",") + 1
    outs = ["out"] if count == 1 else [f"std::get<{i}>(out)" for i in range(count)]
    body = f'  const OutForm form("{name}", {{{", ".join("&" + o for o in outs)}}});\n'
    if instead:
        body += f"  const Tensor& first = {outs[0]};\n"
    reads = "".join(f"  form.reads({n});\n" for t, n, _ in parameters if t in READ)
    call = f"{name}({', '.join(passed)})"
    if count == 1:
        body += reads + f"  form.write({{{call}}});\n"
    else:
        body += reads + f"  const {result} made = {call};\n  form.write({{" + \
            ", ".join(f"std::get<{i}>(made)" for i in range(count)) + "});\n"
    head = f"const {result}& {name}_out("
    return head + ", ".join(with_defaults) + ")", head + ", ".join(listed) + ") {\n" + body + "  return out;\n}\n"


def expand(op):
    """Adds the out forms to an operator's declarations; keeps their definitions."""
    forms = [f for f in (form_of(d, op["out"] == "dtype") for d in op["cpp"]) if f] if op.get("out") else []
    op["cpp"] = op["cpp"] + [declaration for declaration, _ in forms]
    op["out_definitions"] = [definition for _, definition in forms]
    return forms


def definitions(families):
    """The file out_forms.cpp."""
    text = "// Generated from ops/schema/*.yaml: operators that write to given tensors.\n#include \"ops/out.h\"\n\n"
    text += "".join(f'#include "ops/{f["family"]}.h"\n' for f in families
                    if any(op.get("out_definitions") for op in f["operators"]))
    text += "\nnamespace wellspring {\n\n"
    for family in families:
        for op in family["operators"]:
            text += "".join(d + "\n" for d in op.get("out_definitions", []))
    return text + "}  // namespace wellspring\n"
