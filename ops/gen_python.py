"""Python bindings and stubs from the operators' declarations: python3 ops/gen_python.py OUTPUT_FOLDER SCHEMA.yaml...

Writes operators_N.cpp (one function of the module wellspring._core per declaration), operators.cpp, which calls
them, and operators.pyi with the signatures for editors and type checkers. Every type that a declaration may
use stands in TYPES or RETURNS; another one ends the run, naming declaration and type. Arguments and the parts of results
have PyTorch's names (gen_names.py).
"""

import keyword
import os
import re
import sys
import textwrap

import gen
import gen_names
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
    "const std::vector<int>&": "Size | None",
    "const std::vector<int64_t>&": "Sequence[int]",
    "const std::vector<double>&": "Sequence[float]",
    "std::span<const int64_t>": "Sequence[int]",
    "std::string_view": "str",
    "std::optional<std::string_view>": "str | None",
    "const std::string&": "str",
    "DType": "DTypeLike",
    "std::optional<DType>": "DTypeLike | None",
    "Device": "str",
}
RETURNS = {"Tensor": "Tensor", "const Tensor&": "Tensor", "void": "None", "bool": "builtins.bool", "double": "float",
           "int64_t": "int", "std::vector<Tensor>": "list[Tensor]", "DType": "DType"}
# Inside the class Tensor these are methods.
TYPES = {cpp: re.sub(r"(?<![\w.])(int|float)\b", r"builtins.\1", python) for cpp, python in TYPES.items()}
RETURNS = {cpp: re.sub(r"^(int|float)$", r"builtins.\1", python) for cpp, python in RETURNS.items()}
# Operators whose list may be given as arguments, too: zeros(2, 3).
VARIADIC = set("zeros ones empty rand randn view reshape expand repeat tile permute flip resize_".split())
# What makes a tensor of numbers may make it a leaf: ones(2, requires_grad=True).
LEAVES = set("zeros ones empty full rand randn arange linspace logspace eye zeros_like ones_like empty_like full_like rand_like "
             "randn_like".split())
# Of one tensor, and without brackets in PyTorch.
PROPERTIES = ["mT", "real", "imag"]
# In PyTorch the tensor is another argument than the first, or the method does something else.
NO_METHODS = {"where"}
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


def identifier(text):
    """A name that is none of Python's own words."""
    return text + "_" if keyword.iskeyword(text) else text


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
        self.python = identifier(self.name)

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
        # An int would only be taken for a double when no other overload fits.
        whole = "double" in self.type and re.fullmatch(r"-?\d+", self.default)
        return f"{text} = {self.default}{'.0' * bool(whole)}"

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
    """One declaration as Python sees it; `variadic`: its list is given as arguments."""

    def __init__(self, declaration, structs, op, name, variadic=False):
        match = re.fullmatch(r"(.+?)\s*\b(\w+)\((.*)\)", declaration, re.S)
        if not match:
            fail(declaration, "is not 'RETURN NAME(PARAMETERS)'")
        self.returns, self.cpp = match[1].strip(), match[2]
        self.parameters = [Parameter(declaration, p, structs) for p in gen_out.split_outside(match[3])]
        self.declaration, self.variadic = declaration, variadic
        changes = self.returns.startswith("const ") and self.parameters and self.parameters[0].type == self.returns
        self.result = self.python_result(self.returns.removeprefix("const ").removesuffix("&"))
        self.out = changes and self.cpp.endswith("_out")
        self.in_place = changes and not self.out
        self.name = self.cpp.removesuffix("_out") if self.out else self.cpp
        if name:
            self.name = name + "_" * self.in_place
        self.op = op
        self.rename(op)

    def rename(self, op):
        """PyTorch's names for the arguments and the parts of the result."""
        given = self.parameters[1:] if self.out else self.parameters
        names, keywords, parts = gen_names.choose(op, self.name, [(p.type, p.name) for p in given])
        for p in given:
            p.python = identifier(names[p.name])
        self.renamed = {p.name: p.python for p in given if p.name != p.python}
        # By keyword alone from here on.
        self.leaf = self.name in LEAVES and not self.out
        self.keywords = next((i for i in range(len(given)) if all(p.name in keywords for p in given[i:])), len(given))
        self.parts = parts if self.returns.startswith("std::tuple") else []

    def list_at(self):
        """The place of the list that may be given as arguments."""
        return next(i for i, p in enumerate(self.parameters) if p.type in gen_names.LISTS)

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
        if self.variadic:
            return self.variadic_definition(doc)
        args = [p.arg() for p in self.parameters if not p.struct]
        struct = next((p for p in self.parameters if p.struct), None)
        callee = self.pointer()
        if struct:
            callee, args = self.with_options(struct)
        elif self.out:
            wrap = "outs_last" if self.parameters[0].tuple else "out_last"
            callee, args = f"{wrap}({callee})", with_star(args[1:], self.keywords) + args[:1]
            if "nb::kw_only()" not in args:
                args.insert(-1, "nb::kw_only()")
        else:
            if self.in_place:
                callee = f"in_place({callee})"
            elif self.leaf:
                callee, args = f"leaf({callee})", args + ['nb::arg("requires_grad") = false']
            elif self.parts:
                names = ", ".join(f'"{part}"' for part in self.parts)
                callee = f'named({callee}, result_type("{self.name}", {{{names}}}))'
            args = with_star(args, self.keywords)
        # Defaults may only be followed by defaults.
        tail = [", ".join(args)] if args else []
        policy = ["nb::rv_policy::reference"] if self.in_place or self.out else []
        return (f'  m.def("{self.name}", {callee},\n        ' +
                ", ".join(tail + policy + ["kFree", gen.quote(doc)]) + ");\n")

    def variadic_definition(self, doc):
        at = self.list_at()
        before, list_type, after = self.parameters[:at], self.parameters[at].type, self.parameters[at + 1:]
        plain = list_type.removeprefix("const ").removesuffix("&")
        typed = ", ".join([f"{p.type} {p.name}" for p in before] + ["nb::args given"] + [f"{p.type} {p.name}" for p in after] +
                          ["bool requires_grad"] * self.leaf)
        passed = ", ".join([p.name for p in before] + ["list"] + [p.name for p in after])
        result = " -> const Tensor&" if self.in_place else ""
        call = f"wellspring::{self.cpp}({passed})"
        if self.leaf:
            call = f"as_leaf({call}, requires_grad)"
        callee = (f"[]({typed}){result} {{ return spread<{plain}>(given, [&](const {plain}& list){result} "
                  f"{{ return {call}; }}); }}")
        args = ", ".join([p.arg() for p in before + [self.parameters[at]] + after] +
                         ['nb::arg("requires_grad") = false'] * self.leaf)
        policy = "nb::rv_policy::reference, " if self.in_place else ""
        return f'  m.def("{self.name}", {callee},\n        {args}, {policy}{gen.quote(doc)});\n'

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
                listed += [f"{name}: {TYPES[t]} = {DEFAULTS.get(default, default)}" for t, name, default in p.struct]
            else:
                listed.append(p.stub())
        if self.leaf:
            listed.append("requires_grad: builtins.bool = False")
        if self.variadic:
            at = self.list_at()
            return listed[:at] + [f"*{self.parameters[at].python}: builtins.int"] + listed[at + 1:]
        if self.out:
            return with_star(listed[1:], self.keywords, "*") + ["*"] * (self.keywords == len(listed) - 1) + listed[:1]
        return listed if any(p.struct for p in self.parameters) else with_star(listed, self.keywords, "*")

    def stub_result(self):
        return f"return_types.{self.name}" if self.parts and not self.out else self.result


def with_star(listed, at, star="nb::kw_only()"):
    """With what begins the arguments by keyword alone before `at`, when there are any."""
    return listed[:at] + [star] + listed[at:] if at < len(listed) else listed


def kinds(text):
    """The types that an argument of a stub takes, one by one."""
    text = text.split(":", 1)[-1].split("=")[0]
    text = text.replace("Size", "builtins.int | Sequence[builtins.int]").replace("Number", "builtins.bool | builtins.int | builtins.float")
    all_of = {t.strip() for t in text.split("|")}
    if "builtins.float" in all_of:
        all_of.add("builtins.int")
    if "builtins.int" in all_of:
        all_of.add("builtins.bool")
    return all_of


def never_matched(function, earlier):
    """Whether an overload before takes all that this one takes: type checkers complain of such."""
    mine = function.stub()
    return any(len(e) == len(mine) and all(a.split(":")[0] == b.split(":")[0] and kinds(a) >= kinds(b) and
                                           ("=" in a or "=" not in b) for a, b in zip(e, mine))
               for e in (f.stub() for f in earlier))


def signature(function, method=False):
    listed = function.stub()
    if method:
        listed = ["self"] + listed[1:]
    return f"({', '.join(listed)}) -> {function.stub_result()}"


# Words of English, which a documentation means more often than the argument.
ENGLISH = {"a", "from", "to", "offset", "start", "end", "size", "sizes", "shape", "places", "parts", "rate", "low", "high", "index",
           "sorted", "among", "weights", "value", "columns", "rows", "axes", "classes", "draws", "repeats"}


def documentation(op, renamed):
    """The operator's text with Python's names of the arguments."""
    text = " ".join(op["doc"].split())
    if "a" in renamed and "b" in renamed:  # factors
        text = re.sub(r"\ba (and )?b\b", lambda m: f"{renamed['a']} {m[1] or ''}{renamed['b']}", text)
    text = re.sub(r"`(\w+)`", lambda m: f"`{renamed.get(m[1], m[1])}`", text)
    words = {old: new for old, new in renamed.items() if old not in ENGLISH}
    if words:
        text = re.sub(r"(?<![\w'`])(%s)(?!\w)" % "|".join(words), lambda m: words[m[1]], text)
    if op.get("gradient"):
        text += f" Gradient: {', '.join(renamed.get(g, g) for g in gen.words(op['gradient']))}."
    return text


def stub_of(name, functions, doc, indent="", method=False):
    text = ""
    if method:
        functions = [f for f in functions if on_tensor(f)]
    functions = [f for i, f in enumerate(functions) if not never_matched(f, functions[:i])]
    for f in functions:
        decorator = f"{indent}@overload\n" if len(functions) > 1 else ""
        if method and name in PROPERTIES:
            decorator = f"{indent}@property\n"
        body = " ..."
        if f is functions[0]:
            body = "\n" + textwrap.indent(f'"""{doc}"""', indent + "    ")
        text += f"{decorator}{indent}def {name}{signature(f, method)}:{body}\n"
    return text


def on_tensor(f):
    """Whether the function's first argument is a tensor."""
    listed = f.parameters[1:] if f.out else f.parameters
    return bool(listed) and listed[0].type == "const Tensor&"


def is_method(name, functions):
    return any(on_tensor(f) for f in functions) and name not in NO_METHODS


def collect(families):
    """{name: (functions, doc)} of all operators, in the schema's order."""
    names = {}

    def add(name, declaration, structs, op):
        declaration = " ".join(declaration.split())
        function = Function(declaration, structs, op, name)
        functions, docs = names.setdefault(function.name, ([], []))
        functions.append(function)
        doc = documentation(op, function.renamed)
        # One text for an operator: overloads may name the arguments in other ways.
        if op["doc"] not in [d for d, _ in docs]:
            docs.append((op["doc"], doc))

    for family in families:
        structs = structs_of(family)
        for op in family["operators"]:
            for name in [None] + gen.words(op.get("also")):
                for declaration in op["cpp"]:
                    add(name, declaration, structs, op)
        for declaration in re.findall(r"^(\w[^;{}/]*\))\s*;", family.get("declarations") or "", re.M):
            add(None, declaration, structs, {"name": "", "doc": family["doc"].split("\n")[0]})
    for name in VARIADIC:
        plain = next(f for f in names[name][0] if not f.out)
        names[name][0].append(Function(plain.declaration, {}, plain.op, None, variadic=True))
    for functions, _ in names.values():
        # Tensors before numbers: a number is no tensor, but some tensors pass for one.
        functions.sort(key=lambda f: (f.out, ["Scalar" in p.type for p in f.parameters]))
    return {name: (functions, "\n".join(d for _, d in docs)) for name, (functions, docs) in names.items()}


HEAD = """// Generated from ops/schema/*.yaml.
#include "python/src/operators.h"

"""


def stub_file(names, methods):
    """python/src/core.pyi.in with the operators; a method that it has itself stays its own."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python", "src", "core.pyi.in"),
              encoding="utf-8") as f:
        text = f.read()
    own = set(re.findall(r"^    def (\w+)\(", text, re.M)) | set(re.findall(r"^    (\w+):", text, re.M))
    results = "".join(f"    class {f.name}(NamedTuple):\n" + "".join(f"        {part}: Tensor\n" for part in f.parts)
                      for functions, _ in names.values() for f in functions if f.parts and not f.out)
    return text.replace("    # METHODS\n", "".join(stub_of(name, *names[name], indent="    ", method=True)
                                                  for name in methods if name not in own)) \
        .replace("    # RESULTS\n", results) \
        .replace("# FUNCTIONS\n", "".join(stub_of(name, functions, doc) for name, (functions, doc) in names.items()))


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
    methods = [name for name, (functions, _) in items if is_method(name, functions)]
    text = HEAD + "namespace wellspring::python {\n\n"
    text += "".join(f"void bind_operators_{i}(nb::module_& m);\n" for i in range(PARTS))
    text += "\nvoid bind_operators(nb::module_& m) {\n"
    text += "".join(f"  bind_operators_{i}(m);\n" for i in range(PARTS))
    for array, listed in (("kMethods", [m for m in methods if m not in PROPERTIES]), ("kProperties", PROPERTIES)):
        text += f"  static constexpr const char* {array}[] = {{\n"
        text += textwrap.fill(", ".join(f'"{m}"' for m in listed), WIDTH, initial_indent="      ", subsequent_indent="      ")
        text += "};\n"
    text += "  add_methods(m, kMethods, kProperties);\n}\n\n}  // namespace wellspring::python\n"
    gen.write(os.path.join(out, "operators.cpp"), text)
    gen.write(os.path.join(out, "_core.pyi"), stub_file(names, methods))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
