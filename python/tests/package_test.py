#!/usr/bin/python3
"""The package wellspring: tensors, operators, gradients, exchange of memory, errors, fork, import."""
import ast
import copy
import os
import pickle
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("numpy")
import numpy as np

import wellspring as ws


class Tensors(unittest.TestCase):
    def test_made_of_lists(self):
        x = ws.tensor([[1, 2, 3], [4, 5, 6]])
        self.assertEqual((x.shape, x.dtype, x.stride(), x.device), ((2, 3), ws.int64, (3, 1), "cpu"))
        self.assertEqual(x.tolist(), [[1, 2, 3], [4, 5, 6]])
        self.assertEqual(ws.tensor([1.5, True]).dtype, ws.float32)
        self.assertEqual(ws.tensor([True, False]).tolist(), [True, False])
        self.assertEqual(ws.tensor(2**60 + 1).item(), 2**60 + 1)
        with self.assertRaisesRegex(ValueError, "ragged"):
            ws.tensor([[1, 2], [3]])
        with self.assertRaisesRegex(TypeError, "cannot read"):
            ws.tensor(["a"])

    def test_operators_of_python(self):
        x, y = np.arange(1, 7, dtype=np.float32).reshape(2, 3), np.full((3,), 2, np.float32)
        a, b = ws.from_numpy(x), ws.from_numpy(y)
        for expected, got in [(x + y, a + b), (x - 2, a - 2), (2 - x, 2 - a), (x * y, a * b), (x / y, a / b),
                              (1 / x, 1 / a), (x @ x.T, a @ a.T), (-x, -a), (x**2, a**2), (x > 3, a > 3),
                              (x == 3, a == 3), (abs(-x), abs(-a))]:
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)
        c = a
        c += 1
        self.assertIs(c, a)
        np.testing.assert_array_equal(x, np.arange(2, 8).reshape(2, 3))  # the same memory

    def test_operators_of_whole_numbers(self):
        x, y = np.array([7, -7, 12, 0], np.int64), np.array([2, 3, 5, 1], np.int64)
        a, b = ws.tensor(x), ws.tensor(y)
        for name in ("floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
            with self.subTest(name):
                binary, in_place = f"__{name}__", f"__i{name}__"
                np.testing.assert_array_equal(getattr(a, binary)(b).numpy(), getattr(x, binary)(y))
                np.testing.assert_array_equal(getattr(a, binary)(3).numpy(), getattr(x, binary)(3))
                np.testing.assert_array_equal(getattr(b, f"__r{name}__")(37).numpy(), getattr(y, f"__r{name}__")(37))
                changed, expected = a.clone(), x.copy()
                self.assertIs(getattr(changed, in_place)(b), changed)
                np.testing.assert_array_equal(changed.numpy(), getattr(expected, in_place)(y))
        np.testing.assert_array_equal((~a).numpy(), ~x)
        mask = ws.tensor([True, False, True, True])
        self.assertEqual((~mask & (a > 0) | (b == 1)).tolist(), [False, False, False, True])
        self.assertEqual((5.5 // ws.tensor([2.0])).tolist(), [2.0])
        self.assertEqual(a.floor_divide(2).tolist(), [3, -4, 6, 0])
        c = ws.tensor([2.0, 3.0])
        c **= 2
        self.assertEqual(c.tolist(), [4.0, 9.0])
        self.assertEqual(len(range(10)[: ws.tensor(3)]), 3)  # __index__
        with self.assertRaises(TypeError):
            range(10)[: ws.tensor(3.0)]

    def test_subscripts(self):
        x = np.arange(60).reshape(3, 4, 5)
        t = ws.from_numpy(x)
        for key in [0, -1, (1, 2), (1, 2, 3), slice(1, 3), (slice(None), slice(1, 4, 2)), (Ellipsis, 2), (0, Ellipsis),
                    None, (slice(None), None, 1), (Ellipsis,), (2, slice(-2, None), -1), slice(2, 1), [2, 0, -1]]:
            np.testing.assert_array_equal(t[key].numpy(), x[key], str(key))
        for key in [[True, False, True], np.array([2, 0]), (slice(None), np.array([[0, 1], [3, 2]])), x[:, :, 0] > 20,
                    (0, x[0] > 5), (Ellipsis, np.array([True, False, True, False, True])), ([0, 2], slice(None), [1, 4]),
                    ([0, 2], [1, 3]), (slice(1, None), [[0], [2]], [1, 4]), True, False, (0, True), range(2), [], x > 30]:
            np.testing.assert_array_equal(t[key].numpy(), x[key], str(key))
            mine = tuple(ws.tensor(k) if isinstance(k, np.ndarray) else k for k in key) if isinstance(key, tuple) else \
                ws.tensor(key) if isinstance(key, np.ndarray) else key
            np.testing.assert_array_equal(t[mine].numpy(), x[key], str(key))
            ours, theirs = t.clone(), x.copy()
            ours[mine], theirs[key] = -5, -5
            np.testing.assert_array_equal(ours.numpy(), theirs, str(key))
        ours, theirs = t.clone(), x.copy()
        ours[[2, 0], 1] = ws.tensor([[1] * 5, [2] * 5])
        theirs[[2, 0], 1] = [[1] * 5, [2] * 5]
        np.testing.assert_array_equal(ours.numpy(), theirs)
        t[1, 2:] = 7
        t[0] = ws.tensor(3)
        self.assertTrue((x[1, 2:] == 7).all() and (x[0] == 3).all())
        with self.assertRaisesRegex(IndexError, "index 3 of dimension 0"):
            t[3]
        with self.assertRaisesRegex(IndexError, "too many"):
            t[0, 0, 0, 0]
        for key in (ws.tensor([0.5]), ws.tensor([True, False]), ws.tensor([1], dtype=ws.uint8), ws.tensor([7]), "a", [0.5]):
            with self.assertRaises(IndexError):
                t[key]
        w = ws.tensor([1.0, 2.0, 3.0], requires_grad=True)
        (w[w > 1] * ws.tensor([5.0, 7.0])).sum().backward()
        self.assertEqual(w.grad.tolist(), [0.0, 5.0, 7.0])
        y = w * 1
        y[[0, 0]] = 4.0
        y.sum().backward()
        self.assertEqual(w.grad.tolist(), [0.0, 6.0, 8.0])

    def test_gradients(self):
        x = ws.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        ((x @ x) * 2).sum().backward()
        ones = np.ones((2, 2), np.float32)
        v = np.array([[1, 2], [3, 4]], np.float32)
        np.testing.assert_allclose(x.grad.numpy(), 2 * (ones @ v.T + v.T @ ones))
        x.grad = None
        self.assertIsNone(x.grad)
        with ws.no_grad():
            self.assertFalse((x * 2).requires_grad)
        self.assertTrue((x * 2).requires_grad)
        with self.assertRaisesRegex(RuntimeError, "detach"):
            x.numpy()

    def test_text(self):
        self.assertEqual(repr(ws.tensor([[1, 2], [3, 4]])), "tensor([[1, 2],\n        [3, 4]], dtype=wellspring.int64)")
        self.assertEqual(repr(ws.tensor([1.5, 2])), "tensor([1.5, 2.])")
        self.assertIn("...", repr(ws.from_numpy(np.zeros((2000,), np.float32))))
        self.assertEqual(f"{ws.tensor(1.234):.2f} {ws.tensor([1])}", "1.23 tensor([1], dtype=wellspring.int64)")
        with self.assertRaises(TypeError):
            f"{ws.tensor([1.0]):.2f}"

    def test_complex(self):
        x = ws.tensor([[1 + 2j, 3], [-1j, 0]])
        self.assertEqual((x.dtype, x.tolist()), (ws.complex64, [[1 + 2j, 3 + 0j], [-1j, 0j]]))
        self.assertEqual((x[0, 0].item(), complex(x[0, 0]), x.T.tolist()), (1 + 2j, 1 + 2j, [[1 + 2j, -1j], [3 + 0j, 0j]]))
        self.assertEqual(repr(x[0]), "tensor([1.+2.j, 3.+0.j], dtype=wellspring.complex64)")
        self.assertEqual(repr(ws.fft_rfft(ws.ones([4]))), "tensor([4.+0.j, 0.+0.j, 0.+0.j], dtype=wellspring.complex64)")
        self.assertEqual(ws.tensor([1.0, 2.0], dtype="c64").tolist(), [1 + 0j, 2 + 0j])
        self.assertEqual(ws.tensor(x[0].numpy()).tolist(), [1 + 2j, 3 + 0j])
        self.assertEqual(ws.tensor([x[0, 0], 1.5]).tolist(), [1 + 2j, 1.5 + 0j])
        self.assertEqual((x.imag.tolist(), x.is_complex()), ([[2.0, 0.0], [-1.0, 0.0]], True))
        with self.assertRaisesRegex(RuntimeError, "imaginary"):
            ws.tensor(x, dtype=ws.float32)

    def test_copies(self):
        for x in (ws.tensor([[1.0, 2.0], [3.0, 4.0]]).T, ws.tensor([1, 2], dtype=ws.bfloat16), ws.tensor(3), ws.tensor([1j]),
                  ws.zeros(0, 3), ws.tensor([True])):
            for made in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
                self.assertEqual((made.tolist(), made.dtype, made.shape), (x.tolist(), x.dtype, x.shape))
        w = ws.tensor([1.0, 2.0], requires_grad=True)
        (w * w).sum().backward()
        deep, shallow, loaded = copy.deepcopy({"w": w, "again": w}), copy.copy(w), pickle.loads(pickle.dumps(w))
        self.assertIs(deep["w"], deep["again"])
        self.assertTrue(deep["w"].requires_grad and shallow.requires_grad and loaded.requires_grad)
        self.assertEqual((deep["w"].grad.tolist(), loaded.grad), ([2.0, 4.0], None))
        self.assertEqual((shallow.data_ptr() == w.data_ptr(), deep["w"].data_ptr() == w.data_ptr()), (True, False))
        with self.assertRaisesRegex(RuntimeError, "detach"):
            copy.deepcopy(w * 2)
        self.assertIs(pickle.loads(pickle.dumps(ws.float16)), ws.float16)
        self.assertEqual(pickle.loads(pickle.dumps(ws.tensor([2, 1]).max(0))).indices.item(), 0)

    def test_conversions_and_properties(self):
        x = ws.tensor([[1.5, 0.0], [2.5, 1.0]])
        for name, dtype in (("double", ws.f64), ("float", ws.f32), ("half", ws.f16), ("bfloat16", ws.bf16), ("long", ws.i64),
                            ("int", ws.i32), ("short", ws.i16), ("bool", ws.bool)):
            self.assertIs(getattr(x, name)().dtype, dtype)
        self.assertEqual((x.mT.tolist(), x.T.tolist(), x.real.tolist()), ([[1.5, 2.5], [0.0, 1.0]],) * 2 + (x.tolist(),))
        self.assertEqual((x.element_size(), x.nelement(), x.is_floating_point(), x.long().is_floating_point()), (4, 4, True, False))
        self.assertEqual((x.size(), x.size(0), x.size(-1), x.stride(0), x.stride(-1)), ((2, 2), 2, 2, 2, 1))
        self.assertEqual((x.cpu().tolist(), x.type("float64").dtype, x.where(x > 1, 0).tolist()),
                         (x.tolist(), ws.float64, [[1.5, 0.0], [2.5, 0.0]]))
        named = [(np.float16, ws.f16), (np.dtype("int32"), ws.i32), ("float32", ws.f32), (float, ws.f64), (int, ws.i64),
                 (bool, ws.bool), (np.bool_, ws.bool), (np.complex64, ws.c64)]
        if torch := peers.optional("torch"):
            named += [(torch.bfloat16, ws.bf16), (torch.bool, ws.bool)]
        for dtype, ours in named:
            self.assertIs(ws.zeros(2, dtype=dtype).dtype, ours)
        for dtype in (np.uint16, "float31", 3, list):
            with self.assertRaises(TypeError):
                ws.zeros(2, dtype=dtype)


class Exchange(unittest.TestCase):
    def test_numpy_shares_memory(self):
        for dtype in (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_):
            x = np.ones((4, 6), dtype)[::2, ::-1]
            t = ws.from_dlpack(x)
            back = t.numpy()
            self.assertEqual(back.dtype, dtype)
            self.assertTrue(np.shares_memory(x, back))
            np.testing.assert_array_equal(back, x)
        t = ws.tensor([1.0, 2.0])
        view = t.numpy()
        del t
        view[0] = 5
        self.assertEqual(ws.from_numpy(view).tolist(), [5.0, 2.0])

    def test_dlpack_both_ways(self):
        t = ws.tensor([[1.0, 2.0], [3.0, 4.0]])
        x = np.from_dlpack(t)
        self.assertTrue(np.shares_memory(x, t.numpy()))
        self.assertEqual(t.__dlpack_device__(), (1, 0))
        np.testing.assert_array_equal(np.asarray(t), x)

    def test_torch_shares_memory(self):
        torch = peers.optional("torch")
        if not torch:
            self.skipTest("no PyTorch")
        for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
            x = torch.ones(3, 5).to(dtype).t()
            t = ws.from_dlpack(x)
            self.assertEqual((t.shape, t.stride(), t.data_ptr()), (tuple(x.shape), x.stride(), x.data_ptr()))
            self.assertTrue(torch.equal(torch.from_dlpack(t), x))

    def test_what_cannot_be_shared_says_why(self):
        x = np.ones(3, np.float32)
        x.flags.writeable = False
        with self.assertRaisesRegex(BufferError, "read-only"):
            ws.from_numpy(x)
        self.assertEqual(ws.tensor(x).tolist(), [1, 1, 1])
        self.assertEqual(ws.asarray(x).tolist(), [1, 1, 1])
        with self.assertRaisesRegex(TypeError, "cannot read list"):
            ws.from_dlpack([1])
        if torch := peers.optional("torch"):
            with self.assertRaisesRegex(BufferError, r"detach\(\) it"):
                ws.from_dlpack(torch.ones(3, requires_grad=True))
            self.assertEqual(ws.from_dlpack(torch.ones(3, requires_grad=True).detach()).tolist(), [1, 1, 1])

    def test_asarray(self):
        x = np.arange(3.0, dtype=np.float32)
        t = ws.asarray(x)
        self.assertTrue(np.shares_memory(x, t.numpy()))
        self.assertIs(ws.asarray(t), t)
        self.assertEqual((ws.asarray(x, dtype=ws.i64).dtype, ws.asarray([[1], [2]]).tolist()), (ws.i64, [[1], [2]]))

    def test_safetensors(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.safetensors")
            ws.save_safetensors({"a": ws.tensor([1.0, 2.0]), "b": ws.tensor([[1], [2]])}, path, {"note": "n"})
            read = ws.load_safetensors(path)
            self.assertEqual((read["a"].tolist(), read["b"].tolist()), ([1.0, 2.0], [[1], [2]]))
            self.assertEqual(ws.safetensors_metadata(path), {"note": "n"})
            read["a"] += 1  # the file stays as it is
            self.assertEqual(ws.load_safetensors(path, ["a"])["a"].tolist(), [1.0, 2.0])
            with self.assertRaises(OSError):
                ws.load_safetensors(os.path.join(folder, "absent"))
            with open(path, "wb") as f:
                f.write(b"broken")
            with self.assertRaises(ValueError):
                ws.load_safetensors(path)


class Operators(unittest.TestCase):
    def test_every_operator_is_there_with_documentation(self):
        named = {op["name"]: op for op in ws.operators()}
        self.assertGreater(len(named), 80)
        for name, op in named.items():
            function = getattr(ws, name)
            # Its text, with Python's names for the arguments.
            words = set(re.findall(r"\w+", op["doc"])) - set(re.findall(r"\w+", op["cpp"]))
            self.assertFalse(words - set(re.findall(r"\w+", function.__doc__)), name)

    def test_stub_is_python_and_names_them(self):
        with open(os.path.join(os.path.dirname(ws.__file__), "_core.pyi"), encoding="utf-8") as f:
            tree = ast.parse(f.read())
        names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.assertFalse({op["name"] for op in ws.operators()} - names)

    def test_out_keywords_lists_and_options(self):
        x, out = ws.tensor([1.0, 4.0]), ws.tensor([0.0, 0.0])
        self.assertIs(ws.sqrt(x, out=out), out)
        self.assertEqual(out.tolist(), [1.0, 2.0])
        self.assertEqual(ws.add(x, 1, alpha=2).tolist(), [3.0, 6.0])
        self.assertEqual(x.sum(dim=0).item(), 5)
        self.assertEqual(x.sum(-1, keepdim=True).shape, (1,))
        self.assertEqual([p.tolist() for p in ws.split(ws.cat([x, x]), 3)], [[1, 4, 1], [4]])
        values, places = ws.max(x, 0)
        self.assertEqual((values.item(), places.item()), (4, 1))
        m, v = ws.tensor([0.0, 0.0]), ws.tensor([0.0, 0.0])
        ws.adamw_(x, ws.tensor([1.0, 1.0]), m, v, None, lr=0.5)
        self.assertAlmostEqual(x.tolist()[0], 0.5, places=5)

    def test_arguments_have_pytorchs_names(self):
        x = ws.tensor([[1.0, 2.0], [3.0, 4.0]])
        for name in ("sum", "mean", "var", "std", "amax", "amin", "prod", "logsumexp", "argmax", "any", "all", "norm"):
            self.assertEqual(getattr(x, name)(dim=0, keepdim=True).shape, (1, 2), name)
            self.assertEqual(getattr(ws, name)(input=x, dim=1).shape, (2,), name)
        self.assertEqual(ws.cat(tensors=[x, x], dim=1).shape, (2, 4))
        self.assertEqual(ws.add(input=x, other=1, alpha=2).tolist(), (x + 2).tolist())
        self.assertEqual(ws.mm(input=x, mat2=x).tolist(), (x @ x).tolist())
        self.assertEqual(ws.addmm(input=x, mat1=x, mat2=x, beta=0).tolist(), (x @ x).tolist())
        self.assertEqual(ws.full(size=(2,), fill_value=3).tolist(), [3, 3])
        self.assertEqual(ws.where(condition=x > 2, input=x, other=0).tolist(), [[0, 0], [3, 4]])
        self.assertEqual(ws.pow(input=x, exponent=2).tolist(), (x * x).tolist())
        self.assertEqual(ws.clamp(input=x, min=2, max=3).tolist(), [[2, 2], [3, 3]])
        self.assertEqual(x.transpose(dim0=0, dim1=1).reshape(shape=(4,)).tolist(), [1, 3, 2, 4])
        self.assertEqual(ws.embedding(weight=x, indices=ws.tensor([1])).tolist(), [[3, 4]])
        self.assertEqual(x.exp().tolist(), ws.exp(input=x).tolist())
        self.assertEqual([p.shape for p in x.split(split_size=1, dim=0)], [(1, 2)] * 2)
        for call in (lambda: ws.add(x, x, 2), lambda: ws.dropout(x, 0.5, 1), lambda: ws.rand(2, 7.0), lambda: ws.exp(x=x)):
            with self.assertRaises(TypeError):
                call()

    def test_names_are_those_of_torch(self):
        torch = peers.optional("torch")
        if not torch:
            self.skipTest("no PyTorch")
        checked = 0
        for name in ("sum", "mean", "var", "gather", "scatter", "index_select", "topk", "sort", "cumsum", "bmm", "baddbmm", "lerp",
                     "addcmul", "flip", "roll", "masked_fill", "where", "clamp", "stack", "chunk", "narrow", "squeeze",
                     "unsqueeze", "flatten", "argmax", "quantile", "softmax", "layer_norm", "conv2d"):
            schemas = torch._C._jit_get_schemas_for_operator("aten::" + name)
            theirs = {"input" if a.name == "self" else a.name for schema in schemas for a in schema.arguments}
            ours = {argument for overload in getattr(ws, name).__nb_signature__
                    for argument in re.findall(r"(\w+): ", overload[0].partition("(")[2])}
            self.assertFalse(ours - theirs - {"dtype", "out"}, name)  # layer_norm has a dtype
            checked += len(ours)
        self.assertGreater(checked, 80)

    def test_sizes_as_arguments(self):
        x = ws.arange(12)
        self.assertEqual((x.view(4, 3).shape, x.reshape(-1, 2).shape, x.view(12).shape), ((4, 3), (6, 2), (12,)))
        self.assertEqual(x.view(4, 3).permute(1, 0).tolist(), x.view((4, 3)).t().tolist())
        self.assertEqual((x.expand(2, 12).shape, x.repeat(2, 2).shape, x.tile(2, 1).shape), ((2, 12), (2, 24), (2, 12)))
        self.assertEqual(x.view(2, 6).flip(0, 1).flatten().tolist(), x.flip(0).tolist())
        for make in (ws.zeros, ws.ones, ws.empty, ws.rand, ws.randn):
            self.assertEqual((make(2, 3).shape, make(2).shape, make((2, 3), dtype=ws.f64).dtype), ((2, 3), (2,), ws.f64))
            self.assertEqual(make(2, 3, 4, dtype=ws.float16).dtype, ws.float16)
        self.assertEqual(ws.zeros(2, 2).resize_(3, 1).shape, (3, 1))
        for leaf in (ws.zeros(2, 3, requires_grad=True), ws.rand((2,), requires_grad=True), ws.ones_like(x, dtype=ws.f32, requires_grad=True)):
            self.assertTrue(leaf.requires_grad and leaf.is_leaf)
        self.assertFalse(ws.ones(2).requires_grad)
        w = ws.ones(6, requires_grad=True)
        (w.view(2, 3) * 2).sum().backward()
        self.assertEqual(w.grad.tolist(), [2.0] * 6)

    def test_results_have_names(self):
        x = ws.tensor([[3.0, 1.0], [2.0, 4.0]])
        for name, arguments in (("max", (1,)), ("min", (1,)), ("sort", ()), ("topk", (1,)), ("kthvalue", (1,)), ("median", (1,)),
                                ("mode", ()), ("cummax", (0,)), ("cummin", (0,))):
            result = getattr(x, name)(*arguments)
            values, indices = result
            self.assertTrue(result.values is values and result.indices is indices, name)
            self.assertIsInstance(result, tuple)
            self.assertTrue(repr(result).startswith(f"wellspring.return_types.{name}(values="), repr(result))
        self.assertEqual((ws.aminmax(x).min.item(), ws.aminmax(x).max.item()), (1.0, 4.0))

    def test_scope_of_kernels(self):
        before = ws.kernels_chosen()
        with ws.kernels("exclude softmax"):
            self.assertIn("exclude softmax", ws.kernels_chosen())
            with self.assertRaises(ZeroDivisionError), ws.kernels("exclude add"):
                self.assertIn("add", ws.kernels_chosen())
                1 / 0
            self.assertNotIn("add", ws.kernels_chosen())
            self.assertAlmostEqual(ws.softmax(ws.tensor([0.0, 0.0]), 0).tolist()[0], 0.5)
        self.assertEqual(ws.kernels_chosen(), before)
        with self.assertRaisesRegex(RuntimeError, "softmax"), ws.kernels("exclude sofmax"):
            pass
        self.assertEqual(ws.kernels_chosen(), before)

    def test_threads_by_pytorchs_names(self):
        n = ws.get_num_threads()
        ws.set_num_threads(1)
        self.assertEqual(ws.get_num_threads(), 1)
        ws.set_num_threads(n)

    def test_einsum(self):
        rng = np.random.default_rng(0)
        for equation, *shapes in [("ij,jk->ik", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ij,jk", (2, 3), (3, 4)),
                                  ("ij->ji", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("i,j->ij", (2,), (3,)), ("i,i->", (3,), (3,)),
                                  ("ij,ij->ij", (2, 3), (2, 3)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
                                  ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
                                  ("iij,j->i", (2, 2, 3), (3,)), ("ab,cd->", (2, 3), (4, 5)), ("b...,c->...c", (2, 3, 4), (2,)),
                                  ("iijj->ij", (2, 2, 3, 3)), ("ij,kj->k", (2, 3), (1, 3)), ("ij,j->i", (0, 3), (3,)), ("...", (2, 3)),
                                  ("b i, i j -> b j", (2, 3), (3, 4)), ("ba,bc", (2, 3), (2, 4)), ("Ab,bA->bA", (2, 3), (3, 2))]:
            with self.subTest(equation):
                arrays = [rng.standard_normal(s) for s in shapes]
                ours = ws.einsum(equation, *map(ws.from_numpy, arrays))
                np.testing.assert_allclose(ours.numpy(), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12)
        if torch := peers.optional("torch"):
            a, b = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 4), (2, 4, 5)))
            mine, theirs = ws.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
            ws.einsum("bij,bjk->ik", mine, ws.from_numpy(b)).sum().backward()
            torch.einsum("bij,bjk->ik", theirs, torch.from_numpy(b)).sum().backward()
            np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-5)
        x = ws.ones(2, 3)
        for equation, operands in [("ij,jk->ik", (x,)), ("ijk", (x,)), ("ij->ik", (x,)), ("ij,jk->ik", (x, x)), ("ij->ii", (x,)),
                                   ("i1", (x,)), ("ii", (x,)), ("i.j", (x,)), ("ij", ()), ("i...jk", (x,))]:
            with self.assertRaises(RuntimeError, msg=equation):
                ws.einsum(equation, *operands)

    def test_norm_and_std(self):
        x = np.array([[3.0, -4.0], [0.0, 12.0]])
        t = ws.from_numpy(x)
        self.assertAlmostEqual(ws.norm(t).item(), 13.0)
        for p in (1, 2, 3, float("inf"), float("-inf"), 0):
            np.testing.assert_allclose(t.norm(p, dim=1).numpy(), np.linalg.norm(x, p, axis=1))
        np.testing.assert_allclose(ws.std(t, dim=0).numpy(), x.std(0, ddof=1))
        np.testing.assert_allclose(t.std(dim=0, correction=0).numpy(), x.std(0))
        with self.assertRaisesRegex(RuntimeError, "nuc"):
            ws.norm(t, "nuc")

    def test_a_type_checker_knows_them(self):
        program = """import wellspring as ws
x = ws.zeros(2, 3, dtype="float32")
y: ws.Tensor = (x.T @ x).sum(dim=0, keepdim=True).view(-1, 1)
v, i = x.max(1)
w: ws.Tensor = ws.sort(x).values + x.mT.float().mean()
n: int = x.size(0) + x.stride(0)
with ws.no_grad(), ws.kernels("exclude softmax"):
    z = x[x > 1] // 2 % 3
k: str = x.sum()
"""
        ast.parse(program)
        if not peers.optional("mypy"):
            return  # that the stub is Python is another test
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "program.py")
            with open(path, "w", encoding="utf-8") as f:
                f.write(program)
            done = subprocess.run([sys.executable, "-m", "mypy", "--no-incremental", "--cache-dir", folder, path], text=True,
                                  capture_output=True, env={**os.environ, "MYPYPATH": os.path.dirname(os.path.dirname(ws.__file__))})
            errors = [line for line in done.stdout.splitlines() if " error: " in line]
            self.assertEqual([line.partition(" error: ")[0].rpartition(".py:")[2] for line in errors], ["9:"], done.stdout)

    def test_seeds(self):
        ws.manual_seed(3)
        first, second = ws.rand(100).tolist(), ws.rand(100).tolist()
        ws.manual_seed(3)
        self.assertEqual(ws.rand(100).tolist(), first)
        self.assertNotEqual(first, second)
        self.assertEqual(ws.zeros((2, 3)).shape, (2, 3))
        self.assertEqual(ws.arange(3).tolist(), [0, 1, 2])

    def test_exceptions_as_pytorchs(self):
        a, b = ws.tensor([[1.0, 2.0, 3.0]]), ws.tensor([[1.0, 2.0]])
        with self.assertRaisesRegex(RuntimeError, r"\[1, 3\].*\[1, 2\]"):
            a + b
        with self.assertRaisesRegex(RuntimeError, r"\[1, 3\].*\[1, 2\]"):
            a @ b
        with self.assertRaisesRegex(IndexError, "dimension 2 is out of range"):
            a.sum(2)
        with self.assertRaisesRegex(IndexError, "outside the table"):
            ws.embedding(a, ws.tensor([1]))
        for call, said in ((lambda: a.to("cuda"), "unknown chip 'cuda'"), (lambda: a.to("opencl:7"), "opencl:7"),
                           (lambda: ws.zeros([1] * 9), "9 dimensions.* up to 8"), (lambda: a.view([1] * 9), "9 dimensions"),
                           (lambda: ws.tensor([1.0], requires_grad=True).add_(1), r"wellspring\.no_grad\(\)")):
            with self.assertRaisesRegex(RuntimeError, said):
                call()
        with self.assertRaisesRegex(RuntimeError, r"^gather of f32\[3\] by index i64\[1\]: index 7 is out of range") as told:
            ws.gather(ws.ones(3), 0, ws.tensor([7]))
        self.assertEqual(str(told.exception).count("gather of"), 1)
        with self.assertRaises(TypeError):
            ws.exp("text")
        for call in (lambda: ws.exp(None), lambda: a + None, lambda: ws.tensor(None), lambda: ws.cat([a, None])):
            with self.assertRaises(TypeError):
                call()
        self.assertFalse(a == None)  # noqa: E711


class Process(unittest.TestCase):
    def test_child_of_fork_computes(self):
        x = ws.from_numpy(np.ones((512, 512), np.float32))
        before = (x @ x).numpy().copy()
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal((x @ x).numpy(), before) else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_bits_do_not_depend_on_threads(self):
        x = ws.from_numpy(np.random.default_rng(0).standard_normal((300, 700), np.float32))
        results = []
        for n in (1, 2, 3):
            ws.set_num_threads(n)
            results.append((x @ x.T).softmax(-1).sum().item())
        self.assertEqual(len(set(results)), 1)

    def test_import_is_light(self):
        code = ("import time; rss=lambda: int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6; a=rss();"
                "t=time.perf_counter(); import wellspring; t=time.perf_counter()-t; print(t*1e3, rss()-a)")
        runs = [list(map(float, subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(ws.__file__))}).stdout.split()))
                for _ in range(5)]
        best, memory = min(r[0] for r in runs), min(r[1] for r in runs)
        print(f"note: import wellspring takes {best:.1f} ms and {memory:.1f} MB", file=sys.stderr)
        self.assertLess(best, 200)  # the goal is 50 ms on a machine that does nothing else
        self.assertLess(memory, 20)


if __name__ == "__main__":
    peers.main()
