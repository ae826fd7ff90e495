"""What Python calls an operator's arguments and the parts of its result: PyTorch's names, from the ATen lines of ops/schema.

The operator's C++ names are matched with an ATen line by name, else in order by kind; what stands behind ATen's `*` is
given by keyword alone.
"""

import re

import gen_out

# The pointwise table names its operators in ATen, not their arguments. What is not here: x is input, y is other.
POINTWISE = {
    "pow": {"y": "exponent"}, "heaviside": {"y": "values"}, "lerp": {"y": "end"},
    "addcmul": {"y": "tensor1", "z": "tensor2", "factor": "value"},
    "addcdiv": {"y": "tensor1", "z": "tensor2", "factor": "value"},
    "clamp": {"low": "min", "high": "max"}, "clamp_min": {"low": "min"}, "clamp_max": {"high": "max"},
    "softshrink": {"lambda_": "lambd"}, "hardshrink": {"lambda_": "lambd"}, "leaky_relu": {"slope": "negative_slope"},
    "where": {"x": "input", "y": "other"},
}
# Arguments of the pointwise table that go by keyword alone; not behind a number, as add.Scalar's.
POINTWISE_KEYWORDS = {"add": {"alpha"}, "sub": {"alpha"}, "rsub": {"alpha"}, "addcmul": {"factor"}, "addcdiv": {"factor"}}
# Where one overload of PyTorch's Python takes what are two in ATen.
ONE_NAME = {("split", "sizes"): "split_size", ("_upsample_nearest_exact2d", "scales"): "scale_factors"}
# Operators of ours that ATen does not have.
OTHERWISE = {"x": "input", "y": "other"}
# Ours alone; never by position, where a number would be taken for another argument.
SEED = {"seed", "offset"}

LISTS = {"const Shape&", "std::optional<Shape>", "const std::optional<Shape>&", "const std::vector<int>&",
         "const std::vector<int64_t>&", "const std::vector<double>&", "std::span<const int64_t>"}


def kind_of_cpp(kind):
    """(what it is, whether a list)."""
    if "Tensor" in kind:
        return "tensor", "span<" in kind or "vector<" in kind
    for word, what in (("DType", "dtype"), ("Device", "device"), ("bool", "bool"), ("string", "str")):
        if word in kind:
            return what, False
    return "number", kind in LISTS


def kind_of_aten(kind):
    base = re.match(r"\w+", kind)[0]
    what = {"Tensor": "tensor", "ScalarType": "dtype", "Device": "device", "bool": "bool", "str": "str", "Scalar": "number",
            "float": "number", "int": "number", "SymInt": "number"}.get(base, base)
    return what, "[" in kind


class AtenLine:
    """One schema of ATen: `name.overload(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor`."""

    def __init__(self, text):
        plain = re.sub(r"\(\w!?(?: -> \*)?\)", "", " ".join(text.split()))  # which argument a result is a view of
        match = re.fullmatch(r"(\w+)[.\w]*\((.*)\) -> (.*)", plain)
        self.name = match[1].removesuffix("_") or match[1]
        self.parameters, self.keywords = [], set()  # [(kind, name)]
        star = False
        for p in gen_out.split_outside(match[2]):
            if p == "*":
                star = True
                continue
            kind, name = re.fullmatch(r"(.+?) (\w+)", p.split("=")[0].strip()).groups()
            name = "input" if name == "self" else name
            if name == "out":
                continue
            self.parameters.append((kind_of_aten(kind), name))
            if star:
                self.keywords.add(name)
        parts = gen_out.split_outside(match[3].strip("()"))
        named = [re.fullmatch(r"\S+ (\w+)", p) for p in parts]
        self.results = [n[1] for n in named] if len(parts) > 1 and all(named) else []

    def match(self, given):
        """{C++ name: Python name} of [(C++ type, name)], and how badly it fits."""
        names = [n for _, n in self.parameters]
        taken = {n for _, n in given} & set(names)
        found, at, cost = {}, 0, 0
        for kind, name in given:
            if name in taken:
                found[name], at = name, max(at, names.index(name) + 1)
                continue
            what, listed = kind_of_cpp(kind)
            end = next((k for k in range(at, len(names)) if names[k] in taken), len(names))
            k = next((k for k in range(at, end) if self.parameters[k][0][0] == what), None)
            if k is not None:
                found[name], at = names[k], k + 1
                cost += self.parameters[k][0][1] != listed
            elif what not in ("dtype", "device"):
                cost += 10
        return found, cost + len(set(names) - set(found.values())) / 100


def choose(op, python_name, given):
    """({C++ name: Python name}, names by keyword alone, names of the result's parts) for [(C++ type, name)]."""
    name = python_name.removesuffix("_") or python_name
    seed = SEED if any(n == "seed" for _, n in given) else set()
    if "args" in op:  # of the pointwise table
        rename = {**OTHERWISE, **POINTWISE.get(op["name"], {})}
        keywords = POINTWISE_KEYWORDS.get(op["name"], set())
        if op["name"] in ("add", "sub", "rsub") and given[1][0] == "Scalar":
            keywords = set()
        return {n: rename.get(n, n) for _, n in given}, keywords, []
    in_aten = [p for p in given if p[1] not in seed]
    lines = [AtenLine(a) for a in op.get("aten") or []]
    own = [line for line in lines if line.name == name] or lines
    fitting = [(line, *line.match(in_aten)) for line in own]
    # An operator that takes something else first has no more in common with it than the name.
    fitting = [f for f in fitting if given and given[0][1] in f[1] and
               f[0].parameters[0][0] == kind_of_cpp(given[0][0])]
    best = min(fitting, key=lambda f: f[2], default=(None, {}, 0))
    found = {n: ONE_NAME.get((op["name"], n)) or best[1].get(n) or OTHERWISE.get(n, n) for _, n in given}
    if len(set(found.values())) < len(found):
        raise ValueError(f"{op['name']}: two arguments of one name in {found}")
    keywords = set(seed)
    for n, python in found.items():
        has = [line for line, _, _ in fitting if python in (p for _, p in line.parameters)]
        if has and all(python in line.keywords for line in has):
            keywords.add(n)
    return found, keywords, best[0].results if best[0] else []
