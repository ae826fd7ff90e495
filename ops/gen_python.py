"""Python bindings and stubs from the operators' declarations: python3 ops/gen_python.py OUTPUT_FOLDER SCHEMA.yaml...

Writes operators_N.cpp (one function of the module wellspring._core per declaration), operators.cpp, which calls
them, and operators.pyi with the signatures for editors and type checkers. Every type that a declaration may
use stands in TYPES or RETURNS; another one ends the run, naming declaration and type.
"""

import keyword
import os
import re
import sys
import textwrap

import gen
import gen_out

PARTS = 6

# C++ type of a parameter: Python's, as a stub writes it.
TYPES = {
    "const Tensor&": "Tensor",
    "std::optional<Tensor>": "Tensor | None",
    "const std::optional<Tensor>&": "Tensor | None",
    "std::span<const Tensor>": "Sequence[Tensor]",
    "const std::vector<Tensor>&": "Sequence[Tensor]",
    "Scalar": "Number",
    "std::optional<Scalar>": "Number | None",
    "double": "float",
    "std::optional<double>": "float | None",
    "bool": "builtins.bool",
    "int": "int",
    "int64_t": "int",
    "uint64_t": "int",
    "std::optional<int>": "int | None",
    "std::optional<bool>": "builtins.bool | None",
    "std::optional<int64_t>": "int | None",
    "std::optional<uint64_t>": "int | None",
    "const Shape&": "Size",
    "std::optional<Shape>": "Size | None",
    "const std::optional<Shape>&": "Size | None",
    "const std::vector<int>&": "Size | None",
    "const std::vector<int64_t>&": "Sequence[int]",
    "const std::vector<double>&": "Sequence[float]",
    "std::span<const int64_t>": "Sequence[int]",
    "std::string_view": "str",
    "std::optional<std::string_view>": "str | None",
    "const std::string&": "str",
    "DType": "DType",
    "std::optional<DType>": "DType | str | None",
    "Device": "str",
    "std::optional<Device>": "str | None",
}
RETURNS = {"Tensor": "Tensor", "const Tensor&": "Tensor", "void": "None", "bool": "builtins.bool", "double": "float",
           "int64_t": "int", "std::vector<Tensor>": "list[Tensor]", "DType": "DType"}
DEFAULTS = {"true": "True", "false": "False", "{}": "None", "std::nullopt": "None"}
# What a stub for a default of C++ says where it is no number or string.
WIDTH = 100


def structs_of(family):
    """Options declared beside a family: {name: [(type, field, default)]}; a call takes them as keywords."""
    found = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", family.get("declarations") or "", re.S):
        fields = re.findall(r"^\s*([\w:<>]+) (\w+) = ([^;]+);", body, re.M)
        found[f"const {name}&"] = [(t, field, default.strip()) for t, field, default in fields]
    return found


def fail(declaration, what):
    sys.exit(f"ops/gen_python.py: {declaration}: {what}; known types are in TYPES and RETURNS of that file")


class Parameter:
    def __init__(self, declaration, text, structs):
        read = gen_out.parameter(text)
        if not read:
            fail(declaration, f"cannot read the parameter '{text}'")
        self.type, self.name, self.default = read[0], read[1], read[2] or ""
        self.struct = structs.get(self.type)
        self.tuple = re.fullmatch(r"const std::tuple<(Tensor(?:, Tensor)*)>&", self.type)
        if self.type not in TYPES and not self.struct and not self.tuple:
            fail(declaration, f"no Python type for '{self.type}' of '{self.name}'")
        self.python = self.name + "_" if keyword.iskeyword(self.name) else self.name

    def arg(self):
        """The nb::arg of it."""
        text = f'nb::arg("{self.python}")'
        if not self.default:
            return text
        if self.default in ("{}", "std::nullopt"):
            if self.type == "Device":
                return text + " = Device{}"
            return text + ".none() = nb::none()"
        if self.default.startswith("{"):  # numbers of a list
            return f"{text} = nb::make_tuple({self.default[1:-1]})"
        return f"{text} = {self.default}"

    def stub(self):
        kind = f"tuple[{self.tuple[1]}]" if self.tuple else TYPES[self.type]
        if not self.default:
            return f"{self.python}: {kind}"
        default = self.default.removeprefix("DType::")
        if default == "{}" and self.type == "Device":
            default = '"cpu"'
        elif default in DEFAULTS:
            default = DEFAULTS[default]
        elif self.type == "DType":
            default = "..."
        elif default.startswith("{"):
            default = f"({default[1:-1]},)"
        if default == "None" and "None" not in kind:
            kind += " | None"
        return f"{self.python}: {kind} = {default}"


class Function:
    """One declaration as Python sees it."""

    def __init__(self, declaration, structs):
        match = re.fullmatch(r"(.+?)\s*\b(\w+)\((.*)\)", declaration, re.S)
        if not match:
            fail(declaration, "is not 'RETURN NAME(PARAMETERS)'")
        self.returns, self.cpp = match[1].strip(), match[2]
        self.parameters = [Parameter(declaration, p, structs) for p in gen_out.split_outside(match[3])]
        self.declaration = declaration
        changes = self.returns.startswith("const ") and self.parameters and self.parameters[0].type == self.returns
        self.result = self.python_result(self.returns.removeprefix("const ").removesuffix("&"))
        self.out = changes and self.cpp.endswith("_out")
        self.in_place = changes and not self.out
        self.name = self.cpp.removesuffix("_out") if self.out else self.cpp

    def python_result(self, returns):
        if returns in RETURNS:
            return RETURNS[returns]
        if match := re.fullmatch(r"std::(tuple|pair)<(.*)>", returns):
            return f"tuple[{', '.join(self.python_result(r) for r in gen_out.split_outside(match[2]))}]"
        fail(self.declaration, f"no Python type for the result '{returns}'")

    def pointer(self):
        """The overload, as a pointer of its exact type: functions of one type share their binding's code."""
        types = ", ".join(p.type for p in self.parameters)
        return f"static_cast<{self.returns} (*)({types})>(&wellspring::{self.cpp})"

    def definition(self, doc):
        args = [p.arg() for p in self.parameters if not p.struct]
        struct = next((p for p in self.parameters if p.struct), None)
        callee = self.pointer()
        if struct:
            callee, args = self.with_options(struct)
        elif self.out:
            wrap = "outs_last" if self.parameters[0].tuple else "out_last"
            callee, args = f"{wrap}({callee})", args[1:] + ["nb::kw_only()", args[0]]
        elif self.in_place:
            callee = f"in_place({callee})"
        # Defaults may only be followed by defaults.
        tail = [", ".join(args)] if args else []
        policy = ["nb::rv_policy::reference"] if self.in_place or self.out else []
        return (f'  m.def("{self.name}", {callee},\n        ' +
                ", ".join(tail + policy + ["kFree", gen.quote(doc)]) + ");\n")

    def with_options(self, struct):
        plain = [p for p in self.parameters if not p.struct]
        fields = [f"{t} {name}" for t, name, _ in struct.struct]
        typed = ", ".join([f"{p.type} {p.name}" for p in plain] + fields)
        options = struct.type.removeprefix("const ").removesuffix("&")
        given = ", ".join(name for _, name, _ in struct.struct)
        call = ", ".join(struct.name if p.struct else p.name for p in self.parameters)
        body = f"[]({typed}) {{ return wellspring::{self.cpp}({call.replace(struct.name, f'{options}{{{given}}}')}); }}"
        # A tensor before them may be undefined.
        args = [p.arg() + (".none()" if p.type == "const Tensor&" and not p.default else "") for p in plain]
        return body, args + [f'nb::arg("{name}") = {default}' for _, name, default in struct.struct]

    def stub(self):
        listed = []
        for p in self.parameters:
            if p.struct:
                listed += [f"{name}: {TYPES[t]} = {default}" for t, name, default in p.struct]
            else:
                listed.append(p.stub())
        if self.out:
            listed = listed[1:] + ["*", listed[0]]
        return listed


def signature(function, method=False):
    listed = function.stub()
    if method:
        listed = ["self"] + listed[1:]
    return f"({', '.join(listed)}) -> {function.result}"


def documentation(op):
    text = " ".join(op["doc"].split())
    if op.get("gradient"):
        text += f" Gradient: {', '.join(gen.words(op['gradient']))}."
    return text


def stub_of(name, functions, doc, indent="", method=False):
    text = ""
    for f in functions:
        decorator = f"{indent}@overload\n" if len(functions) > 1 else ""
        body = " ..."
        if f is functions[0]:
            body = "\n" + textwrap.indent(f'"""{doc}"""', indent + "    ")
        text += f"{decorator}{indent}def {name}{signature(f, method)}:{body}\n"
    return text


def is_method(functions):
    return all(f.parameters and f.parameters[0].type == "const Tensor&" and not f.out or
               f.out and len(f.parameters) > 1 and f.parameters[1].type == "const Tensor&" for f in functions)


def collect(families):
    """{name: (functions, doc)} of all operators, in the schema's order."""
    names = {}

    def add(name, declaration, structs, doc):
        function = Function(" ".join(declaration.split()), structs)
        suffix = "_" if function.in_place and name else ""
        function.name = name + suffix if name else function.name
        functions, docs = names.setdefault(function.name, ([], []))
        functions.append(function)
        if doc not in docs:
            docs.append(doc)

    for family in families:
        structs = structs_of(family)
        for op in family["operators"]:
            for name in [None] + gen.words(op.get("also")):
                for declaration in op["cpp"]:
                    add(name, declaration, structs, documentation(op))
        for declaration in re.findall(r"^(\w[^;{}/]*\))\s*;", family.get("declarations") or "", re.M):
            add(None, declaration, structs, family["doc"].split("\n")[0])
    for functions, _ in names.values():
        # Tensors before numbers: a number is no tensor, but some tensors pass for one.
        functions.sort(key=lambda f: (f.out, ["Scalar" in p.type for p in f.parameters]))
    return {name: (functions, "\n".join(docs)) for name, (functions, docs) in names.items()}


HEAD = """// Generated from ops/schema/*.yaml.
#include "python/src/operators.h"

"""


def part(families, names):
    text = HEAD + "".join(f'#include "ops/{f["family"]}.h"\n' for f in families)
    text += "\nnamespace wellspring::python {\n\n"
    return text, names


def main(out, paths):
    os.makedirs(out, exist_ok=True)
    families = [gen.load(p) for p in sorted(paths)]
    names = collect(families)
    includes = "".join(f'#include "ops/{f["family"]}.h"\n' for f in families)
    items = list(names.items())
    for i in range(PARTS):
        text = HEAD + includes + f"\nnamespace wellspring::python {{\n\nvoid bind_operators_{i}(nb::module_& m) {{\n"
        for name, (functions, doc) in items[i::PARTS]:
            text += "".join(f.definition(doc if f is functions[0] else "") for f in functions)
        gen.write(os.path.join(out, f"operators_{i}.cpp"), text + "}\n\n}  // namespace wellspring::python\n")
    methods = [name for name, (functions, _) in items if is_method(functions)]
    text = HEAD + "namespace wellspring::python {\n\n"
    text += "".join(f"void bind_operators_{i}(nb::module_& m);\n" for i in range(PARTS))
    text += "\nvoid bind_operators(nb::module_& m) {\n"
    text += "".join(f"  bind_operators_{i}(m);\n" for i in range(PARTS))
    text += "  static constexpr const char* kMethods[] = {\n"
    text += textwrap.fill(", ".join(f'"{m}"' for m in methods), WIDTH, initial_indent="      ",
                          subsequent_indent="      ")
    text += "};\n  add_methods(m, kMethods);\n}\n\n}  // namespace wellspring::python\n"
    gen.write(os.path.join(out, "operators.cpp"), text)
    stubs = "".join(stub_of(name, functions, doc) for name, (functions, doc) in items)
    inside = "".join(stub_of(name, *names[name], indent="    ", method=True) for name in methods)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python", "src", "core.pyi.in"),
              encoding="utf-8") as f:
        gen.write(os.path.join(out, "_core.pyi"), f.read().replace("    # METHODS\n", inside).replace("# FUNCTIONS\n", stubs))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
