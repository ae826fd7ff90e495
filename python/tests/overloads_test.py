#!/usr/bin/python3
"""Every overload that PyTorch gives the published names, called in our API with the arguments of its schema: values,
dtype and shape as PyTorch's, in place too, and with out= (right, empty and wrong shape).

    overloads_test.py [NAME...]
"""
import os
import sys
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("torch", "numpy")
import torch

import wellspring as ws

# The 133 published names, without those whose schema PyTorch does not have (the fused ones, `or`).
NAMES = """addmm bmm mm abs add div dropout native_dropout exp gelu mul pow reciprocal relu rsqrt rsub silu sub triu cumsum
    layer_norm native_layer_norm mean softmax mv outer bitwise_and bitwise_not bitwise_or clamp cos sin tanh sigmoid neg eq ne
    ge gt le lt isinf isnan all any amax argmax max min prod sum var_mean linalg_vector_norm cross_entropy_loss group_norm
    native_group_norm log_softmax conv1d conv2d convolution _convolution _conv_depthwise2d cudnn_convolution multinomial
    nonzero normal rand rand_like randn topk uniform_ scaled_dot_product_attention _scaled_dot_product_efficient_attention
    _efficient_attention_forward embedding nll_loss nll_loss_forward nll_loss_nd upsample_nearest2d _fft_c2r _fft_r2c
    fft_irfft fft_rfft conj_physical erf resolve_conj resolve_neg arange cat chunk concat constant_pad_nd contiguous copy_
    fill flip full full_like gather hstack index_put_ index_select masked_fill narrow ones pad permute repeat
    repeat_interleave resize scatter select select_scatter slice slice_scatter sort split split_with_sizes stack tile
    transpose unfold where zeros rms_norm""".split()
OURS = {"linalg_vector_norm": "vector_norm"}  # under another name
# Overloads that are not called, and why.
EXCEPTIONS = {
    "mm.dtype": "PyTorch has it on CUDA only", "mm.dtype_out": "PyTorch has it on CUDA only",
    "bmm.dtype": "PyTorch has it on CUDA only", "bmm.dtype_out": "PyTorch has it on CUDA only",
    "addmm.dtype": "PyTorch has it on CUDA only", "addmm.dtype_out": "PyTorch has it on CUDA only",
    "cudnn_convolution.default": "no CPU kernel there: named_test.cpp", "cudnn_convolution.out": "no CPU kernel there",
    "_conv_depthwise2d.default": "no CPU kernel there: named_test.cpp", "_conv_depthwise2d.out": "no CPU kernel there",
    "_efficient_attention_forward.default": "no CPU kernel there: attention_test.cpp",
    "_scaled_dot_product_efficient_attention.default": "no CPU kernel there: attention_test.cpp",
    "_convolution.deprecated": "TorchScript's old files", "index_put_.hacked_twin": "TorchScript's",
    "var_mean.default": "unbiased is correction 0 or 1", "var_mean.dim": "unbiased is correction 0 or 1",
    "resize.default": "what grows is not initialised", "resize.out": "what grows is not initialised",
    "normal.out": "normal_() of out",
}
RANDOM = {"dropout_", "normal_", "native_dropout", "multinomial", "normal", "rand", "rand_like", "randn", "uniform_", "dropout"}


def real(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + 1), dtype=torch.float64).to(dtype)


def whole(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


X, POSITIVE, BITS, MASK = real(3, 4), real(3, 4).abs() + 0.5, whole(1, 6, 3), real(3, 4) > 0
PLACES = torch.tensor([[0, 2, 1, 0], [2, 1, 0, 0]])
# Arguments by the names of PyTorch's schema: what a name's overloads do not find here comes from COMMON, else it keeps its
# default.
COMMON = {"self": X, "other": POSITIVE, "input": X, "exponent": 2 * POSITIVE, "dim": 1, "value": 2.5, "mask": MASK,
          "alpha": 3, "beta": 0.5, "keepdim": True, "dtype": None, "size": [3, 4], "fill_value": 3,
          "stable": True, "reduce": "add", "diagonal": 1, "eps": 1e-5, "bias": real(6), "stride": [1], "padding": [1],
          "dilation": [1], "groups": 1, "transposed": False, "output_padding": [0], "benchmark": False,
          "deterministic": True, "allow_tf32": False}
OF = {
    "addmm": {"self": real(5), "mat1": X, "mat2": real(4, 5)}, "mm": {"mat2": real(4, 5)},
    "addmm_": {"self": real(3, 5)}, "bmm": {"self": real(2, 3, 4), "mat2": real(2, 4, 5)},
    "dropout": {"p": 0.5, "train": True}, "native_dropout": {"p": 0.5, "train": True}, "mv": {"vec": real(4)},
    "outer": {"self": real(3), "vec2": real(4)}, "pow": {"self": POSITIVE}, "rsqrt": {"self": POSITIVE},
    "bitwise_and": {"self": BITS, "other": whole(5, 3, 1)}, "bitwise_or": {"self": BITS, "other": whole(5, 3, 1)},
    "bitwise_not": {"self": BITS}, "clamp": {"min": -0.5, "max": 0.4},
    "clamp.Tensor": {"min": -POSITIVE, "max": real(4)}, "clamp.Tensor_out": {"min": -POSITIVE, "max": real(4)},
    "layer_norm": {"normalized_shape": [4], "weight": real(4), "bias": real(4)}, "rms_norm": {"normalized_shape": [4], "weight": real(4)},
    "native_layer_norm": {"normalized_shape": [4], "weight": real(4), "bias": real(4)},
    "mean": {"dtype": torch.float64}, "softmax": {"dtype": torch.float64}, "log_softmax": {"dtype": torch.float64},
    "sum": {"dtype": torch.float64}, "prod": {"dtype": torch.float64}, "cumsum": {"dtype": torch.float64},
    "linalg_vector_norm": {"ord": 3}, "var_mean": {"correction": 0},
    "cross_entropy_loss": {"target": whole(0, 3, 1), "weight": POSITIVE[0], "reduction": 2, "label_smoothing": 0.1},
    "nll_loss": {"target": whole(0, 3, 1), "weight": POSITIVE[0], "reduction": 2, "ignore_index": 3},
    "nll_loss_nd": {"target": whole(0, 3, 1), "weight": POSITIVE[0], "reduction": 0},
    "nll_loss_forward": {"target": whole(0, 3, 1), "weight": POSITIVE[0], "reduction": 1, "ignore_index": -100},
    "group_norm": {"input": real(2, 6, 5), "num_groups": 3, "weight": real(6), "bias": real(6)},
    "native_group_norm": {"input": real(2, 6, 5), "weight": real(6), "bias": real(6), "N": 2, "C": 6, "HxW": 5, "group": 3},
    "conv1d": {"input": real(2, 4, 9), "weight": real(6, 4, 3)}, "conv2d": {"input": real(2, 4, 9, 8), "weight": real(6, 4, 3, 3)},
    "conv1d.padding": {"padding": "same"}, "conv2d.padding": {"padding": "same"},
    "convolution": {"input": real(2, 4, 9), "weight": real(6, 4, 3)}, "_convolution": {"input": real(2, 4, 9), "weight": real(6, 4, 3), "cudnn_enabled": False},
    "multinomial": {"self": POSITIVE, "num_samples": 2, "replacement": True},
    "normal": {"mean": 0.5, "std": 2.0, "self": X}, "normal.Tensor_float": {"mean": X}, "normal.Tensor_float_out": {"mean": X},
    "normal.float_Tensor": {"std": POSITIVE}, "normal.float_Tensor_out": {"std": POSITIVE},
    "normal.Tensor_Tensor": {"mean": X, "std": POSITIVE}, "normal.Tensor_Tensor_out": {"mean": X, "std": POSITIVE},
    "topk": {"k": 2}, "uniform_": {"from": -1, "to": 1}, "scaled_dot_product_attention": {"query": real(2, 3, 5, 8), "key": real(2, 3, 7, 8), "value": real(2, 3, 7, 8)},
    "embedding": {"weight": real(5, 4), "indices": PLACES, "padding_idx": 2},
    "upsample_nearest2d": {"self": real(2, 3, 4, 5), "input": real(2, 3, 4, 5), "output_size": [8, 7], "scale_factors": None},
    "_fft_r2c": {"self": X, "dim": [0, 1], "normalization": 1, "onesided": True},
    "_fft_c2r": {"self": torch.complex(real(3, 4), real(3, 4)), "dim": [0, 1], "normalization": 2, "last_dim_size": 6},
    "fft_rfft": {"n": 5, "norm": "ortho"}, "fft_irfft": {"self": torch.complex(real(3, 4), real(3, 4)), "n": 5, "norm": "forward"},
    "conj_physical": {"self": torch.complex(real(3, 4), real(3, 4))}, "resolve_conj": {"self": torch.complex(real(3, 4), real(3, 4))},
    "arange": {"start": 1, "end": 9, "step": 2}, "cat": {"tensors": [X, real(3, 2)]}, "concat": {"tensors": [X, real(3, 2)]},
    "hstack": {"tensors": [X, real(3, 2)]}, "stack": {"tensors": [X, POSITIVE]}, "chunk": {"chunks": 3},
    "constant_pad_nd": {"pad": [1, 2, 0, 1]}, "pad": {"pad": [1, 2, 0, 1]}, "copy_": {"src": real(4)}, "fill.Tensor": {"value": torch.tensor(2.5)},
    "fill.Tensor_out": {"value": torch.tensor(2.5)}, "fill_.Tensor": {"value": torch.tensor(2.5)},
    "flip": {"dims": [0, 1]}, "gather": {"index": PLACES}, "index_put_": {"indices": [whole(2, 0)], "values": real(4)},
    "index_select": {"index": whole(3, 0, 0)}, "masked_fill.Tensor": {"value": torch.tensor(2.5)},
    "masked_fill.Tensor_out": {"value": torch.tensor(2.5)}, "masked_fill_.Tensor": {"value": torch.tensor(2.5)},
    "narrow": {"start": 1, "length": 2}, "narrow.Tensor": {"start": torch.tensor(1)}, "permute": {"dims": [1, 0]}, "repeat": {"repeats": [2, 1, 3]},
    "tile": {"dims": [2, 3]}, "repeat_interleave": {"repeats": whole(2, 0, 1, 3)}, "repeat_interleave.self_int": {"repeats": 2},
    "scatter": {"index": PLACES, "src": X}, "scatter_": {"index": PLACES, "src": X},
    "select": {"index": 2}, "select_scatter": {"src": real(3), "index": 2}, "slice": {"start": 1, "end": 4, "step": 2},
    "slice_scatter": {"src": real(3, 2), "start": 1, "end": 4, "step": 2}, "split": {"split_size": 3}, "split.sizes": {"split_size": [1, 3]}, "split.default": {"split_sizes": [1, 3]},
    "split_with_sizes": {"split_sizes": [1, 3]}, "transpose": {"dim0": 0, "dim1": 1}, "transpose_": {"dim0": 0, "dim1": 1},
    "unfold": {"dimension": 1, "size": 2, "step": 1}, "where": {"condition": MASK, "input": X},
    "amax": {"dim": [0, 1]}, "any": {"self": MASK}, "all": {"self": MASK}, "any.dims": {"dim": [0, 1]}, "all.dims": {"dim": [0, 1]},
    "any.dims_out": {"dim": [0, 1]}, "all.dims_out": {"dim": [0, 1]}, "gelu": {"approximate": "tanh"}, "div": {"rounding_mode": "floor"}, "div_": {"rounding_mode": "trunc"},
    "cumsum_": {"dtype": None},
}
IGNORED = {"generator", "layout", "device", "pin_memory", "memory_format", "sparse", "cudnn_enable", "cudnn_enabled", "implicit", "non_blocking",
           "sparse_grad"}
REDUCTIONS = ("none", "mean", "sum")
DTYPES = {torch.float64: "f64", torch.float32: "f32", torch.int64: "i64"}


def own(value):
    """PyTorch's value with memory of its own."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return [own(v) for v in value] if isinstance(value, (list, tuple)) else value


def converted(value):
    if isinstance(value, torch.Tensor):
        return ws.from_dlpack(value.clone())
    if isinstance(value, torch.dtype):
        return DTYPES[value]
    return [converted(v) for v in value] if isinstance(value, (list, tuple)) else value


def torch_of(value):
    if isinstance(value, ws.Tensor):
        return torch.from_dlpack(value.detach() if value.dtype != ws.complex64 else value.detach())
    return [torch_of(v) for v in value] if isinstance(value, (list, tuple)) else value


class Overloads(unittest.TestCase):
    def same(self, what, ours, theirs, values=True):
        if isinstance(theirs, (list, tuple)):
            self.assertEqual(len(ours), len(theirs), what)
            for a, b in zip(ours, theirs):
                self.same(what, a, b, values)
            return
        ours = torch_of(ours)
        self.assertEqual((ours.dtype, ours.shape), (theirs.dtype, theirs.shape), what)
        if values:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True, msg=lambda m: f"{what}: {m}")

    def call(self, base, key, overload):
        schema = overload._schema
        targets = [a for a in schema.arguments if a.kwarg_only and a.alias_info and a.alias_info.is_write]
        in_place = base.endswith("_") and not base.endswith("__")
        known = {**COMMON, **OF.get(base.rstrip("_"), {}), **OF.get(base, {}), **OF.get(base.rstrip("_") + "." + key.split(".")[1], {}), **OF.get(key, {})}
        positional, keywords = [], {}
        for a in schema.arguments:
            if a in targets or a.name in IGNORED and a.name not in known:
                continue
            if a.name not in known or known[a.name] is None and a.has_default_value():
                self.assertTrue(a.has_default_value(), f"{key}: the test has no value for {a.name}")
                if a.kwarg_only:
                    continue
                positional.append((a.name, a.default_value))
                continue
            value = known[a.name]
            if str(a.type) in ("number", "Scalar", "int", "float") and isinstance(value, torch.Tensor):
                value = 2 if value.dtype.is_floating_point else 3
            if str(a.type) == "Tensor" and not isinstance(value, torch.Tensor):
                value = torch.tensor(float(value))
            if a.kwarg_only:
                keywords[a.name] = value
            else:
                positional.append((a.name, value))
        extra = {"generator": None} if any(a.name == "generator" and not a.has_default_value() for a in schema.arguments) else {}
        # What stands last at its default is left out, as a caller would.
        ours_positional = [REDUCTIONS[v] if n == "reduction" else v for n, v in positional]
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        while positional and ours_positional and positional[len(ours_positional) - 1][0] in defaults and \
                known.get(positional[len(ours_positional) - 1][0]) is None:
            ours_positional.pop()
        function = getattr(ws, OURS.get(base, base))
        values = base not in RANDOM

        def theirs(**outs):
            return overload(*[own(v) for _, v in positional], **{k: own(v) for k, v in keywords.items()}, **extra, **outs)

        def ours(**outs):
            return function(*[converted(v) for v in ours_positional], **{k: converted(v) for k, v in keywords.items()}, **outs)

        if not targets:
            self.same(key, ours(), theirs(), values)
            if in_place:
                mine = converted(ours_positional[0])
                other = own(positional[0][1])
                function(mine, *[converted(v) for v in ours_positional[1:]], **{k: converted(v) for k, v in keywords.items()})
                overload(other, *[own(v) for _, v in positional[1:]], **{k: own(v) for k, v in keywords.items()}, **extra)
                self.same(key + " in place", mine, other, values)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                shapes = theirs(**{t.name: torch.empty(0, dtype=self.result_type(key, t)) for t in targets})
            except RuntimeError:  # normal() adds what it drew to a tensor that it has not resized
                shapes = theirs(**{t.name: torch.empty_like(X) for t in targets})
        shapes = list(shapes) if isinstance(shapes, (list, tuple)) else [shapes]
        for what, shaped in (("right", lambda r: torch.full_like(r, 1)), ("empty", lambda r: r.new_empty(0)),
                             ("wrong", lambda r: r.new_ones(*r.shape, 2))):
            outs = [shaped(r) for r in shapes]
            mine = [ws.empty(tuple(o.shape), dtype=DTYPE_OF[o.dtype]) for o in outs]
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                returned = ours(out=mine[0] if len(mine) == 1 else tuple(mine))
            self.assertTrue(returned is mine[0] if len(mine) == 1 else all(a is b for a, b in zip(returned, mine)), f"{key} {what}")
            self.assertEqual([w.category for w in told], [UserWarning] * len(mine) if what == "wrong" else [], f"{key} {what}: {[str(w.message) for w in told]}")
            self.same(f"{key} {what}", mine, shapes, values)

    def result_type(self, key, target):
        """The dtype of a target that PyTorch takes."""
        if key.split(".")[0] in ("argmax", "nonzero", "multinomial", "arange") or target.name in ("indices", "max_values", "min_indices"):
            return torch.int64
        if key.split(".")[0] in ("any", "all", "eq", "ne", "lt", "le", "gt", "ge", "isinf", "isnan"):
            return torch.bool
        if key.startswith("native_dropout") and target.name == "out1":
            return torch.bool
        if key.startswith(("bitwise", "repeat_interleave")):
            return torch.int64
        if key.startswith(("_fft_r2c", "fft_rfft", "conj")):
            return torch.complex64
        known = OF.get(key.split(".")[0], {}).get("dtype")
        return known if known is not None else torch.float32


DTYPE_OF = {torch.float64: "f64", torch.float32: "f32", torch.int64: "i64", torch.bool: "bool", torch.complex64: "c64"}


def add(base, name):
    packet = getattr(torch.ops.aten, base)
    overload, key = getattr(packet, name), f"{base}.{name}"
    text = str(overload._schema)
    # TorchScript's forms of lists and numbers, and those with named dimensions, are no operators of tensors.
    if "Dimname" in text or "Tensor" not in text.split("->")[0] and "Tensor" not in text.split("->")[1] or "t[]" in text or "list" in name \
            or "Tensor[](a!)" in text or "complex" in name or key in ("copy_.Tensor", "copy_.int", "copy_.float") or key in EXCEPTIONS:
        return
    setattr(Overloads, f"test_{base}_{name}", lambda self: self.call(base, key, overload))


wanted = [a for a in sys.argv[1:] if not a.startswith("-") and not os.path.isdir(a)]
for published in NAMES:
    for base in dict.fromkeys([published, published if published.endswith("_") else published + "_"]):
        if hasattr(torch.ops.aten, base) and (not wanted or base in wanted):
            for name in getattr(torch.ops.aten, base).overloads():
                add(base, name)

if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    peers.main()
