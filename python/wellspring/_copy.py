"""Copies of tensors, and tensors as bytes: copy.copy, copy.deepcopy and pickle."""

from . import _core


def copied(tensor):
    """The same memory, as copy.copy() of PyTorch's tensors."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def copied_deep(tensor, memo):
    if not tensor.is_leaf:
        raise RuntimeError(f"deepcopy of {tensor.dtype.name}{list(tensor.shape)}, which has a gradient history: "
                           "detach() it first")
    copy = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    if tensor.grad is not None:
        copy.grad = copied_deep(tensor.grad, memo)
    memo[id(tensor)] = copy
    return copy


def reduced(tensor, protocol):
    """Values, dtype, shape, device and whether it requires a gradient; no history and no gradient, as PyTorch."""
    return rebuilt, (tensor._bytes(), tensor.dtype.name, tensor.shape, tensor.device, tensor.requires_grad)


def rebuilt(values, dtype, shape, device, requires_grad):
    return _core._from_bytes(values, dtype, shape).to(device).requires_grad_(requires_grad)
