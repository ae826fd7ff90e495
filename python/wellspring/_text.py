"""Tensors as text."""

import math

EDGE, MOST = 3, 1000  # elements shown at each end of a long dimension; elements shown in full


def _number(value):
    if isinstance(value, complex):
        sign = "-" if math.copysign(1, value.imag) < 0 else "+"
        return f"{_number(value.real)}{sign}{_number(abs(value.imag))}j"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text + "." if isinstance(value, float) and text.lstrip("-").isdigit() else text


def _rows(tensor, cut, depth):
    """A nested text of a tensor, long dimensions cut."""
    if tensor.ndim == 0:
        return _number(tensor.item())
    n = len(tensor)
    shown = list(range(n)) if not cut or n <= 2 * EDGE else [*range(EDGE), None, *range(n - EDGE, n)]
    if tensor.ndim == 1:
        values = tensor.tolist() if len(shown) == n else None
        parts = ["..." if i is None else _number(values[i] if values else tensor[i].item()) for i in shown]
        return "[" + ", ".join(parts) + "]"
    parts = ["..." if i is None else _rows(tensor[i], cut, depth + 1) for i in shown]
    return "[" + (",\n" + " " * (depth + 8)).join(parts) + "]"


def formatted(tensor, spec):
    """f"{x:.2f}" of a tensor without dimensions is that of its number."""
    if tensor.ndim == 0 and not tensor.requires_grad:
        return format(tensor.item(), spec)
    return format(text(tensor), spec) if not spec else object.__format__(tensor, spec)


def text(tensor):
    """tensor([[1, 2], [3, 4]], dtype=wellspring.int64)."""
    plain = tensor.detach()
    notes = ""
    if tensor.dtype.name not in ("float32", "bool"):
        notes += f", dtype={tensor.dtype!r}"
    if tensor.device != "cpu":
        notes += f", device='{tensor.device}'"
    if tensor.requires_grad:
        notes += ", requires_grad=True"
    return f"tensor({_rows(plain, tensor.numel() > MOST, 0)}{notes})"
