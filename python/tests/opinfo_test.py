#!/usr/bin/python3
"""PyTorch's own samples of its operators (OpInfo) with our kernels enabled: results, gradients, out=, in place, strided
inputs, and the gradient in f64 against differences (gradcheck).

    opinfo_test.py [--all] [NAME...]     all samples of every operator; default: one each of those whose name is ours

An operator takes part when one of our kernels answers a call of it. EXCEPTIONS says which do not, and why.
"""
import contextlib
import itertools
import os
import sys
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("torch", "numpy", "expecttest")
import torch
from torch.testing._internal.common_methods_invocations import op_db

import wellspring.torch as wt

ALL = "--all" in sys.argv
NAMES = [a for a in sys.argv[1:] if not a.startswith("-") and not os.path.isdir(a)]
SAMPLES = 10**6 if ALL or NAMES else 1  # of an operator and dtype
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.float16, torch.complex64, torch.bool,
          torch.int32, torch.uint8)
# OpInfo's name: why its samples are not compared.
EXCEPTIONS = {
    "empty_like": "its values are undefined", "empty": "its values are undefined",
    "new_empty": "its values are undefined", "empty_strided": "its values are undefined",
    "new_empty_strided": "its values are undefined", "empty_permuted": "its values are undefined",
    "linalg.lstsq": "a singular vector's sign is free", "svd": "a singular vector's sign is free",
    "linalg.svd": "a singular vector's sign is free", "linalg.eigh": "an eigenvector's sign is free",
    "linalg.eig": "an eigenvector's scale is free", "pca_lowrank": "random", "svd_lowrank": "random",
    "to_sparse": "its result is sparse", "sparse.sampled_addmm": "its result is sparse", "sparse.mm": "its operands are sparse",
    "ops.aten._safe_softmax.default": "no derivative to compare",
    "as_strided": "strided samples read between the elements", "as_strided_copy": "strided samples read between the elements",
    "as_strided_scatter": "strided samples read between the elements",
    "nn.functional.normalize": "along one element its gradient is rounding alone",
    "cov": "of two observations the gradient of their weights is rounding alone",
    "nn.functional.dropout": "random", "nn.functional.dropout2d": "random", "nn.functional.dropout3d": "random",
    "nn.functional.alpha_dropout": "random", "nn.functional.feature_alpha_dropout": "random",
    "nn.functional.rrelu": "random", "nn.functional.fractional_max_pool2d": "random",
    "nn.functional.fractional_max_pool3d": "random", "nn.functional.gumbel_softmax": "random",
}
# Operators that magnify rounding so many times.
MAGNIFY = {"linalg.householder_product": 20}
# Operators that choose among elements, and how many of their results do not depend on which of equal ones comes first
# (samples of bf16 and of whole numbers have such).
TIES = {"sort": 1, "msort": 1, "topk": 1, "kthvalue": 1, "argsort": 0}
# Names that only OpInfo uses for what we answer under others.
ALSO = {"matmul", "einsum", "nn.functional.linear", "nn.functional.cross_entropy", "nn.functional.layer_norm", "nn.functional.rms_norm",
        "nn.functional.scaled_dot_product_attention", "nn.functional.prelu", "nn.functional.interpolate",
        "nn.functional.pad", "fft.rfft", "fft.irfft", "fft.fft", "fft.ifft", "stft", "clone", "contiguous", "to", "norm"}


def dtypes_of(info):
    """All that it takes; in a quick run f32, f64 and one of the others, each the turn of some operators."""
    taken = [t for t in DTYPES if t in info.dtypes]
    if ALL or NAMES:
        return taken
    others = [t for t in taken if t not in (torch.float32, torch.float64)]
    turn = sum(info.name.encode()) % max(1, len(others))
    return [t for t in taken if t not in others] + others[turn:turn + 1]


LEFT = {}  # dtype: operators of our names whose samples PyTorch's own kernels answered


def names_of(info):
    return {info.name.split(".")[-1], getattr(info, "aten_name", None) or info.name}


def is_ours(info):
    """Whether one of our kernels stands on an operator of that name."""
    return info.name in ALSO or bool(names_of(info) & OURS)


OURS = {spelled for name in wt.operators() for spelled in wt._spellings(name)}
TOLERANCES = {torch.float32: (2e-4, 2e-5), torch.bfloat16: (4e-2, 4e-2), torch.float64: (1e-7, 1e-9),
              torch.float16: (5e-3, 5e-3), torch.complex64: (2e-4, 2e-5)}


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors_in(v)]
    return [t for v in value.values() for t in tensors_in(v)] if isinstance(value, dict) else []


def copied(value):
    """A sample's argument with tensors of its own."""
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            fresh = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(value) \
                if value.layout == torch.strided and value.device.type == "cpu" and not value.is_conj() \
                and all(s > 0 or n <= 1 for s, n in zip(value.stride(), value.shape)) else value.detach().clone()
        return fresh.requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        made = [copied(v) for v in value]
        return type(value)(made) if not hasattr(value, "_fields") else type(value)(*made)
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def attempt(op, sample, with_gradient):
    """(results and gradients, None) or (None, what was raised)."""
    x, args, kwargs = copied(sample.input), copied(sample.args), copied(sample.kwargs)
    leaves = [t for t in tensors_in([x, args, kwargs]) if t.requires_grad]
    torch.manual_seed(7)
    try:
        result = op(x, *args, **kwargs)
    except Exception as e:  # noqa: BLE001: both sides raise the same
        return None, type(e)
    results = [t for t in tensors_in(sample.output_process_fn_grad(result) if sample.output_process_fn_grad else result)]
    found = [t.detach() for t in results]
    chosen = [r for r in results if r.requires_grad and r.is_floating_point()]
    if with_gradient and chosen and leaves:
        torch.manual_seed(8)
        try:
            grads = torch.autograd.grad(chosen, leaves, [torch.randn(r.shape).to(r.dtype) for r in chosen], allow_unused=True)
        except Exception as e:  # noqa: BLE001
            return found, type(e)
        found += [g for g in grads if g is not None]
    return found, None


@contextlib.contextmanager
def ours_on():
    """Installed all the time, and passed by outside of this scope: installing takes longer than most samples."""
    wt._inside.set_bypass(False)
    try:
        yield
    finally:
        wt._inside.set_bypass(True)


def both(function):
    with ours_on():
        ours = function()
    return ours, function()


class OpInfo(unittest.TestCase):
    def compare(self, what, ours, theirs, dtype):
        self.assertEqual(ours[1], theirs[1], what)
        self.assertEqual(ours[0] is None, theirs[0] is None, what)
        if ours[0] is None:
            return
        self.assertEqual(len(ours[0]), len(theirs[0]), what)
        for a, b in zip(ours[0], theirs[0]):
            self.assertEqual((a.dtype, a.shape), (b.dtype, b.shape), what)
            rtol, atol = max(TOLERANCES.get(dtype, (0, 0)), TOLERANCES.get(a.dtype, (0, 0)))
            rtol, atol = rtol * MAGNIFY.get(what.split()[0], 1), atol * MAGNIFY.get(what.split()[0], 1)
            if a.layout == torch.strided and a.numel():
                self.assertEqual(a.stride(), b.stride(), what)
            if torch.bfloat16 in (dtype, a.dtype) and b.is_floating_point() and b.numel():  # what is near 0 is a difference of greater ones
                atol *= max(1.0, b.nan_to_num(0, 0, 0).abs().max().item() / 4)
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True, msg=lambda m: f"{what}: {m}")

    def check_out(self, what, op, sample, dtype):
        def run():
            x, args, kwargs = copied(sample.input), copied(sample.args), copied(sample.kwargs)
            with torch.no_grad():
                out = torch.full_like(op(x, *args, **kwargs), 3)
                returned = op(x, *args, **kwargs, out=out)
            self.assertIs(returned, out)
            return [out], None
        try:
            theirs = run()
        except Exception:  # noqa: BLE001: it has no such form
            return
        with ours_on():
            ours = run()
        self.compare(what + " out=", ours, theirs, dtype)

    def check_in_place(self, what, op, sample, dtype):
        def run():
            x, args, kwargs = copied(sample.input), copied(sample.args), copied(sample.kwargs)
            torch.manual_seed(7)
            with torch.no_grad():
                changed = x.detach().clone()
                returned = op(changed, *args, **kwargs)
            self.assertIs(returned, changed)
            return [changed], None
        try:
            theirs = run()
        except Exception:  # noqa: BLE001: what it gives does not fit in place
            return
        with ours_on():
            ours = run()
        self.compare(what + " in place", ours, theirs, dtype)

    def check_gradient(self, what, info, sample):
        """Ours against differences, where PyTorch's passes."""
        leaves = [t for t in tensors_in([sample.input, sample.args, sample.kwargs]) if t.requires_grad]
        if not leaves or sum(t.numel() for t in leaves) > 64:
            return

        def function(*given):
            places = iter(given)

            def replaced(value):
                if isinstance(value, torch.Tensor):
                    return next(places) if value.requires_grad else value
                if isinstance(value, (list, tuple)):
                    return type(value)(replaced(v) for v in value) if not hasattr(value, "_fields") else value
                return {k: replaced(v) for k, v in value.items()} if isinstance(value, dict) else value
            result = info.op(replaced(sample.input), *replaced(sample.args), **replaced(sample.kwargs))
            if sample.output_process_fn_grad:
                result = sample.output_process_fn_grad(result)
            return tuple(t for t in tensors_in(result) if t.requires_grad)

        def passes():
            torch.manual_seed(7)
            return torch.autograd.gradcheck(function, [t.detach().clone().requires_grad_() for t in leaves], fast_mode=True,
                                            raise_exception=False, nondet_tol=info.gradcheck_nondet_tol)
        try:
            theirs = passes()
        except Exception:  # noqa: BLE001: not for this sample
            return
        if theirs:
            with ours_on():
                self.assertTrue(passes(), what + " gradcheck")

    def check(self, info):
        reached = False
        for dtype in dtypes_of(info):
            gradient = info.supports_autograd and dtype in info.dtypesBackward if hasattr(info, "dtypesBackward") else info.supports_autograd
            try:
                samples = list(itertools.islice(
                    info.sample_inputs("cpu", dtype, requires_grad=gradient and (dtype.is_floating_point or dtype.is_complex)), SAMPLES))
            except Exception as e:  # noqa: BLE001: some cannot be made of a dtype
                if dtype in (torch.float32, torch.float64):
                    raise
                print(f"note: {info.name}: no samples of {dtype}: {e}", file=sys.stderr)
                continue
            ours_here = itself = False
            for i, sample in enumerate(samples):
                wt.reset()
                with ours_on():
                    ours = attempt(info.op, sample, gradient)
                answered = [name for name, c in wt.counts().items() if c["ours"]]
                ours_here |= bool(answered)
                itself |= any(names_of(info) & wt._spellings(name) for name in answered)
                what = f"{info.name} {info.variant_test_name} {dtype} sample {i}"
                theirs = attempt(info.op, sample, gradient)
                tied = info.name in TIES
                if tied and dtype not in (torch.float32, torch.float64):
                    ours, theirs = [((found or [])[:TIES[info.name]], error) for found, error in (ours, theirs)]
                self.compare(what, ours, theirs, dtype)
                if tied or not ours_here:
                    continue
                strided = sample.noncontiguous() if isinstance(sample.input, (torch.Tensor, list, tuple)) else None
                if strided is not None:
                    self.compare(what + " strided", *both(lambda: attempt(info.op, strided, gradient)), dtype)
                if info.supports_out and isinstance(sample.input, torch.Tensor):
                    self.check_out(what, info.op, sample, dtype)
                if info.inplace_variant and isinstance(sample.input, torch.Tensor):
                    self.check_in_place(what, info.inplace_variant, sample, dtype)
                if gradient and dtype == torch.float64:
                    self.check_gradient(what, info, sample)
            reached |= ours_here
            if samples and not itself and is_ours(info) and info.name not in ALSO:
                LEFT.setdefault(str(dtype).removeprefix("torch."), []).append(info.name)
        return reached


def add(info):
    def test(self):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not self.check(info):
                self.skipTest("no kernel of ours is reached")
    name = (info.name + ("_" + info.variant_test_name if info.variant_test_name else "")).replace(".", "_")
    setattr(OpInfo, f"test_{name}", test)


for entry in op_db:
    if entry.name in EXCEPTIONS:
        continue
    if (NAMES and entry.name in NAMES) or (not NAMES and (ALL or is_ours(entry))):
        add(entry)


def tearDownModule():
    for dtype, names in LEFT.items() if ALL else ():  # one sample each says little
        print(f"note: of {dtype} PyTorch's kernels answered {' '.join(names)}", file=sys.stderr)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    wt.enable()
    wt._inside.set_bypass(True)
    peers.main()
