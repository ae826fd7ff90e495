"""Wellspring's kernels inside PyTorch: a model that is not changed runs the same, and faster.

    import wellspring.torch as wt
    wt.enable()                                    # all operators
    with wt.use(include=["mm", "addmm"]): ...      # these alone, inside the block
    with wt.use(exclude=["softmax"]): ...          # what is on, without these
    wt.report()                                    # which operator, how often by whom
    wt.disable()                                   # PyTorch as it was

Which kernels run can also be said from outside: WELLSPRING_HITS, WELLSPRING_SHADOW and WELLSPRING_KERNELS work as for
every program, and `wellspring ops bisect -- python script.py` finds the one to blame. A kernel that is off there leaves
the call to PyTorch.

A kernel is put on the operators that PyTorch dispatches on the CPU. What it does not take (another dtype, a
layout, a mask) goes to PyTorch's own kernel, which stays underneath; report() counts both. Switches hold for
the whole process, and for its children: forked ones have them, and a new Python that imports this module takes
them from the environment (WELLSPRING_TORCH). Random operators stay PyTorch's unless random=True.
"""

import difflib
import fnmatch
import functools
import json
import os
import sys

import torch

from . import _core
from .bridge import build

VARIABLE = "WELLSPRING_TORCH"
_inside = _core._torch
_state = None  # the settings that hold, or None


def _load():
    found = build.find_torch()
    version = torch.__version__.split("+")[0]
    _inside.load(build.bridge_for(version, found[1] if found else os.path.dirname(torch.__file__)))


_load()
_RANDOM = dict(_inside.names())  # every operator: whether it draws random numbers


# Names that PyTorch's users write, of operators that PyTorch composes of others before it dispatches.
ALIASES = {
    "matmul": "mm addmm bmm baddbmm mv addmv dot",
    "linear": "mm addmm bmm baddbmm mv addmv",
    "einsum": "mm addmm bmm baddbmm mv addmv dot sum",
    "scaled_dot_product_attention": "_scaled_dot_product_flash_attention_for_cpu*",
    "dropout": "native_dropout bernoulli",
    "max_pool1d": "max_pool2d_with_indices", "max_pool2d": "max_pool2d_with_indices",
    "conv1d": "convolution", "conv2d": "convolution", "conv3d": "convolution",
    "cross_entropy": "log_softmax nll_loss_forward nll_loss_backward cross_entropy*",
    "interpolate": "upsample_*",
    "adaptive_avg_pool1d": "_adaptive_avg_pool2d*", "adaptive_avg_pool2d": "_adaptive_avg_pool2d*",
    "clip": "clamp", "log_softmax": "_log_softmax*", "embedding": "embedding* index_select",
}


def _spellings(name):
    """Names under which a user may mean "aten::_softmax_backward_data" or "aten::add_.Tensor"."""
    plain = name.removeprefix("aten::")
    base = plain.split(".")[0]
    bare = base.strip("_")
    family = bare.removesuffix("_data").removesuffix("_backward").removesuffix("_dense").removesuffix("_forward")
    return {name, plain, base, bare, family, family.removeprefix("native_")}


def operators():
    """The operators that Wellspring answers inside PyTorch, by their full names."""
    return sorted(_RANDOM)


def _select(include, exclude, random):
    """Full names of what the lists mean. A name covers all its overloads, forms in place and derivatives."""
    spelled = {name: _spellings(name) for name in _RANDOM}

    def matching(name):
        patterns = ALIASES.get(name.removeprefix("aten::"), "").split() + [name, name.removeprefix("aten::")]
        found = {n for n, s in spelled.items() if any(fnmatch.fnmatchcase(x, p) for x in s for p in patterns)}
        if not found:
            near = difflib.get_close_matches(name, {x for s in spelled.values() for x in s}.union(ALIASES), 1, 0.8)
            raise ValueError(f"no operator '{name}'" + (f"; did you mean '{near[0]}'?" if near else
                                                         "; wellspring.torch.operators() lists them"))
        return found

    wanted = set(_RANDOM) if include is None else set().union(*map(matching, include))
    wanted = wanted.difference(*map(matching, exclude or ()))
    return {n for n in wanted if random or not _RANDOM[n]}


def _apply(settings):
    """Installs exactly what the settings name, and tells child processes."""
    global _state
    wanted = _select(settings["include"], settings["exclude"], settings["random"]) if settings else set()
    _inside.remove([name for name in _RANDOM if name not in wanted])
    _inside.install(sorted(wanted))
    _follow_seeds(bool(settings and settings["random"]))
    _inside.keep_memory(bool(settings and settings["keep_memory"]))
    _state = settings
    if settings:
        os.environ[VARIABLE] = json.dumps(settings)
    else:
        os.environ.pop(VARIABLE, None)


_manual_seed = torch.manual_seed


@functools.wraps(_manual_seed)
def _seed_both(seed):
    _core.manual_seed(int(seed) % 2**64)
    return _manual_seed(seed)


def _follow_seeds(on):
    """While random operators are ours, torch.manual_seed() seeds their generator, too."""
    if on and torch.manual_seed is not _seed_both:
        _core.manual_seed(torch.initial_seed() % 2**64)
        torch.manual_seed = torch.random.manual_seed = _seed_both
    elif not on and torch.manual_seed is _seed_both:
        torch.manual_seed = torch.random.manual_seed = _manual_seed


def enable(include=None, exclude=(), *, random=False, keep_memory=True):
    """Turns kernels on: of all operators, or of `include`, without `exclude`; names or patterns ("add*").

    random: random operators, too; they draw from Wellspring's generator, which torch.manual_seed() seeds from now on,
    so the numbers are others than PyTorch's, but as reproducible. keep_memory: the C library
    keeps freed memory for the next tensor instead of giving it back, which makes large tensors much cheaper."""
    for names in (include, exclude):
        if isinstance(names, str):
            raise TypeError(f"a list of names is wanted, not the text '{names}'")
    _apply({"include": None if include is None else list(include), "exclude": list(exclude or ()),
            "random": bool(random), "keep_memory": bool(keep_memory)})


def disable():
    """PyTorch as it was before."""
    _apply(None)


class use:
    """A scope: `with wt.use(include=[...], exclude=[...]):`. On leaving it, what held before holds again.

    With `include`, these operators alone, without `exclude`; else what is on (all, if nothing is), without `exclude`.
    random and keep_memory stay as they are unless given."""

    def __init__(self, include=None, exclude=(), *, random=None, keep_memory=None):
        self._arguments = (include, exclude, random, keep_memory)

    def __enter__(self):
        self._before = before = _state
        include, exclude, random, keep_memory = self._arguments
        if before and include is None and not isinstance(exclude, str):
            include, exclude = before["include"], [*before["exclude"], *(exclude or ())]
        inherited = lambda given, key, otherwise: given if given is not None else before[key] if before else otherwise
        enable(include, exclude, random=inherited(random, "random", False),
               keep_memory=inherited(keep_memory, "keep_memory", True))
        return self

    def __exit__(self, *_):
        _apply(self._before)


def is_enabled():
    """Whether any kernel of ours is on."""
    return _state is not None


def counts():
    """{operator: {"ours": calls, "pytorch": calls, "seconds": in ours, "pytorch_seconds": in PyTorch's}} since the
    start or reset(), also of those that are off by now; seconds while timing() is on. "aten::mm SparseCPU": calls of tensors that are none of ours."""
    return {name: {"ours": ours, "pytorch": theirs, "seconds": seconds, "pytorch_seconds": theirs_seconds}
            for name, ours, theirs, seconds, theirs_seconds in _inside.counters()}


def shapes():
    """{operator: {shapes: {"ours": calls, "pytorch": calls, "seconds": in ours}}} of calls while timing() was on."""
    found = {}
    for name, text, ours, theirs, seconds in _inside.shapes():
        found.setdefault(name, {})[text] = {"ours": ours, "pytorch": theirs, "seconds": seconds}
    return found


def reset():
    """Counts from zero again."""
    _inside.reset()


def timing(on=True):
    """Whether the seconds inside kernels, and the shapes of calls, are noted (about a microsecond a call)."""
    _inside.set_timing(bool(on))


def _compiled_loops():
    """How many loops torch.compile made in this process, which stay its own; None when it was not used."""
    metrics = sys.modules.get("torch._inductor.metrics")
    return getattr(metrics, "generated_kernel_count", None)


class Report(str):
    """The table as a text. In a notebook it is empty, for report() has printed it."""

    def __repr__(self):
        return ""


def report(as_json=False, most_shapes=4):
    """What ran since the start: a table (returned, and printed unless as_json) of the operators that were called,
    with their most expensive shapes where timing() was on."""
    rows, by_shape, loops = {n: c for n, c in counts().items() if c["ours"] or c["pytorch"]}, shapes(), _compiled_loops()
    if as_json:
        return json.dumps({"enabled": is_enabled(), "settings": _state, "operators": rows, "shapes": by_shape,
                           "compiled_loops": loops,
                           "kernels": [dict(zip(("kernel", "chip", "ran", "calls"), r)) for r in _core.kernel_hits()]})
    lines = [f"{'operator':56} {'wellspring':>10} {'pytorch':>10} {'seconds':>9} {'(pytorch)':>9}"]
    for name, c in sorted(rows.items(), key=lambda r: -(r[1]["ours"] + r[1]["pytorch"])):
        lines.append(f"{name:56} {c['ours']:>10} {c['pytorch']:>10} {c['seconds']:>9.3f} {c['pytorch_seconds']:>9.3f}")
        seen = sorted(by_shape.get(name, {}).items(), key=lambda s: (-s[1]["seconds"], -s[1]["pytorch"]))
        for text, s in seen[:most_shapes]:
            lines.append(f"    {text[:52]:52} {s['ours']:>10} {s['pytorch']:>10} {s['seconds']:>9.3f}")
        if len(seen) > most_shapes:
            lines.append(f"    and {len(seen) - most_shapes} other shapes")
    if not rows:
        lines = ["no operator of ours was called"]
    if loops:
        lines.append(f"torch.compile made {loops} loops, which stay its own; its external calls are counted above")
    if _state and _state["exclude"]:
        lines.append(f"excluded: {', '.join(_state['exclude'])}")
    text = "\n".join(lines)
    print(text)
    return Report(text)


if os.environ.get(VARIABLE):
    _apply(json.loads(os.environ[VARIABLE]))
