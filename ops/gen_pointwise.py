"""The pointwise table: signatures, forms and every chip's kernels from one line per operator."""

import re
import sys

PARTS = 8
DEVICE_PARTS = 32  # programs of the device chips: one is compiled as a whole
KEYS = {"args", "value", "grad", "type", "masks", "params", "doc", "aten", "forms", "alias", "special"}
FUNCTIONS = set("exp exp2 expm1 log log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh "
                "erf erfc erfinv lgamma digamma hypot fmod floor_quotient floor_rest copysign sigmoid sqrt abs floor "
                "ceil trunc round pow isinf isfinite gelu_tanh_slope "
                "shift_left shift_right gcd lcm".split())
# Those of them that device source has; an operator with another one runs on the CPU.
DEVICE_FUNCTIONS = set("exp exp2 expm1 log log1p sin cos tanh erf sigmoid sqrt abs floor ceil trunc round "
                       "pow isinf isfinite gelu_tanh_slope".split())
DTYPES = "f64 f32 bf16 f16 i64 i32 i16 i8 u8 bool"
# Values cheap enough that bringing bf16 to f32 in a buffer and back would cost more than they do: the CPU computes them
# in registers. An EXACT one of bf16 is a bf16.
HALVES = set("add sub rsub mul div maximum minimum neg abs square sign floor ceil trunc round reciprocal sqrt rsqrt clamp "
             "clamp_min clamp_max lerp addcmul addcdiv frac copysign fmax fmin relu relu6 hardtanh hardsigmoid hardswish "
             "leaky_relu threshold softsign pow mse_terms l1_terms eq ne lt le gt ge isnan isinf isfinite signbit".split())
EXACT = set("neg abs sign floor ceil trunc round relu relu6 maximum minimum fmax fmin copysign".split())
# Integer values whose lower bits follow from the operands' lower bits (BITS), or that are the same in a narrower type
# that holds all operands: the CPU computes i32, and BITS of 8 and 16 bits, as they lie.
BITS = set("add sub rsub mul neg square addcmul bitwise_and bitwise_or bitwise_xor".split())
NARROW = BITS | set("abs sign relu maximum minimum clamp clamp_min clamp_max eq ne lt le gt ge".split())

# Those that see a whole number as the operands' dtype holds it: of u8, -1 is 255.
WRAPS = set("eq ne lt le gt ge remainder fmod floor_divide".split())


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
                  form_names=line.get("forms", ["in_place", "out"]),
                  alias=line.get("alias", "").split())
        op["special"] = line.get("special")
        check_names(path, op)
        if op["type"] == "integer" and op["grads"]:
            sys.exit(f"{path}: {name}: integers have no gradient")
        op["dtypes"] = DTYPES[DTYPES.index("i64"):] if op["type"] == "integer" else DTYPES
        op["gradient"] = [a for a, g in zip(args, op["grads"]) if g is not None]
        op["kernels"] = [name] + ([name + "_backward"] if op["grads"] else [])
        op["overloads"] = overloads(op)
        op["cpp"] = [s for n in [name] + op["alias"] for o in op["overloads"]
                     for s in called(op, n, o["declarations"])]
        op["pytorch"] = line.get("aten", [name]) + op["alias"]
        op["aten"] = op["pytorch"]
        also = f" Also called {', '.join(op['alias'])}." if op["alias"] else ""
        op["doc"] = f"{name}: {op['value']}. {line.get('doc', '')}".strip() + also
        operators.append(op)
    return operators


def check_names(path, op):
    """An expression reads operands, parameters and functions; a derivative g and out, too."""
    known = FUNCTIONS | set(op["args"]) | set(op["params"])
    for expression in [op["value"]] + [g for g in op["grads"] if g]:
        allowed = known if expression is op["value"] else known | {"g", "out"}
        if unknown := names_in(expression) - allowed:
            sys.exit(f"{path}: {op['name']}: '{expression}' reads {', '.join(sorted(unknown))}, "
                     f"which it does not know; functions are {' '.join(sorted(FUNCTIONS))}")


def called(op, name, declarations):
    """The declarations under another name."""
    return [re.sub(rf"\b{op['name']}(?=(_|_out)?\()", name, d) for d in declarations]


def overloads(op):
    """Which operands are tensors (T) or numbers (S), with the declarations of each form."""
    n, masks = len(op["args"]), len(op["masks"])
    kinds = {1: ["T"], 2: ["TT", "TS", "ST"], 3: ["TTT", "TTS", "TSS"]}[n]
    if op["name"] == "where":
        kinds = ["TTT", "TTS", "TST", "TSS"]
    if op["name"].startswith("clamp_"):
        kinds = ["TT", "TS"]
    params = [f"double {p} = {text_of(d)}" for p, d in op["params"].items()]
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


def text_of(number):
    """A number as C++ takes it."""
    number = float(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e9 else repr(number)


def names_in(text):
    return set(re.findall(r"[A-Za-z_]\w*", text))


def in_dialect(text):
    """The expression with its numbers as the dialect writes them (device_math.inc)."""
    return re.sub(r"(?<![\w.])(\d+(?:\.\d*)?(?:e[+-]?\d+)?)", r"WS_NUMBER(\1)", text)


def slots_of(op, backward):
    """What a row function can read, in order: inputs of the kernel, then parameters."""
    inputs = ["g"] + op["args"] + ["out"] if backward else op["args"]
    return inputs + list(op["params"])


def computes(op):
    """Types that the value is computed in: f32, f64 and, when integers stay integers, i64."""
    return [op["type"] != "integer", op["type"] != "integer", op["type"] != "float"]


def mask_of(op, text):
    """Bits of the backward kernel's slots that an expression reads."""
    used = names_in(text)
    return sum(1 << i for i, s in enumerate(slots_of(op, True)) if s in used)


def description(op):
    """The PointwiseOp of ops/pointwise_call.h."""
    grads = op["grads"] + [None] * (len(op["args"]) - len(op["grads"]))
    bits = lambda flags: sum(1 << i for i, flag in enumerate(flags) if flag)
    needs = ", ".join(str(mask_of(op, g)) if g else "0" for g in grads)
    defaults = ", ".join(text_of(d) for d in op["params"].values())
    kind = {"same": "same", "float": "floating", "bool": "truth", "integer": "integer"}[op["type"]]
    return (f"constinit PointwiseOp k_{op['name']}{{\n"
            f"    .name = \"{op['name']}\", .kernel = KernelRef(\"{op['name']}\"),\n"
            f"    .backward = KernelRef(\"{op['name']}_backward\"),\n"
            f"    .result = PointwiseResult::{kind}, .operands = {len(op['args'])},\n"
            f"    .params = {len(op['params'])},\n"
            f"    .wraps = {'true' if op['name'] in WRAPS else 'false'},\n"
            f"    .masks = {bits(a in op['masks'] for a in op['args'])},\n"
            f"    .gradients = {bits(g is not None for g in grads)},\n"
            f"    .passes = {bits(g == 'g' for g in grads)}, .needs = {{{needs}}},\n"
            f"    .defaults = {{{defaults}}}}};\n")


def forms(operators):
    text = ("// Generated from ops/schema/pointwise.yaml: every form of every operator.\n"
            "#include \"ops/pointwise.h\"\n\n#include \"ops/pointwise_call.h\"\n\n"
            "namespace wellspring {\nnamespace {\n\n")
    text += "".join(description(op) for op in operators)
    text += "\nconstinit const PointwiseOp* const kAll[] = {\n"
    text += "".join(f"    &k_{op['name']},\n" for op in operators)
    text += ("};\n\n}  // namespace\n\n"
             "std::span<const PointwiseOp* const> pointwise_operators() { return kAll; }\n\n")
    for op in operators:
        values = "{" + ", ".join(op["args"]) + "}, {" + ", ".join(op["params"]) + "}"
        calls = {"": f"pointwise(k_{op['name']}, {values})",
                 "_": f"pointwise_in_place(k_{op['name']}, {values})",
                 "_out": f"pointwise_out(k_{op['name']}, out, {values})"}
        for overload in op["overloads"]:
            for form, declared in zip(overload["forms"], overload["declarations"]):
                head = re.sub(r" = [^,)]+", "", declared)
                for name in [op["name"]] + op["alias"]:
                    text += f"{called(op, name, [head])[0]} {{\n  return {calls[form]};\n}}\n"
    return text + "\n}  // namespace wellspring\n"


def functor(name, arguments, expression, truth, exact):
    listed = ", ".join("V " + a for a in arguments)
    return (f"struct {name} {{\n  static constexpr bool kTruth = {truth}, kExact = {exact};\n"
            f"  template <class V>\n  static WS_INLINE auto apply({listed}) {{\n"
            f"    return {in_dialect(expression)};\n  }}\n}};\n")


def loops(op, name, expression, backward):
    """One result's row functions, with the functor before them: (definition, initialiser)."""
    slots, used = slots_of(op, backward), names_in(expression)
    places = [i for i, s in enumerate(slots) if s in used]
    types = [True, True, False] if backward else computes(op)
    listed = "".join(f", {i}" for i in places)
    rows = [f"row<{name}, {v}{listed}>" if t else "nullptr"
            for v, t in zip(["vf_native", "vd_native", "vl_native"], types)]
    if not backward:
        rows.append(f"halves_row<{name}{listed}>()" if op["name"] in HALVES else "nullptr")
        whole = op["type"] in ("same", "bool", "integer")
        rows += [f"row<{name}, {v}{listed}>" if whole and op["name"] in names else "nullptr"
                 for v, names in [("vi_native", NARROW), ("vs_native", BITS), ("vb_native", BITS)]]
    while rows[-1] == "nullptr":
        rows.pop()
    mask = sum(1 << i for i in places)
    truth = "true" if op["type"] == "bool" and not backward else "false"
    exact = "true" if op["name"] in EXACT and not backward else "false"
    return (functor(name, [slots[i] for i in places], expression, truth, exact),
            f"{{{mask}, {{{', '.join(rows)}}}}}")


def kernel(op, backward):
    name = op["name"] + ("_backward" if backward else "")
    if backward:
        parts = [loops(op, f"{name}_{a}", g, True) if g else ("", "{}")
                 for a, g in zip(op["args"], op["grads"])]
    else:
        parts = [loops(op, name + "_value", op["value"], False)]
    special = ""
    if op["special"] and not backward:
        number, value = op["special"]
        definition, rows = loops(op, name + "_special", value, False)
        parts[0] = (parts[0][0] + definition, parts[0][1])
        special = f", {number}, {rows}"
    truth = "true" if op["type"] == "bool" and not backward else "false"
    inputs = len(slots_of(op, backward)) - len(op["params"])
    return ("".join(d for d, _ in parts) +
            f"constexpr Pointwise k_{name}{{\"{name}\", {inputs}, {len(op['params'])}, "
            f"{len(parts)}, {truth},\n    {{" +
            ",\n     ".join(r for _, r in parts) + f"}}{special}}};\n"
            f"void run_{name}(const Call& call) {{ run_pointwise(call, k_{name}); }}\n"
            f"WS_KERNEL(\"{name}\", run_{name})\n\n")


def kernels(operators):
    text = ("// Generated from ops/schema/pointwise.yaml: kernels of some of the operators.\n"
            "#include \"chips/cpu/kernels/pointwise.h\"\n\nWS_KERNELS_BEGIN\n\n"
            "#define WS_FN WS_INLINE\n#define WS_NUMBER(c) number<WS_REAL>(c)\n")
    for real in ("vf_native", "vd_native"):
        text += (f"#define WS_REAL {real}\n#include \"ops/device_math.inc\"\n"
                 "#include \"ops/special_math.inc\"\n#undef WS_REAL\n")
    text += "#define WS_REAL V\n\n"
    for op in operators:
        text += kernel(op, False) + (kernel(op, True) if op["grads"] else "")
    return text + "WS_KERNELS_END\n"


def reference(operators):
    """The slow kernels, in plain f64 with the C library's functions."""
    text = ("// Generated from ops/schema/pointwise.yaml: the slow reference.\n"
            "#include \"ops/reference/pointwise.h\"\n\n"
            "namespace wellspring::reference {\nnamespace {\n\n")
    for op in operators:
        for backward in [False, True] if op["grads"] else [False]:
            name = op["name"] + ("_backward" if backward else "")
            slots = slots_of(op, backward)
            functions = []
            for expression in op["grads"] if backward else [op["value"]]:
                if expression is None:
                    functions.append("nullptr")
                    continue
                names = names_in(expression)
                kind = "int64_t" if op["type"] == "integer" else "double"
                cast = "static_cast<int64_t>" if op["type"] == "integer" else ""
                given = "".join(f"const {kind} {s} = {cast}(a[{i}]); "
                                for i, s in enumerate(slots) if s in names)
                functions.append(
                    f"[](const double* a) -> double {{ {given}return {expression}; }}")
            text += (f"void run_{name}(const Call& call) {{\n"
                     f"  run_pointwise(call, {len(slots) - len(op['params'])}, {len(op['params'])},\n"
                     "                {" + ",\n                 ".join(functions) + "});\n}\n"
                     f"WS_REFERENCE(\"{name}\", run_{name});\n")
    return text + "\n}  // namespace\n}  // namespace wellspring::reference\n"


def device_functions(op, backward):
    """The device functions of a kernel, one for each result: (name, used slots, text) or None."""
    name = op["name"] + ("_backward" if backward else "")
    slots = slots_of(op, backward)
    tensors = len(slots) - len(op["params"])
    result = []
    for k, expression in enumerate(op["grads"] if backward else [op["value"]]):
        if expression is None:
            result.append(None)
            continue
        used = [i for i, s in enumerate(slots) if s in names_in(expression)]
        arguments = ["WS_ARG(r)"] + [f"WS_ARG(a{i})" for i in used if i < tensors]
        text = f"WS_KERNEL ws_{name}_{k}(" + ", ".join(arguments) + (
            ", WsSpace ws_space, WsNumbers ws_numbers) {\n  WS_ELEMENT_INDEX;\n")
        for i in used:
            value = f"WS_IN({i}, a{i})" if i < tensors else f"ws_numbers.v[{i}]"
            text += f"  const WS_REAL {slots[i]} = {value};\n"
        store = "WS_TRUTH" if op["type"] == "bool" and not backward else "WS_RESULT"
        text += f"  {store}({in_dialect(expression)});\n}}\n"
        result.append((f"ws_{name}_{k}", sum(1 << i for i in used), text))
    return result


def on_device(op):
    """Whether device source can compute the operator."""
    used = set().union(*(names_in(e) for e in [op["value"]] + op["grads"] if e))
    return op["type"] != "integer" and not (used & FUNCTIONS) - DEVICE_FUNCTIONS


def device(operators):
    """Units of device source by name, and the table of their kernels (chips/device/pointwise.h)."""
    operators = [op for op in operators if on_device(op)]
    units = {}
    table = ("// Generated from ops/schema/pointwise.yaml: the kernels of device chips.\n"
             "#include \"chips/device/pointwise.h\"\n\n"
             "namespace wellspring::device {\nnamespace {\n\n")
    for part in range(DEVICE_PARTS):
        unit = f"pointwise_{part}"
        text = "// Generated from ops/schema/pointwise.yaml.\n"
        for op in operators[part::DEVICE_PARTS]:
            for backward in [False, True] if op["grads"] else [False]:
                name = op["name"] + ("_backward" if backward else "")
                functions = device_functions(op, backward)
                integers = not backward and computes(op)[2]
                body = "".join(f[2] for f in functions if f)
                text += body if integers else f"#if WS_KIND != 2\n{body}#endif\n"
                inputs = len(slots_of(op, backward)) - len(op["params"])
                listed = ", ".join(f'{{"{f[0]}", {f[1]}}}' if f else "{}" for f in functions)
                table += (f"constexpr Pointwise k_{name}{{\"{name}\", \"{unit}\", {inputs}, "
                          f"{len(op['params'])}, {len(functions)}, {str(integers).lower()},\n"
                          f"    {{{listed}}}}};\n"
                          f"void run_{name}(const Call& call) {{ run_pointwise(call, k_{name}); }}\n"
                          f"bool takes_{name}(const Call& call) {{\n"
                          f"  return takes_pointwise(call, k_{name});\n}}\n"
                          f"WS_DEVICE_KERNEL(\"{name}\", run_{name}, takes_{name});\n")
        units[unit] = text
    return units, table + "\n}  // namespace\n}  // namespace wellspring::device\n"
