"""Wellspring: tensors with derivatives and operators with their own CPU kernels.

    import wellspring as ws
    x = ws.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x @ x).sum().backward()
    print(x.grad)

Inside PyTorch: `import wellspring.torch as wt; wt.enable()`.
"""

from . import _core
from ._core import *  # noqa: F401,F403
from ._core import __version__  # noqa: F401
from ._composed import asarray, einsum, norm  # noqa: F401

# Operators whose published names begin with an underscore.
globals().update({op["name"]: getattr(_core, op["name"]) for op in _core.operators() if op["name"].startswith("_")})

f64, f32, bf16, f16 = _core.float64, _core.float32, _core.bfloat16, _core.float16
i64, i32, i16, i8, u8, c64 = (_core.int64, _core.int32, _core.int16, _core.int8, _core.uint8, _core.complex64)
