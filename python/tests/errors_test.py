#!/usr/bin/python3
"""Bad input: the same call in PyTorch and here raises the same type, and ours names the shapes, the index or the dtype."""
import os
import resource
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("torch", "numpy")
import torch

import wellspring as ws


class Side:
    """A library, and how it makes tensors."""

    def __init__(self, library):
        self.m = library

    def real(self, *shape):
        return self.m.ones(shape)

    def whole(self, *values):
        return self.m.tensor(list(values))

    def wide(self, *shape):
        return self.real(*shape).to(self.m.float64)


PYTORCH, OURS = Side(torch), Side(ws)
# What is called, and what our message says.
CASES = {
    "shapes that do not broadcast": (lambda s: s.m.add(s.real(2, 3), s.real(4)), ["[2, 3]", "[4]"]),
    "shapes in place": (lambda s: s.real(3).add_(s.real(2, 3)), ["[3]", "[2, 3]"]),
    "inner extents": (lambda s: s.m.mm(s.real(2, 3), s.real(4, 5)), ["[2, 3]", "[4, 5]"]),
    "batches": (lambda s: s.m.bmm(s.real(2, 3, 4), s.real(3, 4, 5)), ["[2, 3, 4]", "[3, 4, 5]"]),
    "dimensions of mm": (lambda s: s.m.mm(s.real(2, 3), s.real(3)), ["[2, 3]", "[3]"]),
    "addmm": (lambda s: s.m.addmm(s.real(7), s.real(2, 3), s.real(3, 5)), ["[7]", "[2, 5]"]),
    "mv": (lambda s: s.m.mv(s.real(2, 3), s.real(4)), ["[2, 3]", "[4]"]),
    "cat": (lambda s: s.m.cat([s.real(2, 3), s.real(2, 4)]), ["[2, 3]", "[2, 4]"]),
    "stack": (lambda s: s.m.stack([s.real(2, 3), s.real(2, 4)]), ["[2, 3]", "[2, 4]"]),
    "view": (lambda s: s.real(2, 3).view((4, 2)), ["[2, 3]", "[4, 2]"]),
    "expand": (lambda s: s.real(2, 3).expand((4, 3)), ["[2, 3]", "[4, 3]"]),
    "copy": (lambda s: s.real(3).copy_(s.real(2, 3)), ["[3]", "[2, 3]"]),
    "where": (lambda s: s.m.where(s.real(2, 3) > 0, s.real(4), s.real(1)), ["[2, 3]", "[4]"]),
    "gather": (lambda s: s.m.gather(s.real(2, 3), 0, s.m.zeros((2, 4), dtype=s.m.int64)), ["[2, 3]", "[2, 4]"]),
    "conv": (lambda s: s.m.conv2d(s.real(1, 3, 5, 5), s.real(4, 2, 3, 3)), ["[1, 3, 5, 5]", "[4, 2, 3, 3]"]),
    "dtypes of mm": (lambda s: s.m.mm(s.real(2, 3), s.wide(3, 2)), ["f32[2, 3]", "f64[3, 2]"]),
    "dtype in place": (lambda s: s.whole(1, 2).add_(s.real(2)), ["f32", "i64"]),
    "dtype of the index": (lambda s: s.m.index_select(s.real(3), 0, s.real(1)), ["f32[1]"]),
    "dtype of a mask": (lambda s: s.m.masked_fill(s.real(3), s.whole(1, 0, 1), 2), ["i64[3]"]),
    "bits of floats": (lambda s: s.m.bitwise_and(s.real(3), s.real(3)), ["f32"]),
    "index_select": (lambda s: s.m.index_select(s.real(3), 0, s.whole(3)), ["3"]),
    "gather's index": (lambda s: s.m.gather(s.real(3), 0, s.whole(5)), ["5"]),
    "gather's negative index": (lambda s: s.m.gather(s.real(3), 0, s.whole(-1)), ["-1"]),
    "scatter's index": (lambda s: s.m.scatter(s.real(3), 0, s.whole(4), 1.0), ["4"]),
    "scatter_add's index": (lambda s: s.m.scatter_add(s.real(3), 0, s.whole(4), s.real(1)), ["4"]),
    "index_add's index": (lambda s: s.m.index_add(s.real(3), 0, s.whole(4), s.real(1)), ["4"]),
    "index_put's index": (lambda s: s.m.index_put(s.real(3), [s.whole(4)], s.real(1)), ["4"]),
    "take": (lambda s: s.m.take(s.real(3), s.whole(4)), ["4"]),
    "select": (lambda s: s.m.select(s.real(3), 0, 4), ["4"]),
    "narrow": (lambda s: s.m.narrow(s.real(3), 0, 2, 5), ["3", "5"]),
    "a class that there is not": (lambda s: s.m.nll_loss_nd(s.real(2, 3), s.whole(1, 3)) if s is OURS else
                                  torch.nn.functional.nll_loss(s.real(2, 3), s.whole(1, 3)), ["3"]),
    "a class of cross_entropy": (lambda s: s.m.cross_entropy_loss(s.real(2, 3), s.whole(1, -1)) if s is OURS else
                                 torch.nn.functional.cross_entropy(s.real(2, 3), s.whole(1, -1)), ["-1"]),
    "a row that there is not": (lambda s: s.m.embedding(s.real(5, 2), s.whole(5)), ["5"]),
    "a dimension": (lambda s: s.m.sum(s.real(2, 3), 2), ["2"]),
    "a negative dimension": (lambda s: s.m.softmax(s.real(2, 3), -3), ["-3"]),
    "a dimension of cat": (lambda s: s.m.cat([s.real(2, 3)], 2), ["2"]),
    "a dimension twice": (lambda s: s.m.sum(s.real(2, 3), (1, -1)), ["1"]),
    "transpose": (lambda s: s.m.transpose(s.real(2, 3), 0, 2), ["2"]),
    "permute": (lambda s: s.m.permute(s.real(2, 3), (0, 0)), ["0"]),
    "k": (lambda s: s.m.topk(s.real(3), 4), ["4", "3"]),
    "amax of nothing": (lambda s: s.m.amax(s.real(0, 3), 0), ["[0, 3]"]),
    "max of nothing": (lambda s: s.m.max(s.real(0, 3)), ["[0, 3]"]),
    "argmax of nothing": (lambda s: s.m.argmax(s.real(0, 3)), ["[0, 3]"]),
    "division by zero": (lambda s: s.m.div(s.whole(1), s.whole(0), rounding_mode="floor"), ["zero"]),
    "division by the number 0": (lambda s: s.m.div(s.whole(1), 0, rounding_mode="trunc"), ["zero"]),
    "floor_divide": (lambda s: s.m.floor_divide(s.whole(1, 2), s.whole(1, 0)), ["zero"]),
    "remainder": (lambda s: s.m.remainder(s.whole(1, 2), s.whole(1, 0)), ["zero"]),
    "fmod": (lambda s: s.m.fmod(s.whole(1, 2), s.whole(1, 0)), ["zero"]),
    "rounding mode": (lambda s: s.m.div(s.real(1), s.real(1), rounding_mode="up"), ["up"]),
    "clamp without bounds": (lambda s: s.m.clamp(s.real(1)), ["min"]),
    "negative size": (lambda s: s.m.zeros((2, -3)), ["-3"]),
    "size beyond 63 bits": (lambda s: s.m.zeros((2**40, 2**40)), ["1099511627776"]),
    "repeat beyond 63 bits": (lambda s: s.m.repeat(s.real(2**10), (2**62,)) if s is OURS else s.real(2**10).repeat(2**62), ["4611686018427387904"]),
    "probability": (lambda s: s.m.dropout(s.real(3), 1.5, True), ["1.5"]),
    "multinomial": (lambda s: s.m.multinomial(s.real(3), 4), ["4"]),
    "groups": (lambda s: s.m.group_norm(s.real(2, 5), 2), ["[2, 5]"]),
    "normalized_shape": (lambda s: s.m.layer_norm(s.real(2, 5), [4]), ["[2, 5]", "[4]"]),
    "out of another category": (lambda s: s.m.add(s.real(2), s.real(2), out=s.whole(1, 2)), ["f32", "i64"]),
    "out of bool": (lambda s: s.m.amax(s.real(2), 0, out=s.real(1) > 0), ["bool"]),
    "out that repeats": (lambda s: s.m.exp(s.real(2), out=s.real(1).expand((2,))), ["repeats"]),
    "out that repeats, of an index": (lambda s: s.m.gather(s.real(2), 0, s.whole(0, 1), out=s.real(1).expand((2,))), ["repeats"]),
    "out that overlaps": (lambda s: (lambda x: s.m.exp(x[:4], out=x[1:]))(s.real(5)), ["overlap"]),
    "out that overlaps, of an index": (lambda s: (lambda x: s.m.index_select(x[:4], 0, s.whole(0, 1, 2, 3), out=x[1:]))(s.real(5)), ["overlap"]),
    "out that overlaps, of cat": (lambda s: (lambda x: s.m.cat([x[:2], x[:2]], out=x[1:]))(s.real(5)), ["overlap"]),
    "in place on a part of itself": (lambda s: (lambda x: x[1:].add_(x[:4]))(s.real(5)), ["overlap"]),
    "out with a gradient": (lambda s: s.m.exp(s.m.tensor([1.0], requires_grad=True), out=s.real(1)), ["gradient"]),
    "out with a gradient, of a sum": (lambda s: s.m.sum(s.m.tensor([1.0], requires_grad=True), 0, out=s.m.tensor(0.0)), ["gradient"]),
    "in place on a leaf": (lambda s: s.m.tensor([1.0], requires_grad=True).add_(1), ["leaf"]),
    "as_strided": (lambda s: s.m.as_strided(s.real(4), (2, 3), (2, 1)), ["[2, 3]"]),
    "none": (lambda s: s.m.add(s.real(2), None), []),
    "text": (lambda s: s.m.exp("x"), []),
}


class BadInput(unittest.TestCase):
    def raised(self, call, side):
        try:
            call(side)
        except Exception as e:  # noqa: BLE001
            return e
        return None

    def check(self, call, parts):
        theirs, ours = self.raised(call, PYTORCH), self.raised(call, OURS)
        if isinstance(theirs, NotImplementedError):  # for a dtype, now and then: a RuntimeError to whoever catches those
            theirs = RuntimeError(theirs)
        self.assertIsNotNone(theirs, "PyTorch takes it")
        self.assertIsNotNone(ours, f"we take it; PyTorch: {type(theirs).__name__}: {theirs}")
        self.assertIs(type(ours), type(theirs), f"ours: {ours}\nPyTorch: {theirs}")
        for part in parts:
            self.assertIn(part, str(ours))

    def test_devices(self):
        try:
            far = ws.ones((2, 3), device="opencl:0")
        except RuntimeError as e:
            self.skipTest(str(e))
        near = ws.ones((4, 3))
        for call in (lambda: far + near[:2], lambda: ws.mm(far, near.t()), lambda: ws.cat([near, far]),
                     lambda: ws.where(near > 0, near, far[0]), lambda: near[:2].add_(far), lambda: ws.exp(far, out=near),
                     lambda: ws.sum(far, 0, out=ws.ones((3,))), lambda: ws.layer_norm(far, [3], near[0]),
                     lambda: ws.index_select(far, 0, ws.tensor([1])), lambda: ws.embedding(far, ws.tensor([1]))):
            with self.assertRaisesRegex(RuntimeError, "opencl") as told:
                call()
            self.assertIn("cpu", str(told.exception))

    def test_allocation_fails(self):
        """Of a process that may not have so much; it goes on afterwards."""
        code = ("import resource, wellspring as ws; x = ws.ones((1000, 1000));"
                "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
                "for call in (lambda: ws.zeros((1 << 40,)), lambda: ws.empty((1 << 36,)), lambda: x.expand((20000, 1000, 1000)).contiguous()):\n"
                "    try:\n        call()\n    except (RuntimeError, MemoryError) as e:\n        assert str(e), 'no message'; print(type(e).__name__)\n"
                "print(ws.sum(x).item())")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(ws.__file__))})
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.split()
        self.assertGreaterEqual(len(lines), 4)
        self.assertEqual(set(lines[:-1]), {"RuntimeError"})  # as PyTorch's
        self.assertEqual(lines[-1], "1000000.0")


for name, (call, parts) in CASES.items():
    setattr(BadInput, "test_" + name.replace(" ", "_").replace("'", "").replace(",", ""),
            lambda self, call=call, parts=parts: self.check(call, parts))

if __name__ == "__main__":
    peers.main()
