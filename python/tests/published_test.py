#!/usr/bin/python3
"""The published test rule against PyTorch in f64, over the published shapes, strides and scalars: atol is 1e-4 times the
reduced length, rtol f64 1e-7, f32 1.3e-6, bf16 0.016, f16 1e-3, integers exact. Also up to 8 dimensions of any strides.

    published_test.py [--all]     the full sets (many minutes); default: the quick shape of each kind
"""
import itertools
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("torch", "numpy")
import torch
import torch.nn.functional as F

import wellspring as ws

FULL = "--all" in sys.argv
POINTWISE = [(), (1,), (1024, 1024), (20, 320, 15), (16, 128, 64, 60), (16, 7, 57, 32, 29)] if FULL else [(2, 19, 7)]
REDUCTIONS = [(1, 2), (4096, 256), (200, 40999, 3)] if FULL else [(2, 32)]
EXTENTS = (15, 160, 1024) if FULL else (1, 32)
SCALARS = (0.001, -0.999, 100.001, -111.999)
FLOATS = (torch.float16, torch.float32, torch.bfloat16, torch.float64)
INTS = (torch.int16, torch.int32)
RTOL = {torch.float64: 1e-7, torch.float32: 1.3e-6, torch.bfloat16: 0.016, torch.float16: 1e-3}
# Names in our schema that PyTorch computes otherwise on purpose, or only elsewhere.
NOT_COMPARED = {
    "sgn": "an alias", "replace_nonfinite": "nan_to_num", "rsub": "below", "where": "below",
}

# They jump: a number is meant as the compute type of the narrow dtypes, f32, holds it.
JUMPING = {"fmod", "remainder", "floor_divide"}


def laid(x, strides):
    """The same values dilated or transposed in memory."""
    if strides == "dilated" and x.dim():
        wide = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1] + 1)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    if strides == "transposed" and x.dim() > 1:
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    return x


def made(shape, dtype, positive=False):
    generator = torch.Generator().manual_seed(len(shape) * 7 + 1)
    if not dtype.is_floating_point:
        return torch.randint(1 if positive else -9, 9, shape, generator=generator, dtype=dtype)
    x = torch.randn(shape, generator=generator)
    return (x.abs() + 0.1 if positive else x).to(dtype)


def ours(function, *args, **kwargs):
    result = function(*[ws.from_dlpack(a) if isinstance(a, torch.Tensor) else a for a in args], **kwargs)
    return [torch.from_dlpack(r) for r in (result if isinstance(result, (tuple, list)) else (result,))]


class Published(unittest.TestCase):
    def hold(self, what, got, wanted, length=1):
        """`wanted` is f64 (or exact)."""
        self.assertEqual(got.shape, wanted.shape, what)
        if got.dtype.is_floating_point:
            torch.testing.assert_close(got, wanted.to(got.dtype), rtol=RTOL[got.dtype], atol=1e-4 * max(length, 1), equal_nan=True,
                                       msg=lambda m: f"{what}: {m}")
        else:
            self.assertTrue(torch.equal(got, wanted.to(got.dtype)), what)

    def wide(self, x):
        return x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x

    def pointwise(self, name, ours_function, theirs, operands):
        for shape in POINTWISE:
            for dtype in FLOATS + INTS:
                for strides in ("packed", "dilated", "transposed"):
                    if strides != "packed" and len(shape) < 2:
                        continue
                    args = [laid(made(shape, dtype, positive=i == 1), strides) for i in range(operands)]
                    try:
                        wanted = theirs(*[self.wide(a) for a in args])
                    except (RuntimeError, TypeError):
                        continue  # it takes no such dtype
                    if isinstance(wanted, torch.Tensor):
                        with self.subTest(name):
                            self.hold(f"{name} {shape} {dtype} {strides}", ours(ours_function, *args)[0], wanted)
                if operands == 2 and dtype.is_floating_point:
                    x = made(shape, dtype, positive=name == "pow")
                    for v in SCALARS:
                        try:
                            wide_v = torch.tensor(v, dtype=torch.float32).item() if name in JUMPING and dtype != torch.float64 else v
                            wanted = theirs(self.wide(x), wide_v)
                        except (RuntimeError, TypeError):
                            break
                        with self.subTest(name):
                            self.hold(f"{name} {shape} {dtype} with {v}", ours(ours_function, x, v)[0], wanted)

    def test_pointwise(self):
        count = 0
        for op in ws.operators():
            name = op["name"]
            theirs = getattr(torch, name, None) or getattr(torch.special, name, None)
            if op["family"] != "pointwise" or name in NOT_COMPARED or not callable(theirs):
                continue
            first = op["cpp"].split("\n")[0]
            operands = first.count("const Tensor&")
            if operands > 2 or first.count("double"):
                continue
            self.pointwise(name, getattr(ws, name), theirs, operands)
            count += 1
        self.assertGreater(count, 60)

    def test_scaled(self):
        for alpha in SCALARS:
            for name in ("add", "sub", "rsub"):
                for shape, dtype in itertools.product(POINTWISE, FLOATS):
                    x, y = made(shape, dtype), made(shape, dtype, True)
                    with self.subTest(name):
                        self.hold(f"{name} {shape} {dtype} alpha {alpha}", ours(getattr(ws, name), x, y, alpha=alpha)[0],
                                  getattr(torch, name)(x.double(), y.double(), alpha=alpha))

    def test_reductions(self):
        table = {"sum": torch.sum, "mean": torch.mean, "amax": torch.amax, "amin": torch.amin, "all": torch.all, "any": torch.any,
                 "var_mean": torch.var_mean, "vector_norm": lambda x, dim=None: torch.linalg.vector_norm(x, dim=dim),
                 "argmax": torch.argmax, "argmin": torch.argmin, "logsumexp": torch.logsumexp}
        ours_of = {"vector_norm": lambda x, d: ws.vector_norm(x, 2, d), "var_mean": lambda x, d: ws.var_mean(x, d)}
        for name, theirs in table.items():
            for shape, dtype in itertools.product(REDUCTIONS, FLOATS):
                x = made(shape, dtype)
                for dim in range(len(shape)):
                    wanted = theirs(x.double(), dim=dim)
                    got = ours(ours_of.get(name, getattr(ws, name)), x, dim)
                    for g, w in zip(got, wanted if isinstance(wanted, tuple) else (wanted,)):
                        with self.subTest(name):
                            self.hold(f"{name} {shape} {dtype} over {dim}", g, w, shape[dim])

    def test_rows(self):
        for shape, dtype in itertools.product(REDUCTIONS, FLOATS):
            x, n = made(shape, dtype), shape[-1]
            w = made((n,), dtype, True)
            for dim in range(len(shape)):
                for name in ("softmax", "log_softmax", "cumsum"):
                    with self.subTest(name):
                        self.hold(f"{name} {shape} {dtype} over {dim}", ours(getattr(ws, name), x, dim)[0],
                                  getattr(torch, name)(x.double(), dim), shape[dim])
            self.hold(f"layer_norm {shape} {dtype}", ours(ws.layer_norm, x, [n], w, w)[0],
                      F.layer_norm(x.double(), (n,), w.double(), w.double()), n)
            self.hold(f"rms_norm {shape} {dtype}", ours(ws.rms_norm, x, [n], w, 1e-5)[0], F.rms_norm(x.double(), (n,), w.double(), 1e-5), n)

    def test_products(self):
        for m, n, k in itertools.product(EXTENTS, repeat=3):
            for dtype in FLOATS:
                a, b, c, v = made((m, k), dtype), made((k, n), dtype), made((m, n), dtype), made((k,), dtype)
                what = f"{m} {n} {k} {dtype}"
                self.hold("mm " + what, ours(ws.mm, a, b)[0], a.double() @ b.double(), k)
                self.hold("mv " + what, ours(ws.mv, a, v)[0], a.double() @ v.double(), k)
                self.hold("mm transposed " + what, ours(ws.mm, laid(a, "transposed"), laid(b, "transposed"))[0], a.double() @ b.double(), k)
                if m * n * k < 10**8:
                    self.hold("bmm " + what, ours(ws.bmm, a.expand(3, m, k), b.expand(3, k, n))[0], (a.double() @ b.double()).expand(3, m, n), k)
                for s in SCALARS:
                    wanted = s * c.double() + s * (a.double() @ b.double())
                    self.hold(f"addmm {what} {s}", ours(ws.addmm, c, a, b, beta=s, alpha=s)[0], wanted, k * max(1, abs(s)))


class Dimensions(unittest.TestCase):
    """Up to 8 dimensions with strides in any order, gaps and repetitions."""

    def cases(self):
        random = torch.Generator().manual_seed(3)

        def below(n):
            return int(torch.randint(0, n, (1,), generator=random))
        for n in range(1, 9):
            for _ in range(20 if FULL else 4):
                shape = [1 + below(3 if n > 4 else 5) for _ in range(n)]
                x = torch.randn(*[s * 2 for s in shape], generator=random)
                x = x[tuple(slice(below(2), None, 2) for _ in shape)]  # gaps
                x = x.permute(*torch.randperm(n, generator=random).tolist())
                if below(3) == 0:
                    x = x.flip(0).contiguous()[:1].expand(2, *x.shape[1:])
                yield x, below(n), below

    def test_operators(self):
        calls = {
            "sum": lambda m, x, d: m.sum(x, d), "mean": lambda m, x, d: m.mean(x, d), "amax": lambda m, x, d: m.amax(x, d),
            "prod": lambda m, x, d: m.prod(x, d), "argmax": lambda m, x, d: m.argmax(x, d), "all": lambda m, x, d: m.all(x, d),
            "max": lambda m, x, d: m.max(x, d), "logsumexp": lambda m, x, d: m.logsumexp(x, d),
            "softmax": lambda m, x, d: m.softmax(x, d), "log_softmax": lambda m, x, d: m.log_softmax(x, d),
            "cumsum": lambda m, x, d: m.cumsum(x, d), "cumprod": lambda m, x, d: m.cumprod(x, d), "cummax": lambda m, x, d: m.cummax(x, d),
            "logcumsumexp": lambda m, x, d: m.logcumsumexp(x, d), "sort": lambda m, x, d: m.sort(x, d), "topk": lambda m, x, d: m.topk(x, 1, d),
            "flip": lambda m, x, d: m.flip(x, [d]), "roll": lambda m, x, d: m.roll(x, [1], [d]), "cat": lambda m, x, d: m.cat([x, x], d),
            "clone": lambda m, x, d: m.clone(x), "exp": lambda m, x, d: m.exp(x), "transpose": lambda m, x, d: m.transpose(x, d, 0),
            "narrow": lambda m, x, d: m.narrow(x, d, 0, 1), "select": lambda m, x, d: m.select(x, d, -1), "chunk": lambda m, x, d: m.chunk(x, 2, d),
            "repeat_interleave": lambda m, x, d: m.repeat_interleave(x, 2, d), "nonzero": lambda m, x, d: m.nonzero(m.gt(x, 0.5)),
            "masked_select": lambda m, x, d: m.masked_select(x, m.gt(x, 0.5)), "masked_fill": lambda m, x, d: m.masked_fill(x, m.gt(x, 0.5), 2.0),
            "where": lambda m, x, d: m.where(m.gt(x, 0), x, 1.0), "gather": lambda m, x, d: m.gather(x, d, m.argmax(x, d, True)),
            "index_select": lambda m, x, d: m.index_select(x, d, m.tensor([0, 0])), "scatter": lambda m, x, d: m.scatter(x, d, m.argmax(x, d, True), 5.0),
            "index_fill": lambda m, x, d: m.index_fill(x, d, m.tensor([0]), 5.0), "index_add": lambda m, x, d: m.index_add(x, d, m.tensor([0]), m.narrow(x, d, 0, 1)),
            "triu": lambda m, x, d: m.triu(x) if x.ndim > 1 else x, "vector_norm": lambda m, x, d: (m.linalg.vector_norm if m is torch else m.vector_norm)(x, 2, d),
            "layer_norm": lambda m, x, d: (F if m is torch else m).layer_norm(x, x.shape[d:]),
            "rms_norm": lambda m, x, d: (F if m is torch else m).rms_norm(x, x.shape[d:], None, 1e-3),
            "group_norm": lambda m, x, d: (F if m is torch else m).group_norm(x, 1, None, None, 1e-3) if x.ndim > 1 else x,
            "pad": lambda m, x, d: (F.pad if m is torch else m.constant_pad_nd)(x, [1, 2]), "stack": lambda m, x, d: m.stack([x, x], d) if x.ndim < 8 else x,
            "take": lambda m, x, d: m.take(x, m.tensor([0, 0])), "embedding": lambda m, x, d: m.embedding(m.tensor([[1.0], [2.0]]), m.ge(x, 0).to(m.int64)) if x.ndim < 8 else x,
        }
        for x, d, _ in self.cases():
            for name, call in calls.items():
                theirs = call(torch, x, d)
                mine = call(ws, ws.from_dlpack(x), d)
                theirs = theirs if isinstance(theirs, (tuple, list)) else (theirs,)
                mine = mine if isinstance(mine, (tuple, list)) else (mine,)
                with self.subTest(name, shape=tuple(x.shape), strides=x.stride(), d=d):
                    self.assertEqual(len(mine), len(theirs))
                    for a, b in zip(mine, theirs):
                        torch.testing.assert_close(torch.from_dlpack(a), b, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    peers.main()
