#!/usr/bin/python3
"""Kernels inside PyTorch: results beside PyTorch's own, gradients, out=, strides, what is not taken, switches, fork
and spawn, the cost of a call."""
import os
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import peers

peers.need("torch", "numpy")
import torch
import torch.nn.functional as F
import torch.utils.checkpoint

import wellspring.torch as wt

TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (3e-2, 3e-2), torch.float64: (1e-9, 1e-9)}


def random(*shape, dtype=torch.float32, grad=False):
    return torch.randn(*shape).to(dtype).requires_grad_(grad)


def both(function, *inputs, dtype=torch.float32):
    """The results and gradients of function(*inputs) with our kernels and without, and what ran."""
    found = []
    for on in (True, False):
        leaves = [x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x for x in inputs]
        wt.reset()
        if on:
            wt.enable()
        try:
            result = function(*leaves)
            results = list(result) if isinstance(result, (tuple, list)) else [result]
            total = sum((r.float() * torch.linspace(0.5, 1, r.numel()).view(r.shape)).sum() for r in results
                        if r.requires_grad)
            if isinstance(total, torch.Tensor):
                total.backward()
                results += [x.grad for x in leaves if isinstance(x, torch.Tensor) and x.grad is not None]
            ran = wt.counts() if on else {}
        finally:
            wt.disable()
        found.append((results, ran))
    return found[0][0], found[1][0], found[0][1]


class Inside(unittest.TestCase):
    def same(self, function, *inputs, uses=(), dtype=torch.float32, atol=None):
        ours, theirs, ran = both(function, *inputs)
        self.assertEqual(len(ours), len(theirs))
        rtol, usual = TOLERANCES[dtype]
        atol = usual if atol is None else atol
        for a, b in zip(ours, theirs):
            self.assertEqual((a.dtype, a.shape, a.stride()), (b.dtype, b.shape, b.stride()))
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True)
        for name in uses:
            self.assertGreater(ran["aten::" + name]["ours"], 0, f"{name}: {ran.get('aten::' + name)}")

    def test_elementwise(self):
        for dtype in (torch.float32, torch.bfloat16):
            x, y = random(33, 65, dtype=dtype, grad=True), random(65, dtype=dtype, grad=True)
            self.same(lambda a, b: a + b, x, y, uses=["add.Tensor"], dtype=dtype)
            self.same(lambda a, b: a.sub(b, alpha=2), x, y, uses=["sub.Tensor"], dtype=dtype)
            self.same(lambda a, b: a * b / (b * b + 1), x, y, uses=["mul.Tensor", "div.Tensor"], dtype=dtype)
            self.same(lambda a: 0.5 * a * (1 + torch.tanh(a)), x, uses=["tanh", "tanh_backward"], dtype=dtype)
            for name in ("exp", "sigmoid", "tanh", "erf", "sin", "cos", "neg", "abs"):
                self.same(getattr(torch, name), x, uses=[name], dtype=dtype)
            self.same(lambda a: F.gelu(a), x, uses=["gelu", "gelu_backward"], dtype=dtype)
            self.same(lambda a: F.gelu(a, approximate="tanh"), x, uses=["gelu", "gelu_backward"], dtype=dtype)
            self.same(F.silu, x, uses=["silu", "silu_backward"], dtype=dtype)
            self.same(F.relu, x, uses=["relu", "threshold_backward"], dtype=dtype)
            self.same(lambda a: torch.where(a > 0, a, a * 2), x, uses=["where.self", "gt.Scalar"], dtype=dtype)

    def test_odd_values(self):
        odd = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -2.5, 1e-30, -1e-30,
               3e38, -3e38, 88.0, -88.0, 104.0, -104.0, 1e-45, 20.0, 4.0]
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.uint8, torch.bool):
            values = torch.tensor(odd) if dtype.is_floating_point else torch.tensor([0, 1, 2, 7, 100])
            for name in wt.operators():
                bare = name.removeprefix("aten::")
                if "." in bare or bare.endswith("_") or not hasattr(torch, bare):
                    continue
                function, x = getattr(torch, bare), values.to(dtype)
                try:
                    function(x)
                except (RuntimeError, TypeError):
                    continue  # it takes no such call
                with self.subTest(f"{bare} {dtype}"):
                    self.same(function, x, dtype=dtype if dtype in TOLERANCES else torch.float32)

    def test_products_in_f64(self):
        a, b, c = (random(*s, dtype=torch.float64, grad=True) for s in ((5, 7), (7, 6), (5, 6)))
        self.same(lambda a, b, c: torch.addmm(c, a, b @ torch.eye(6, dtype=torch.float64)), a, b, c, uses=["mm", "addmm"],
                  dtype=torch.float64)
        self.same(lambda a, b: torch.bmm(a[None], b[None]), a, b, uses=["bmm"], dtype=torch.float64)

    def test_strides_places_and_dtypes(self):
        x = random(4, 6, 8)
        self.same(lambda a: a.transpose(0, 2) * 2, x, uses=["mul.Tensor"])
        self.same(lambda a: a[:, ::2] + a[:, 1::2], x, uses=["add.Tensor"])
        self.same(lambda a: a.permute(1, 0, 2).exp(), x, uses=["exp"])
        self.same(lambda a: torch.exp(a, out=torch.empty(4, 6, 8)), x, uses=["exp.out"])
        self.same(lambda a: a.clone().add_(a, alpha=3).mul_(2), x, uses=["add_.Tensor", "mul_.Tensor"])
        self.same(lambda a: a.bfloat16() + a, x, uses=["add.Tensor"], dtype=torch.bfloat16)
        self.same(lambda a: a + torch.tensor(2.0, dtype=torch.float64), x, uses=["add.Tensor"])
        views = [random(5, 6, 7), random(7, 6, 5).transpose(0, 2), random(6, 5, 7).transpose(0, 1), random(1, 6, 1),
                 random(7, 1, 5).transpose(0, 2), random(5, 6, 9)[:, :, 1:8], random(7).expand(6, 7), random(5, 7, 6).transpose(1, 2),
                 random(5, 12, 7)[:, ::2], random(7, 5, 6).permute(1, 2, 0), random(5, 1, 1), random(5, 6, 1).expand(5, 6, 7)]
        for a in views:  # results lie in memory as PyTorch's
            for b in views:
                self.same(lambda a, b: [a + b, torch.where(a > 0, b, a)], a, b, uses=["add.Tensor", "where.self"])
            self.same(lambda a: [a * 2, a.neg(), a.masked_fill(a > 0, 1.0)], a, uses=["mul.Tensor", "neg", "masked_fill.Scalar"])
        i = torch.arange(12).view(3, 4)
        self.same(lambda a: a * 3 + a, i, uses=["mul.Tensor"])
        self.same(lambda a: a + 1.5, i)
        self.same(lambda a: a / 2, i)
        self.same(lambda a: (a > 3) & (a < 9), i, uses=["gt.Scalar"])
        self.same(lambda a: a.add_(1), x[0].clone().expand(3, 6, 8).contiguous())
        self.same(lambda: torch.tensor(3.0) * 2)
        self.same(lambda: torch.empty(0, 4) + 1)

    def test_products(self):
        for dtype in (torch.float32, torch.bfloat16):
            a, b = random(37, 65, dtype=dtype, grad=True), random(65, 29, dtype=dtype, grad=True)
            bias, full = random(29, dtype=dtype, grad=True), random(37, 29, dtype=dtype, grad=True)
            self.same(torch.mm, a, b, uses=["mm"], dtype=dtype)
            self.same(torch.addmm, bias, a, b, uses=["addmm"], dtype=dtype)
            self.same(torch.addmm, full, a, b, uses=["addmm"], dtype=dtype)
            self.same(lambda c, a, b: c.clone().addmm_(a, b), full, a, b, uses=["addmm_"], dtype=dtype)
            self.same(lambda x, w, c: F.linear(x, w.t(), c), a, b, bias, uses=["addmm"], dtype=dtype)
            x, y = random(3, 17, 9, dtype=dtype, grad=True), random(3, 9, 21, dtype=dtype, grad=True)
            self.same(torch.bmm, x, y, uses=["bmm"], dtype=dtype)
            self.same(lambda p, q: torch.baddbmm(torch.ones(3, 17, 21, dtype=dtype), p, q), x, y, uses=["baddbmm"], dtype=dtype)
        self.same(lambda a, b: torch.addmm(torch.ones(4), a, b, beta=0.5, alpha=2), random(3, 5), random(5, 4))
        with self.assertRaises(RuntimeError) as ours, wt.use():
            torch.mm(random(2, 3), random(4, 5))
        with self.assertRaises(RuntimeError) as theirs:
            torch.mm(random(2, 3), random(4, 5))
        self.assertEqual(str(ours.exception), str(theirs.exception))

    def test_normalisation_and_softmax(self):
        x, w, b = random(5, 7, 96, grad=True), random(96, grad=True), random(96, grad=True)
        self.same(lambda x, w, b: F.layer_norm(x, (96,), w, b), x, w, b,
                  uses=["native_layer_norm", "native_layer_norm_backward"])
        self.same(lambda x, w, b: F.layer_norm(x.bfloat16(), (96,), w.bfloat16(), b.bfloat16()), x, w, b,
                  uses=["native_layer_norm", "native_layer_norm_backward"], dtype=torch.bfloat16, atol=0.1)  # sums in bf16
        self.same(lambda x: F.layer_norm(x, (7, 96)), x, uses=["native_layer_norm", "native_layer_norm_backward"])
        self.same(lambda x, w: F.layer_norm(x, (96,), w), x, w, uses=["native_layer_norm", "native_layer_norm_backward"])
        for dim in (-1, 0, 1):
            self.same(lambda x: F.softmax(x, dim), x, uses=["_softmax", "_softmax_backward_data"])
            self.same(lambda x: F.log_softmax(x, dim), x, uses=["_log_softmax", "_log_softmax_backward_data"])
        self.same(lambda x: F.softmax(x.half().float(), -1, dtype=torch.float64), x, dtype=torch.float64)

    def test_rows_losses_and_reductions(self):
        table, ids = random(50, 24, grad=True), torch.randint(0, 50, (4, 9))
        self.same(lambda t, i: F.embedding(i, t, padding_idx=3), table, ids, uses=["embedding", "embedding_dense_backward"])
        self.same(lambda t, i: F.embedding(i, t.bfloat16(), padding_idx=3), table, ids, uses=["embedding_dense_backward"], dtype=torch.bfloat16)
        logits, target = random(20, 50, grad=True), torch.randint(0, 50, (20,))
        target[3] = -100
        for reduction in ("mean", "sum", "none"):
            uses = [] if reduction == "none" else ["nll_loss_forward", "nll_loss_backward"]
            self.same(lambda x, t: F.nll_loss(F.log_softmax(x, -1), t, reduction=reduction), logits, target, uses=uses)
        x = random(6, 7, 8, grad=True)
        self.same(lambda x: x.sum(), x, uses=["sum.dim_IntList"])
        self.same(lambda x: x.sum((0, 2), keepdim=True), x, uses=["sum.dim_IntList"])
        self.same(lambda x: x.mean(1), x, uses=["mean.dim"])
        self.same(lambda x: x.amax(-1), x, uses=["amax"])
        self.same(lambda x: torch.cat([x, x * 2], 1), x, uses=["cat"])
        images = random(2, 3, 4, 5)
        self.same(lambda i: torch.cat([i.transpose(1, 2)[..., 2:], i.transpose(1, 2)[..., :2]], -1), images, uses=["cat"])
        self.same(lambda i: torch.cat([i, i], 1), images.to(memory_format=torch.channels_last))
        self.same(lambda x: x.transpose(0, 1).contiguous(), x, uses=["copy_"])
        with self.assertRaises(IndexError), wt.use():
            F.embedding(torch.tensor([50]), table)

    def test_convolution(self):
        x, w, b = random(2, 8, 9, 10, grad=True), random(6, 8, 3, 3, grad=True), random(6, grad=True)
        uses = ["convolution", "convolution_backward"]
        self.same(lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), x, w, b, uses=uses)
        self.same(lambda x, w, b: F.conv_transpose2d(x, w.transpose(0, 1).contiguous(), b, stride=2, output_padding=1),
                  x, w, b, uses=uses)
        self.same(lambda x, w: F.conv2d(x, w[:, :1].repeat(4, 1, 1, 1)[:8], groups=8), x, w, uses=uses)
        self.same(lambda x, w, b: F.conv1d(x[:, :, 0].contiguous(), w[:, :, 0].contiguous(), b, dilation=2), x, w, b, uses=uses)
        last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
        self.same(F.conv2d, last, w, b)
        halves = [t.detach().bfloat16().requires_grad_() for t in (last, w, b)]
        self.same(F.conv2d, *halves, uses=uses, dtype=torch.bfloat16, atol=0.3)
        self.same(lambda x, w: F.conv2d(x, w.repeat(1, 1, 1, 1)[:, :4], groups=2), x, w)
        with self.assertRaises(RuntimeError) as ours, wt.use():
            F.conv2d(x, w[:, :5])
        with self.assertRaises(RuntimeError) as theirs:
            F.conv2d(x, w[:, :5])
        self.assertEqual(str(ours.exception), str(theirs.exception))

    def test_channels(self):
        x, w, b = random(3, 6, 5, 4, grad=True), random(6, grad=True), random(6, grad=True)
        uses = ["native_batch_norm", "native_batch_norm_backward"]
        for training in (True, False):
            norm = lambda x, w, b: [F.batch_norm(x, m := torch.zeros(6), v := torch.ones(6), w, b, training), m, v]
            self.same(norm, x, w, b, uses=uses)
            self.same(norm, x.detach(), w, b, uses=uses)
            self.same(lambda x: F.batch_norm(x, torch.full((6,), 0.5), torch.full((6,), 2.0), training=training), x, uses=uses)
            self.same(norm, random(30, 6, grad=True), w, b, uses=uses[:1])  # rows of one element
        self.same(lambda x: F.instance_norm(x), x, uses=uses)
        self.same(lambda x: torch.ops.aten._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5), x.detach(),
                  uses=["_native_batch_norm_legit.no_stats"])
        large = random(2, 3, 200, 200, grad=True)  # channels in parts
        self.same(lambda x: F.batch_norm(x, None, None, training=True), large, uses=uses)
        self.same(lambda x, w, b: F.group_norm(x, 3, w, b), x, w, b, uses=["native_group_norm", "native_group_norm_backward"])
        self.same(lambda x: F.group_norm(x, 2), x, uses=["native_group_norm", "native_group_norm_backward"])

    def test_images(self):
        """Means and the nearest element, both ways."""
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            x = random(2, 3, 7, 9, dtype=dtype, grad=True)
            for how in ({}, {"stride": 2, "padding": 1}, {"ceil_mode": True, "count_include_pad": False, "padding": 1},
                        {"divisor_override": 5}):
                self.same(lambda x: F.avg_pool2d(x, 3, **how), x, uses=["avg_pool2d", "avg_pool2d_backward"], dtype=dtype)
            self.same(lambda x: F.avg_pool1d(x[0], 2), x, uses=["avg_pool2d_backward"], dtype=dtype)
            uses = ["_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward"]
            self.same(lambda x: F.adaptive_avg_pool2d(x, (3, 4)), x, uses=uses, dtype=dtype)
            self.same(lambda x: F.adaptive_avg_pool2d(x[0], 2), x, uses=uses, dtype=dtype)
            for mode, name in (("nearest", "upsample_nearest"), ("nearest-exact", "_upsample_nearest_exact")):
                self.same(lambda x: F.interpolate(x, scale_factor=(2, 1.5), mode=mode), x, uses=[f"{name}2d", f"{name}2d_backward"], dtype=dtype)
                self.same(lambda x: F.interpolate(x, size=(3, 11), mode=mode), x, uses=[f"{name}2d_backward"], dtype=dtype)
                self.same(lambda x: F.interpolate(x[0], 20, mode=mode), x, uses=[f"{name}1d", f"{name}1d_backward"], dtype=dtype)
        x = random(2, 3, 7, 9, grad=True)
        for mode, name in (("reflect", "reflection_pad"), ("replicate", "replication_pad")):
            self.same(lambda x: F.pad(x, (2, 3, 1, 0), mode=mode), x, uses=[name + "2d"])
            self.same(lambda x: F.pad(x[0], (6, 5), mode=mode), x, uses=[name + "1d"])
        self.same(lambda x: F.avg_pool2d(x.to(memory_format=torch.channels_last), 3), x)
        with self.assertRaises(RuntimeError) as ours, wt.use():
            torch.ops.aten.avg_pool2d_backward(x, x, [2, 2], [2, 2], [0, 0], False, True, None)
        with self.assertRaises(RuntimeError) as theirs:
            torch.ops.aten.avg_pool2d_backward(x, x, [2, 2], [2, 2], [0, 0], False, True, None)
        self.assertEqual(str(ours.exception), str(theirs.exception))

    def test_transforms(self):
        for n in (1, 7, 30, 400, 512):
            x = random(4, 5, n, grad=True)
            self.same(lambda x: torch.view_as_real(torch.fft.rfft(x, norm="ortho")), x, uses=["_fft_r2c"], atol=1e-4)
            self.same(lambda x: torch.view_as_real(torch.fft.fft(x)), x, uses=["_fft_r2c"], atol=1e-3)
            c = random(4, 5, n, 2, grad=True)
            complex_of = lambda c: torch.view_as_complex(c)
            uses = [] if n == 1 else ["_fft_c2c"]
            self.same(lambda c: torch.view_as_real(torch.fft.fft(complex_of(c))), c, uses=uses, atol=1e-3)
            self.same(lambda c: torch.view_as_real(torch.fft.ifft(complex_of(c))), c, uses=uses)
            for length in {2 * n + 1, 1200}:
                self.same(lambda c: torch.fft.irfft(complex_of(c), n=length), c, uses=["_fft_c2r"], atol=1e-4)
        x = random(40, 6, 30)
        for dims in ((0,), (1, 2), (0, 1, 2)):  # not ours
            self.same(lambda x: torch.fft.rfftn(x, dim=dims), x)
            self.same(lambda x: torch.fft.fftn(torch.complex(x, -x), dim=dims), x, atol=1e-3)
        self.same(lambda x: torch.fft.rfft(x.double()), x, dtype=torch.float64)
        self.same(lambda x: torch.fft.rfft(x.transpose(0, 1)), x)
        self.same(lambda x: torch.stft(x.view(1, -1), 60, 20, window=torch.hann_window(60), return_complex=True), x, uses=["_fft_r2c"], atol=1e-4)

    def test_terms(self):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            x, w = random(3, 5, 4, dtype=dtype, grad=True), random(5, dtype=dtype, grad=True)
            self.same(F.prelu, x, w, uses=["_prelu_kernel", "_prelu_kernel_backward"], dtype=dtype)
            p, y = torch.rand(6, 7).to(dtype).requires_grad_(), torch.rand(6, 7).to(dtype)
            for reduction in ("mean", "sum", "none"):
                self.same(lambda p: F.binary_cross_entropy(p, y, reduction=reduction), p,
                          uses=["binary_cross_entropy_backward"] if reduction != "none" or dtype == torch.float32 else [], dtype=dtype)
            self.same(lambda p: F.binary_cross_entropy(p, y, weight=y), p, dtype=dtype)
            kept = torch.rand(6, 7) > 0.5
            self.same(lambda p: torch.ops.aten.native_dropout_backward(p, kept, 1.5), p.detach(), uses=["native_dropout_backward"], dtype=dtype)

    def test_indices_and_order(self):
        x, i = random(7, 9, grad=True), torch.tensor([[3, 0, 3], [1, 5, 6]])
        for dim in (0, 1):
            self.same(lambda x: x.gather(dim, i), x, uses=["gather", "scatter_add_"] if dim else ["gather"])
            self.same(lambda x: x.index_select(dim, i[0]), x, uses=["index_select"])
            self.same(lambda x: x.scatter_add(dim, i, torch.ones(2, 3)), x, uses=["scatter_add"])
            self.same(lambda x: x.cumsum(dim), x, uses=["cumsum"])
            self.same(lambda x: torch.sort(x, dim), x, uses=["sort.stable"])
            self.same(lambda x: x.topk(3, dim), x, uses=["topk"])
            self.same(lambda x: x.max(dim), x, uses=["max.dim"])
        self.same(lambda x: x[i], x, uses=["index.Tensor", "_index_put_impl_"])
        self.same(lambda x: x[x > 0], x, uses=["index.Tensor"])
        self.same(lambda x: x.clone().index_put((i[0],), torch.ones(9), accumulate=True), x, uses=["_index_put_impl_"])
        self.same(lambda x: F.max_pool2d(x[None, None], 3, 2), x,
                  uses=["max_pool2d_with_indices", "max_pool2d_with_indices_backward"])
        self.same(lambda x: F.pad(x, (1, 2), value=3), x, uses=["constant_pad_nd"])
        self.same(lambda x: x.pow(3) + x.pow(2) + x.clamp(max=0.5) + x.clamp(-1, 1), x, uses=["pow.Tensor_Scalar", "clamp"])
        self.same(lambda x: (x > 0) & (x < 1) | (x > 2), x, uses=["bitwise_and.Tensor", "bitwise_or.Tensor"])
        with self.assertRaises(IndexError), wt.use():
            x[torch.tensor([7])]

    def test_results_own_their_memory(self):
        x = torch.arange(6.0)
        with wt.use():
            same, sums = x.roll(0), x.cumsum(0)
        same[0] = 9
        self.assertEqual(x[0], 0)
        kept = sums[2:]
        del sums
        torch.randn(1000).cumsum(0)
        self.assertEqual(kept.tolist(), [3, 6, 10, 15])
        self.assertEqual(kept.clone().resize_(100).shape, (100,))
        self.assertEqual(x.cumsum(0).resize_(100)[:6].tolist(), [0, 1, 3, 6, 10, 15])

    def test_attention(self):
        for dtype in (torch.float32, torch.bfloat16):
            q, k, v = (random(2, 3, 70, 32, dtype=dtype, grad=True) for _ in range(3))
            uses = ["_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"]
            for causal in (False, True):
                self.same(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal), q, k, v, uses=uses, dtype=dtype)
            ends = torch.arange(70) < torch.tensor([[70], [41]])  # what padding hides
            later = torch.ones(70, 70, dtype=torch.bool).tril()
            both_ways = ends[:, None, None] & later
            for mask in (both_ways, torch.zeros(2, 1, 70, 70, dtype=dtype).masked_fill(~both_ways, -torch.inf), ends[:, None, None], ends[:, None, None].expand(2, 1, 70, 70), later, ends[:1, None, None] & later,
                         torch.zeros(2, 1, 1, 70, dtype=dtype).masked_fill(~ends[:, None, None], torch.finfo(dtype).min)):
                self.same(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), q, k, v, uses=uses, dtype=dtype)
            starts = (ends.flip(1)[:, None, None] & later) | torch.eye(70, dtype=torch.bool)  # ours know no such
            self.same(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=starts), q, k, v, dtype=dtype)
        mask = torch.randn(2, 1, 70, 70)
        self.same(lambda q, k, v: F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask), q, k, v, dtype=torch.bfloat16)

    def test_composites(self):
        logits, target = random(20, 50, grad=True), torch.randint(0, 50, (20,))
        target[3] = -100
        for reduction in ("mean", "sum"):
            loss = lambda x: F.cross_entropy(x, target, reduction=reduction)
            self.same(loss, logits, uses=["cross_entropy_loss"])
            self.same(lambda x: loss(x.bfloat16()), logits, uses=["cross_entropy_loss"], dtype=torch.bfloat16)
            self.same(lambda x: torch.func.grad(loss)(x) + torch.func.vmap(lambda row: loss(row.expand(20, 50)))(x)[:, None], logits)
            self.same(lambda x: (torch.autograd.grad(loss(x), x, create_graph=True)[0] ** 2).sum(), logits)
            self.same(lambda x: torch.utils.checkpoint.checkpoint(lambda y: loss(y * 2), x, use_reentrant=False), logits)
        for how in ({"label_smoothing": 0.1}, {"weight": torch.rand(50)}, {"reduction": "none"}):
            self.same(lambda x: F.cross_entropy(x, target, **how), logits)
        x, w = random(5, 7, 96, grad=True), random(96, grad=True)
        for eps in (1e-5, None):
            self.same(lambda x, w: F.rms_norm(x, (96,), w, eps), x, w, uses=["rms_norm"])
        halves = [t.detach().bfloat16().requires_grad_() for t in (x, w)]
        self.same(lambda x, w: F.rms_norm(x, (96,), w, 1e-5), *halves, uses=["rms_norm"], dtype=torch.bfloat16, atol=0.1)
        self.same(lambda x: F.rms_norm(x, (96,)), x)
        layer = torch.nn.Linear(5, 7)
        with wt.use():
            loss = F.cross_entropy(layer(random(3, 5)), torch.arange(3))
            twice = F.cross_entropy(layer(random(3, 5)), torch.arange(3))
            with self.assertRaises(IndexError):
                F.cross_entropy(logits, torch.full((20,), 50))
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(logits.detach(), torch.ones(20, 50))
                self.assertIsNotNone(torch.autograd.forward_ad.unpack_dual(F.cross_entropy(dual, target)).tangent)
        loss.backward()  # what was recorded outlives the switch
        self.assertGreater(layer.weight.grad.abs().sum(), 0)
        twice.backward()
        with self.assertRaisesRegex(RuntimeError, "second time"):
            twice.backward()

    def test_compiled(self):
        """Under torch.compile external calls are ours, and the loops its own."""
        class Small(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.n = torch.nn.Linear(24, 32), torch.nn.Linear(32, 32, bias=False), torch.nn.LayerNorm(32)

            def forward(self, x):
                y = F.gelu(self.a(x)).view(2, 9, 4, 8).transpose(1, 2)
                y = F.scaled_dot_product_attention(y, y, y).transpose(1, 2).reshape(2, 9, 32)
                return self.n(self.b(y) + 1).square().mean()

        model, x = Small(), random(2, 9, 24)
        expected = model(x)
        expected.backward()
        grads = [p.grad for p in model.parameters()]
        model.zero_grad()
        with wt.use():
            compiled = torch.compile(model)
            try:
                loss = compiled(x)
            except Exception as e:  # noqa: BLE001
                if "compiler" in str(e).lower():
                    self.skipTest("no C++ compiler for torch.compile")
                raise
            loss.backward()
            ran = wt.counts()
            table = wt.report()
        torch.testing.assert_close(loss, expected)
        for p, g in zip(model.parameters(), grads):
            torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)
        attention = "aten::_scaled_dot_product_flash_attention_for_cpu"
        for name in ("aten::mm.out", "aten::addmm.out", attention, attention + "_backward"):
            self.assertGreater(ran[name]["ours"], 0, name)
            self.assertEqual(ran[name]["pytorch"], 0, name)
        self.assertIn("loops, which stay its own", table)

    def test_adamw(self):
        def steps(*initial):
            layers = [torch.nn.Parameter(x.detach().clone()) for x in initial]
            optimizer = torch.optim.AdamW(layers, lr=1e-2, weight_decay=0.1, fused=True)
            for i in range(3):
                for p in layers:
                    p.grad = p.detach() * (i + 1)
                optimizer.step()
            return [p.detach() for p in layers]
        self.same(steps, random(30, 7), random(5), uses=["_fused_adamw_"])

    def test_not_taken_goes_to_pytorch(self):
        with wt.use():
            wt.reset()
            torch.ones(3, dtype=torch.complex64) + 1
            torch.mm(torch.ones(3, 3, dtype=torch.int64), torch.ones(3, 3, dtype=torch.int64))
            torch.ones(3, 3).to_sparse() * 2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such tensors are to go
                torch.relu(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8))
            ran = wt.counts()
        self.assertEqual(ran["aten::mul.Tensor SparseCPU"]["pytorch"], 1)
        self.assertEqual(ran["aten::relu QuantizedCPU"]["pytorch"], 1)
        self.assertEqual((ran["aten::add.Tensor"]["ours"], ran["aten::add.Tensor"]["pytorch"]), (0, 1))
        self.assertEqual((ran["aten::mm"]["ours"], ran["aten::mm"]["pytorch"]), (0, 1))
        with wt.use():
            class Marked(torch.Tensor):
                pass
            x = torch.ones(2).as_subclass(Marked)
            self.assertIsInstance(x + x, Marked)

    def test_second_derivatives_and_functorch(self):
        def second(x):
            y = (torch.tanh(x) * x.exp()).sum()
            (g,) = torch.autograd.grad(y, x, create_graph=True)
            return g
        self.same(second, random(9, grad=True))
        self.same(lambda x: torch.func.vmap(lambda row: (row @ row).tanh())(x), random(4, 5))


class Switches(unittest.TestCase):
    def tearDown(self):
        wt.disable()

    def ran(self, name):
        return wt.counts().get("aten::" + name, {"ours": 0})["ours"]

    def test_lists(self):
        x = random(4, 4)
        with wt.use(include=["mm"]):
            wt.reset()
            x.mm(x).exp()
            self.assertEqual((self.ran("mm"), self.ran("exp")), (1, 0))
            with wt.use(exclude=["mm"]):
                x.mm(x)
                self.assertEqual(self.ran("mm"), 1)
            x.mm(x)
            self.assertEqual(self.ran("mm"), 2)
        wt.enable(exclude=["softmax", "add*"])
        wt.reset()
        names = set(wt.counts())
        self.assertFalse({n for n in names if "softmax" in n and "log" not in n or n.startswith("aten::add")})
        self.assertIn("aten::mm", names)
        with self.assertRaisesRegex(ValueError, "did you mean 'softmax'"):
            wt.enable(include=["sofmax"])
        with self.assertRaises(TypeError):
            wt.enable(include="mm")

    def test_off_is_off(self):
        before = {n: torch._C._dispatch_dump(n) for n in wt.operators()}
        wt.enable()
        self.assertNotEqual(torch._C._dispatch_dump("aten::mm"), before["aten::mm"])
        wt.disable()
        self.assertEqual({n: torch._C._dispatch_dump(n) for n in before}, before)
        wt.reset()
        torch.ones(4, 4).mm(torch.ones(4, 4)).exp()
        self.assertEqual(wt.counts(), {})
        self.assertNotIn(wt.VARIABLE, os.environ)

    def test_scopes_nest(self):
        x = random(4, 4)
        wt.reset()
        wt.enable(exclude=["exp"], random=True)
        with wt.use(exclude=["softmax"]):
            x.exp(), x.softmax(-1), x.mm(x), torch.empty(9).uniform_()
        self.assertEqual([self.ran(n) for n in ("exp", "_softmax", "mm", "uniform_")], [0, 0, 1, 1])
        self.assertIn("excluded: exp", wt.report())
        wt.disable()
        self.assertEqual(self.ran("mm"), 1)  # what ran is still known
        self.assertIn("aten::mm", wt.report())
        wt.reset()
        self.assertTrue(wt.report().startswith("no operator of ours was called"))

    def test_names_that_users_write(self):
        x, y = random(1, 2, 8, 8), random(2, 8)
        calls = {"matmul": lambda: y @ y.t(), "linear": lambda: F.linear(y, y), "aten::softmax": lambda: y.softmax(-1),
                 "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(x, x, x),
                 "max_pool2d": lambda: F.max_pool2d(x, 2), "conv2d": lambda: F.conv2d(x, random(2, 2, 3, 3)),
                 "cross_entropy": lambda: F.cross_entropy(y, torch.tensor([1, 2])), "interpolate": lambda: F.interpolate(x, scale_factor=2)}
        for name, call in calls.items():
            wt.reset()
            with wt.use(include=[name]):
                call()
            self.assertGreater(sum(c["ours"] for c in wt.counts().values()), 0, name)
        with self.assertRaisesRegex(ValueError, r"no operator 'lstm'; wellspring.torch.operators\(\) lists them"):
            wt.enable(include=["lstm"])

    def test_seeds_reach_random_operators(self):
        def draws():
            torch.manual_seed(7)
            first = torch.empty(4).uniform_()
            with wt.use(exclude=["softmax"]):  # begins no sequence anew
                return first, torch.empty(4).uniform_()
        seeding = torch.manual_seed
        wt.enable(random=True)
        (a, b), (c, d) = draws(), draws()
        self.assertTrue(torch.equal(a, c) and torch.equal(b, d) and not torch.equal(a, b))
        self.assertEqual(self.ran("uniform_"), 4)
        wt.disable()
        self.assertIs(torch.manual_seed, seeding)

    SCRIPT = """
import sys, torch, wellspring.torch as wt
torch.manual_seed(0)
x = torch.randn(8, 8)
wt.enable()
y = (torch.nn.functional.layer_norm(x, [8], torch.ones(8), torch.zeros(8)) @ x).softmax(-1) + x.sum()
y += 1
print(wt.counts()["aten::_softmax"]["ours"], wt.counts()["aten::_softmax"]["pytorch"], y.sum().item())
"""

    def script(self, **environment):
        return subprocess.run([sys.executable, "-c", self.SCRIPT], capture_output=True, text=True, env={
            **os.environ, "PYTHONPATH": os.path.join(peers.BUILD, "python"), **environment})

    def test_switches_from_outside(self):
        import json
        plain, hits = self.script(), self.script(WELLSPRING_HITS="json", WELLSPRING_SHADOW="2")
        self.assertTrue(plain.stdout.startswith("1 0 "), plain.stderr)
        seen = json.loads(hits.stderr[hits.stderr.index("{"):])
        kernels = {k["kernel"] for k in seen["hits"]}
        self.assertTrue({"softmax", "layer_norm", "matmul", "add"} <= kernels, kernels)
        self.assertTrue({"softmax", "layer_norm", "matmul"} <= {k["kernel"] for k in seen["shadow"]}, seen["shadow"])
        without = self.script(WELLSPRING_KERNELS="exclude softmax add")
        self.assertTrue(without.stdout.startswith("0 1 "), without.stderr)  # the call is PyTorch's
        self.assertAlmostEqual(float(without.stdout.split()[2]), float(plain.stdout.split()[2]), places=3)
        wrong = self.script(WELLSPRING_KERNELS="exclude sofmax")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("softmax", wrong.stderr.splitlines()[-1])

    def test_bisect_finds_the_operator(self):
        with tempfile.TemporaryDirectory() as folder:
            script, out = os.path.join(folder, "script.py"), os.path.join(folder, "softmax")
            with open(script, "w") as f:
                f.write(self.SCRIPT + f"open({out!r}, 'w').write(str(wt.counts()['aten::_softmax']['ours']))")
            done = subprocess.run(
                [os.path.join(peers.BUILD, "bin", "wellspring"), "ops", "bisect", "--no-shapes", "--json", "--test",
                 f"grep -q 0 {out}", "--", sys.executable, script], capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": os.path.join(peers.BUILD, "python")})
        self.assertIn("cpu:softmax", done.stdout, done.stderr)
        self.assertNotIn("cpu:layer_norm", done.stdout)

    def test_random_only_when_asked(self):
        def draw():
            torch.manual_seed(5)
            return F.dropout(torch.ones(100000), 0.3), torch.empty(100000).normal_(1, 2), torch.empty(1000).uniform_(2, 3)
        theirs = draw()
        with wt.use():
            for a, b in zip(draw(), theirs):
                self.assertTrue(torch.equal(a, b))
        with wt.use(random=True):
            first = draw()
            self.assertEqual(self.ran("bernoulli_.float"), 1)
        with wt.use(random=True):
            for a, b in zip(draw(), first):
                self.assertTrue(torch.equal(a, b))
        dropped, normal, uniform = first
        self.assertAlmostEqual((dropped == 0).float().mean().item(), 0.3, delta=0.01)
        self.assertAlmostEqual(dropped.max().item(), 1 / 0.7, places=5)
        self.assertAlmostEqual(normal.mean().item(), 1, delta=0.05)
        self.assertAlmostEqual(normal.std().item(), 2, delta=0.05)
        self.assertTrue(2 <= uniform.min() and uniform.max() <= 3 and uniform.std() > 0.2)

    def test_random(self):
        """Each overload draws of ours what it says: mean and deviation, and what may not be drawn."""
        n, e = 40000, torch.empty
        p = torch.linspace(0, 1, n)
        cases = {
            "log_normal_": (lambda: e(n).log_normal_(0, 0.25).log(), 0, 0.25),
            "cauchy_": (lambda: (e(n).cauchy_(1, 2) < 3).float(), 0.75, 0.433),
            "exponential_": (lambda: e(n).exponential_(2), 0.5, 0.5),
            "geometric_": (lambda: e(n, dtype=torch.int64).geometric_(0.25), 4, 3.464),
            "bernoulli_.float": (lambda: e(200, 400)[:, ::2].bernoulli_(0.2), 0.2, 0.4),
            "bernoulli_.Tensor": (lambda: torch.bernoulli(p), 0.5, 0.5),
            "random_": (lambda: e(n, dtype=torch.uint8).random_(), 127.5, 73.9),
            "random_.to": (lambda: e(n).random_(11), 5, 3.162),
            "random_.from": (lambda: torch.randint(-3, 4, (n,)), 0, 2),
            "normal.Tensor_Tensor": (lambda: torch.normal(torch.full((n,), 3.0), torch.full((n,), 2.0)), 3, 2),
            "normal.Tensor_float": (lambda: torch.normal(torch.full((n,), 3.0), 2.0), 3, 2),
            "normal.float_Tensor": (lambda: torch.normal(3.0, torch.full((n,), 2.0)), 3, 2),
            "multinomial": (lambda: torch.multinomial(torch.tensor([1.0, 0, 3, 0]), n, True), 1.5, 0.866),
            "native_dropout": (lambda: torch.native_dropout(torch.ones(n), 0.2, True)[0], 1, 0.5)}
        for name, (draw, mean, deviation) in cases.items():
            with self.subTest(name), wt.use(random=True):
                wt.reset()
                x = draw().double()
                self.assertEqual(self.ran(name), 1)
                self.assertAlmostEqual(x.mean().item(), mean, delta=0.03 * max(1, deviation))
                self.assertAlmostEqual(x.std().item(), deviation, delta=0.03 * max(1, deviation))
                self.assertFalse(torch.equal(x, draw().double()))
        with wt.use(random=True):
            for dtype, most in ((torch.float16, 2048), (torch.bfloat16, 256), (torch.int8, 127), (torch.bool, 1)):
                x = e(n, dtype=dtype).random_().double()
                self.assertTrue(0 <= x.min() < most / 50 + 1 and most * 0.98 - 1 < x.max() <= most, dtype)
            self.assertLess(e(n, dtype=torch.int64).random_(-5, None).min(), 1 << 55)
            wt.reset()
            self.assertEqual(e(3).uniform_(generator=torch.Generator().manual_seed(1)).tolist(),
                             torch.rand(3, generator=torch.Generator().manual_seed(1)).tolist())
            self.assertEqual(self.ran("uniform_"), 0)
            dropped, kept = torch.native_dropout(torch.ones(1000), 0.5, True)
            self.assertTrue(torch.equal(dropped != 0, kept))
            rows = torch.multinomial(torch.rand(50, 20), 20)
            self.assertTrue(torch.equal(rows.sort(1)[0], torch.arange(20).expand(50, 20)))
            for bad in (lambda: e(3).exponential_(-1), lambda: e(3).geometric_(2), lambda: torch.multinomial(torch.tensor([-1.0, 2]), 1),
                        lambda: torch.normal(0.0, torch.tensor([-1.0])), lambda: torch.bernoulli(torch.tensor([2.0])),
                        lambda: e(3).random_(5, 2)):
                with self.assertRaises(RuntimeError):
                    bad()

    def test_report(self):
        with wt.use():
            wt.timing(True)
            wt.reset()
            random(64, 64).mm(random(64, 64))
            wt.timing(False)
            self.assertGreater(wt.counts()["aten::mm"]["seconds"], 0)
            import json
            table = json.loads(wt.report(as_json=True))
            self.assertEqual(table["operators"]["aten::mm"]["ours"], 1)
            self.assertEqual(table["shapes"]["aten::mm"]["f32[64, 64], f32[64, 64]"]["ours"], 1)
            self.assertIn("f32[64, 64], f32[64, 64]", wt.report())
            self.assertIn("matmul", [k["kernel"] for k in table["kernels"]])

    def test_fork_and_spawn(self):
        wt.enable(include=["mm"])
        x = random(64, 64)
        expected = x.mm(x)
        child = os.fork()
        if child == 0:
            wt.reset()
            os._exit(0 if torch.equal(x.mm(x), expected) and self.ran("mm") == 1 else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        code = ("import torch, wellspring.torch as wt; x = torch.ones(4, 4); x.mm(x); x.exp();"
                "print({n: c['ours'] for n, c in wt.counts().items()})")
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                             env={**os.environ, "PYTHONPATH": os.path.join(peers.BUILD, "python")}).stdout
        self.assertIn("'aten::mm': 1", out)

    def test_threads_follow_pytorch(self):
        import wellspring
        before = torch.get_num_threads()
        try:
            with wt.use():
                for n in (1, 2):
                    torch.set_num_threads(n)
                    random(64, 64).mm(random(64, 64))
                    self.assertEqual(wellspring.get_num_threads(), n)
        finally:
            torch.set_num_threads(before)

    def test_cost_of_a_call(self):
        x, out, zero = torch.ones(1), torch.empty(1), torch.zeros(1, dtype=torch.int64)
        wide = torch.ones(1, 1).expand(2, 2)
        weight = torch.ones(1, 1, 1)
        cases = {"add": lambda: torch.add(x, x), "exp": lambda: torch.exp(x), "out": lambda: torch.add(x, x, out=out),
                 "clamp": lambda: x.clamp(0, 1), "pow": lambda: x.pow(2), "cumsum": lambda: x.cumsum(0),
                 "max": lambda: x.max(), "gather": lambda: x.gather(0, zero), "index": lambda: x[zero],
                 "sort": lambda: x.sort(), "conv1d": lambda: F.conv1d(x.view(1, 1, 1), weight), "flip": lambda: x.flip(0),
                 "not taken": lambda: wide.cumsum(0)}
        def cost(f, n=2000):
            times = []
            for _ in range(15):
                begin = time.thread_time()
                for _ in range(n):
                    f()
                times.append((time.thread_time() - begin) / n)
            return min(times)
        for name, f in cases.items():
            for _ in range(4):  # whoever else runs here may disturb one
                theirs = cost(f)
                with wt.use():
                    ours = cost(f)
                if ours - theirs < 2e-6:
                    break
            print(f"note: {name} of one element: {ours * 1e6:.2f} us, PyTorch's own {theirs * 1e6:.2f} us", file=sys.stderr)
            self.assertLess(ours - theirs, 4e-6)  # the goal is 2 us on a machine that does nothing else


if __name__ == "__main__":
    peers.main()
