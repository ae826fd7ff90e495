#!/usr/bin/env python3
"""What PyTorch says: writes golden.json, which ops/golden_test.cpp holds the operators to.

.cache/peers/venv/bin/python ops/testdata/make_golden.py > ops/testdata/golden.json

Inputs are f64 with few digits; results and gradients (of the results' sum, weighted by 1, 2, 3, ...) are
f64, too. A case's name is that of its counterpart in golden_test.cpp.
"""

import json

import torch
import torch.nn.functional as F

torch.manual_seed(7)
A = torch.ops.aten
CASES = []


def rand(*shape, low=-2.0, high=2.0, grad=True):
    t = (torch.rand(*shape, dtype=torch.float64) * (high - low) + low).mul(1000).round().div(1000)
    return t.requires_grad_(grad)


def fixed(*values):
    return torch.tensor(values, dtype=torch.float64)


def ids(*values):
    return torch.tensor(values, dtype=torch.int64)


def numbers(t):
    if t._is_zerotensor():
        t = torch.zeros(t.shape, dtype=t.dtype)
    return [float(f"{v:.12g}") if t.is_floating_point() else int(v) for v in t.detach().reshape(-1).tolist()]


def described(t):
    if t is None:
        return None
    kind = "bool" if t.dtype == torch.bool else "f64" if t.is_floating_point() else "i64"
    return {"shape": list(t.shape), "dtype": kind,
            "data": ["nan" if v != v else "inf" if v == float("inf") else "-inf" if v == -float("inf") else v
                     for v in numbers(t)]}


def case(name, inputs, f):
    outs = f(*inputs)
    outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
    outs = [torch.view_as_real(o) if o.is_complex() else o for o in outs]
    total = sum((o * torch.arange(1, o.numel() + 1, dtype=o.dtype).reshape(o.shape)).sum()
                for o in outs if o.requires_grad)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    grads = {}
    if wanted and torch.is_tensor(total):
        try:
            found = torch.autograd.grad(total, wanted, allow_unused=True)
        except RuntimeError as e:  # an operator without a derivative
            assert "not implemented" in str(e), e
            found = [None] * len(wanted)
        grads = {i: described(g) for i, t in enumerate(inputs) if t is not None and t.requires_grad
                 for w, g in zip(wanted, found) if w is t and g is not None}
    CASES.append({"name": name, "in": [described(t) for t in inputs], "out": [described(o) for o in outs],
                  "grad": [grads.get(i) for i in range(len(inputs))]})


ODD = fixed(float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 1.0, -1.0, 30.0)
OTHER = fixed(1.0, 2.0, float("nan"), -2.0, 3.0, 0.0, 2.5, float("inf"), -0.7, -1.0, -1.0, 7.0)

for name, f in {
        "mish": F.mish, "selu": F.selu, "celu": lambda x: F.celu(x, 1.3), "softsign": F.softsign,
        "softshrink": F.softshrink, "hardshrink": F.hardshrink, "tanhshrink": F.tanhshrink,
        "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "hardtanh": lambda x: F.hardtanh(x, -0.4, 0.9),
        "relu6": F.relu6, "log_sigmoid": F.logsigmoid, "threshold": lambda x: F.threshold(x, 0.1, 20.0),
        "softplus": lambda x: F.softplus(x, 2.0, 3.0), "elu": lambda x: A.elu(x, 1.5, 2.0, 0.5),
        "frac": torch.frac, "sinc": torch.sinc, "erfc": torch.erfc, "sgn": torch.sgn, "asinh": torch.asinh,
        "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh, "tan": torch.tan,
        "nan_to_num": torch.nan_to_num, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
        "deg2rad": torch.deg2rad}.items():
    case(name, [rand(3, 7)], f)
    case(name, [ODD], f)
for name, f in {"asin": torch.asin, "acos": torch.acos, "atanh": torch.atanh, "erfinv": torch.erfinv}.items():
    case(name, [rand(3, 7, low=-0.9, high=0.9)], f)
    case(name, [ODD], f)
case("acosh", [rand(3, 7, low=1.1, high=9)], torch.acosh)
case("lgamma", [rand(3, 7, low=0.1, high=9)], torch.lgamma)
case("digamma", [fixed(-2.5, -0.1, 0.0, -0.0, -3.0, 0.5, 1.0, 1.46163, 20.0, float("inf"), float("nan"))],
     torch.digamma)
case("logit", [rand(3, 7, low=0.1, high=0.9)], torch.logit)
case("logit eps", [rand(3, 7, low=0.0, high=1.0)], lambda x: torch.logit(x, 0.2))
case("entr", [rand(3, 7, low=0.1, high=2)], torch.special.entr)
for name, f in {
        "fmod": torch.fmod, "remainder": torch.remainder, "floor_divide": torch.floor_divide,
        "copysign": torch.copysign, "fmax": torch.fmax, "fmin": torch.fmin, "heaviside": torch.heaviside,
        "hypot": torch.hypot, "atan2": torch.atan2, "logaddexp": torch.logaddexp, "logaddexp2": torch.logaddexp2,
        "xlogy": torch.xlogy, "ldexp": torch.ldexp, "rsub": lambda x, y: torch.rsub(x, y, alpha=2),
        "isclose": lambda x, y: torch.isclose(x, y, 0.1, 0.2, True)}.items():
    if name not in ("xlogy",):
        case(name, [rand(3, 7), rand(7)], f)
    else:
        case(name, [rand(3, 7), rand(7, low=0.1, high=3)], f)
    case(name, [ODD, OTHER], f)
I, J = ids(7, -7, 12, 0, -1, 100, -128, 5), ids(2, 3, -5, 7, -1, 1, 3, -2)
for name, f in {"fmod": torch.fmod, "remainder": torch.remainder, "floor_divide": torch.floor_divide,
                "gcd": torch.gcd, "lcm": torch.lcm, "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or,
                "bitwise_xor": torch.bitwise_xor, "div trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
                "div floor": lambda x, y: torch.div(x, y, rounding_mode="floor")}.items():
    case(name, [I, J], f)
SHIFTS = ids(0, 1, 63, 64, -1, 3, 2, 70)
case("bitwise_left_shift", [I, SHIFTS], torch.bitwise_left_shift)
case("bitwise_right_shift", [I, SHIFTS], torch.bitwise_right_shift)
case("bitwise_not", [I], torch.bitwise_not)
case("bitwise_not", [I > 3], torch.bitwise_not)

for dims in ([0], [1], [0, 2], []):
    tag = " ".join(map(str, dims)) or "all"
    for p in (2.0, 1.0, 0.0, float("inf"), -float("inf"), 3.0, -1.5):
        case(f"vector_norm {p:g} {tag}", [rand(3, 4, 5)],
             lambda x: torch.linalg.vector_norm(x, p, dims or None, len(dims) == 2))
    case(f"var_mean {tag}", [rand(3, 4, 5)], lambda x: torch.var_mean(x, dims or None, correction=1))
    case(f"std_mean {tag}", [rand(3, 4, 5)], lambda x: torch.std_mean(x, dims or None, correction=0))
    case(f"logsumexp {tag}", [rand(3, 4, 5)], lambda x: torch.logsumexp(x, dims or [0, 1, 2]))
case("vector_norm of zeros", [torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)],
     lambda x: torch.linalg.vector_norm(x, 2, 1))
case("max", [rand(3, 4)], torch.max)
case("logsumexp 0 of -inf", [fixed(-float("inf"), -float("inf"))], lambda x: torch.logsumexp(x, 0))

case("addmm", [rand(2, 4), rand(2, 3), rand(3, 4)], lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=-2))
case("addmm", [rand(4), rand(2, 3), rand(3, 4)], lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=-2))
case("addmm bias", [rand(4), rand(2, 3), rand(3, 4)], torch.addmm)
case("baddbmm", [rand(2, 1, 4), rand(2, 2, 3), rand(2, 3, 4)],
     lambda c, a, b: torch.baddbmm(c, a, b, beta=0.5, alpha=-2))
case("addmv", [rand(2), rand(2, 3), rand(3)], lambda c, a, b: torch.addmv(c, a, b, beta=0.5, alpha=-2))

case("layer_norm 2", [rand(2, 3, 4), rand(3, 4), rand(3, 4)], lambda x, w, b: F.layer_norm(x, (3, 4), w, b, 1e-3))
case("layer_norm 2", [rand(2, 3, 4), None, None], lambda x, w, b: F.layer_norm(x, (3, 4), w, b, 1e-3))
case("native_layer_norm", [rand(2, 3, 4), rand(4), rand(4)],
     lambda x, w, b: [t if i == 0 else t.detach() for i, t in enumerate(torch.native_layer_norm(x, (4,), w, b, 1e-3))])
case("rms_norm", [rand(2, 3, 4), rand(3, 4)], lambda x, w: F.rms_norm(x, (3, 4), w))
case("group_norm", [rand(2, 6, 3, 2), rand(6), rand(6)], lambda x, w, b: F.group_norm(x, 3, w, b, 1e-3))
case("group_norm", [rand(2, 6, 5), None, None], lambda x, w, b: F.group_norm(x, 3, w, b, 1e-3))
case("native_group_norm", [rand(2, 6, 3), rand(6), rand(6)],
     lambda x, w, b: [t if i == 0 else t.detach()
                      for i, t in enumerate(torch.native_group_norm(x, w, b, 2, 6, 3, 2, 1e-3))])
case("instance_norm", [rand(2, 3, 5), rand(3), rand(3)], lambda x, w, b: F.instance_norm(x, None, None, w, b, eps=1e-3))


def batch_norm(training):
    def run(x, w, b, m, v):
        m, v = m.detach().clone(), v.detach().clone()
        return [F.batch_norm(x, m, v, w, b, training, 0.3, 1e-3), m, v]
    return run


for training in (True, False):
    case(f"batch_norm {'training' if training else 'running'}",
         [rand(3, 4, 5), rand(4), rand(4), rand(4, grad=False), rand(4, low=0.5, high=2, grad=False)],
         batch_norm(training))

WEIGHT = rand(5, low=0.2, high=2, grad=False)
for reduction in ("none", "mean", "sum"):
    for weight in (None, WEIGHT):
        for x, t in ((rand(4, 5), ids(1, 4, -1, 0)), (rand(5), torch.tensor(3)), (rand(2, 5, 3), ids(0, 1, 2, 4, -1, 3).reshape(2, 3))):
            case(f"nll_loss_nd {reduction}", [x, t, weight],
                 lambda x, t, w: A.nll_loss_nd(x, t, w, ["none", "mean", "sum"].index(reduction), -1))
            for smoothing in (0.0, 0.3):
                case(f"cross_entropy_loss {reduction} {smoothing:g}", [x, t, weight],
                     lambda x, t, w: F.cross_entropy(x, t, w, ignore_index=-1, reduction=reduction, label_smoothing=smoothing))
        case(f"cross_entropy_loss {reduction} 0.3", [rand(4, 5, 2), rand(4, 5, 2, low=0, high=1), weight],
             lambda x, t, w: F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=0.3))
    xy = [rand(3, 4), rand(3, 4)]
    case(f"mse_loss {reduction}", xy, lambda x, y: F.mse_loss(x, y, reduction=reduction))
    case(f"l1_loss {reduction}", xy, lambda x, y: F.l1_loss(x, y, reduction=reduction))
    case(f"huber_loss {reduction}", xy, lambda x, y: F.huber_loss(x, y, reduction=reduction, delta=0.7))
    case(f"smooth_l1_loss {reduction}", xy, lambda x, y: F.smooth_l1_loss(x, y, reduction=reduction, beta=0.7))
    case(f"smooth_l1_loss 0 {reduction}", xy, lambda x, y: F.smooth_l1_loss(x, y, reduction=reduction, beta=0.0))
    case(f"soft_margin_loss {reduction}", [xy[0], fixed(1.0, -1.0, 1.0, -1.0)], lambda x, y: F.soft_margin_loss(x, y.expand(3, 4), reduction=reduction))
    case(f"binary_cross_entropy {reduction}", [rand(3, 4, low=0, high=1), rand(3, 4, low=0, high=1), rand(4, grad=False)],
         lambda x, y, w: F.binary_cross_entropy(x, y, w, reduction=reduction))
    case(f"binary_cross_entropy_with_logits {reduction}",
         [rand(3, 4), rand(3, 4, low=0, high=1), rand(4, grad=False), rand(4, low=0.5, high=2, grad=False)],
         lambda x, y, w, p: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=p, reduction=reduction))
    for log_target in (False, True):
        case(f"kl_div {reduction} {int(log_target)}", [rand(3, 4), rand(3, 4, low=0.1, high=1)],
             lambda x, y: F.kl_div(x, y, reduction=reduction, log_target=log_target))
    case(f"margin_ranking_loss {reduction}", [*xy, fixed(1.0, -1.0, -1.0, 1.0)],
         lambda x, y, t: F.margin_ranking_loss(x, y, t.expand(3, 4), 0.3, reduction=reduction))
case("kl_div batchmean 0", [rand(3, 4), rand(3, 4, low=0.1, high=1)], lambda x, y: F.kl_div(x, y, reduction="batchmean"))
case("binary_cross_entropy none", [fixed(0.0, 1.0, 0.0, 1.0), fixed(0.0, 1.0, 1.0, 0.3), fixed(1.0, 1.0, 1.0, 1.0)],
     lambda x, y, w: F.binary_cross_entropy(x, y, w, reduction="none"))

case("prelu", [rand(2, 3, 4), rand(3)], F.prelu)
case("glu", [rand(2, 6, 4)], lambda x: F.glu(x, 1))
case("gelu_and_mul", [rand(3, 4), rand(3, 4)], lambda x, y: F.gelu(x) * y)
case("silu_and_mul", [rand(3, 4), rand(3, 4)], lambda x, y: F.silu(x) * y)

for size in ([7], [4], [10], [3]):
    case(f"upsample_nearest1d {size[0]}", [rand(2, 2, 5)], lambda x: A.upsample_nearest1d(x, size, None))
    case(f"upsample_nearest_exact1d {size[0]}", [rand(2, 2, 5)], lambda x: A._upsample_nearest_exact1d(x, size, None))
case("upsample_nearest2d scales", [rand(1, 2, 4, 5)],
     lambda x: F.interpolate(x, scale_factor=(1.7, 2.3), mode="nearest", recompute_scale_factor=False))
case("upsample_nearest2d size", [rand(1, 2, 4, 5)], lambda x: F.interpolate(x, size=(7, 3), mode="nearest"))

case("conv2d", [rand(2, 3, 7, 8), rand(4, 3, 3, 2), rand(4)],
     lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)))
case("conv2d groups", [rand(2, 4, 5, 6), rand(6, 2, 3, 3), rand(6)], lambda x, w, b: F.conv2d(x, w, b, 1, 1, 1, 2))
case("conv2d depthwise", [rand(2, 3, 6, 7), rand(6, 1, 3, 3), rand(6)], lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 3))
case("conv2d same", [rand(1, 2, 5, 6), rand(3, 2, 2, 3), rand(3)], lambda x, w, b: F.conv2d(x, w, b, 1, "same", (1, 2)))
case("conv1d", [rand(2, 3, 9), rand(4, 3, 4), rand(4)], lambda x, w, b: F.conv1d(x, w, b, 2, 1))
case("conv_transpose2d", [rand(2, 4, 3, 4), rand(4, 3, 3, 2), rand(6)],
     lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2), 2, (2, 1)))
case("conv_transpose1d", [rand(2, 3, 5), rand(3, 2, 4), rand(2)], lambda x, w, b: F.conv_transpose1d(x, w, b, 3, 1, 2))

case("max_pool2d", [rand(1, 2, 7, 8)], lambda x: F.max_pool2d(x, (3, 2), 2, 1, (1, 2), True, return_indices=True))
for pad in (True, False):
    case(f"avg_pool2d {int(pad)}", [rand(1, 2, 7, 8)], lambda x: F.avg_pool2d(x, (3, 2), 2, 1, True, pad))
case("avg_pool2d divisor", [rand(1, 2, 7, 8)], lambda x: F.avg_pool2d(x, 3, divisor_override=5))
case("avg_pool1d", [rand(2, 2, 9)], lambda x: F.avg_pool1d(x, 3, 2, 1))
case("max_pool1d", [rand(2, 2, 9)], lambda x: F.max_pool1d(x, 3, 2, 1))
case("adaptive_avg_pool2d", [rand(1, 2, 7, 8)], lambda x: F.adaptive_avg_pool2d(x, (4, 3)))
case("adaptive_max_pool2d", [rand(1, 2, 7, 8)], lambda x: F.adaptive_max_pool2d(x, (4, 3), return_indices=True))

Q, K, V = rand(2, 4, 3, 8), rand(2, 4, 5, 8), rand(2, 4, 5, 6)
case("sdpa", [Q, K, V], F.scaled_dot_product_attention)
case("sdpa causal", [Q, K, V], lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
case("sdpa mask", [Q, K, V, rand(3, 5, grad=False)], lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, scale=0.3))
MASK = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
case("sdpa mask", [Q, K, V, MASK], lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, scale=0.3))
case("sdpa gqa", [Q, rand(2, 2, 5, 8), rand(2, 2, 5, 8)],
     lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))


# Complex numbers are f64 here and f32 in Wellspring: gradients and results to f32's accuracy.
def spectrum(f):
    return lambda x: f(torch.view_as_complex(x.contiguous()))


for norm in ("backward", "ortho", "forward"):
    case(f"fft_rfft {norm}", [rand(3, 10)], lambda x: torch.fft.rfft(x, norm=norm))
    case(f"fft_irfft {norm}", [rand(3, 6, 2)], spectrum(lambda x: torch.fft.irfft(x, 11, norm=norm)))
    case(f"fft_fft {norm}", [rand(3, 6, 2)], spectrum(lambda x: torch.fft.fft(x, 7, 0, norm=norm)))
    case(f"fft_ifft {norm}", [rand(3, 6, 2)], spectrum(lambda x: torch.fft.ifft(x, norm=norm)))
for onesided in (True, False):
    case(f"fft_r2c {int(onesided)}", [rand(3, 4, 6)], lambda x: A._fft_r2c(x, [0, 2, 1], 1, onesided))
case("fft_c2r", [rand(3, 4, 4, 2)], spectrum(lambda x: A._fft_c2r(x, [0, 2], 2, 7)))
case("conj_physical", [rand(3, 4, 2)], spectrum(torch.conj_physical))

print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]")
