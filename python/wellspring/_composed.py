"""Functions that are made of others."""

from __future__ import annotations

import math

from . import _core
from ._core import Tensor

TYPE_CHECKING = False  # as type checkers know it; the module typing takes as long to import as all of this package
if TYPE_CHECKING:
    from typing import Any


def asarray(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of an array, a tensor or nested lists: on their memory where dtype and device let it, else a copy."""
    read_only = not getattr(getattr(data, "flags", None), "writeable", True)  # of NumPy
    if isinstance(data, Tensor):
        result = data
    elif hasattr(data, "__dlpack__") and not read_only:
        result = _core.from_dlpack(data)
    else:
        result = _core.tensor(data, dtype)
    if dtype is not None:
        result = result.to(dtype)
    if device is not None:
        result = result.to(device)
    return result.requires_grad_() if requires_grad else result


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The vector norm of order p over dim, or over all elements."""
    if p in ("fro", None):
        p = 2
    elif not isinstance(p, (int, float)):
        raise RuntimeError(f"norm: p is a number or 'fro', not {p!r}")
    return _core.vector_norm(input, float(p), dim, keepdim, dtype=dtype)


def _labels(equation, operands):
    """Letters of each operand and of the result; '...' becomes as many capitals as it stands for."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum '{equation}': {len(terms)} terms for {len(operands)} tensors")
    if any(not (c.isalpha() or c in ",.->") for c in equation.replace(" ", "")):
        raise RuntimeError(f"einsum '{equation}': letters, ',', '...' and '->' make an equation")
    rest = [x.ndim - len(t.replace("...", "")) if "..." in t else 0 for t, x in zip(terms, operands)]
    if any(n < 0 for n in rest):
        raise RuntimeError(f"einsum '{equation}': a term has more letters than its tensor has dimensions")
    # What '...' stands for is aligned at the right, as in broadcasting.
    several = [f".{i}" for i in range(max(rest, default=0))]

    def spelt(term, count):
        head, dots, tail = term.partition("...")
        if "." in head + tail:
            raise RuntimeError(f"einsum '{equation}': '.' stands only in '...', once in a term")
        return [*head, *(several[len(several) - count:] if dots else []), *tail]

    spelled = [spelt(t, n) for t, n in zip(terms, rest)]
    for term, x, letters in zip(terms, operands, spelled):
        if len(letters) != x.ndim:
            raise RuntimeError(f"einsum '{equation}': '{term}' does not name the {x.ndim} dimensions of {list(x.shape)}")
    if arrow:
        result = spelt(right, len(several))
    else:  # what stands once, in the order of the alphabet
        every = [c for letters in spelled for c in letters]
        result = several + sorted(c for c in set(every) if every.count(c) == 1 and c not in several)
    known = {c for letters in spelled for c in letters}
    if len(set(result)) < len(result) or not set(result) <= known:
        raise RuntimeError(f"einsum '{equation}': the result names each dimension once, of those that the operands have")
    return spelled, result


def _without_repeats(x, letters):
    """x with the diagonal where a letter stands twice."""
    letters = list(letters)
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise RuntimeError(f"einsum: '{c}' stands for extents {x.shape[i]} and {x.shape[j]} of {list(x.shape)}")
            x = x.diagonal(0, i, j)
            del letters[j], letters[i]
            letters.append(c)
    return x, letters


def _summed(x, letters, keep):
    """x summed over the letters that nobody reads any more."""
    gone = [i for i, c in enumerate(letters) if c not in keep]
    return (x.sum(dim=gone) if gone else x), [c for c in letters if c in keep]


def _arranged(x, letters, groups):
    """x with the dimensions of each group of letters in a row as one; a letter that it lacks has extent 1."""
    order = [c for group in groups for c in group]
    x = x.permute([letters.index(c) for c in order if c in letters])
    extents = iter(x.shape)
    shape = [next(extents) if c in letters else 1 for c in order]
    x, grouped, at = x.reshape(shape), [], 0
    for group in groups:
        grouped.append(math.prod(shape[at:at + len(group)]))
        at += len(group)
    return x.reshape(grouped)


def _pair(a, a_letters, b, b_letters, keep):
    """The product of two, summed over what they share and nobody else reads: one batched product of matrices."""
    sizes = {}
    for x, letters in ((a, a_letters), (b, b_letters)):
        for c, n in zip(letters, x.shape):
            if sizes.setdefault(c, n) != n and 1 not in (n, sizes[c]):
                raise RuntimeError(f"einsum: '{c}' stands for extents {sizes[c]} and {n}")
            sizes[c] = max(sizes[c], n) if n != 0 and sizes[c] != 0 else 0
    shared = [c for c in a_letters if c in b_letters]
    a = a.expand([sizes[c] if c in shared else n for c, n in zip(a_letters, a.shape)])
    b = b.expand([sizes[c] if c in shared else n for c, n in zip(b_letters, b.shape)])
    batch = [c for c in shared if c in keep]
    inner = [c for c in shared if c not in keep]
    rows = [c for c in a_letters if c not in shared]
    columns = [c for c in b_letters if c not in shared]
    product = _arranged(a, a_letters, [batch, rows, inner]).bmm(_arranged(b, b_letters, [batch, inner, columns]))
    letters = batch + rows + columns
    return product.reshape([sizes[c] for c in letters]), letters


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products named by letters, as in einsum("bij,bjk->bik", a, b): products of two from left to right, each one
    batched product of matrices."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise RuntimeError(f"einsum '{equation}': there is no tensor")
    spelled, result = _labels(equation, operands)
    terms = [_without_repeats(x, letters) for x, letters in zip(operands, spelled)]
    x, letters = terms[0]
    for i, (y, other) in enumerate(terms[1:], 1):
        later = set(result).union(*(t for _, t in terms[i + 1:]))
        x, letters = _summed(x, letters, later | set(other))
        y, other = _summed(y, other, later | set(letters))
        x, letters = _pair(x, letters, y, other, later)
    x, letters = _summed(x, letters, set(result))
    return x.permute([letters.index(c) for c in result])
