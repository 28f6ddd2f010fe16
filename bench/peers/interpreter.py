"""Runs Triton kernels' own source with PyTorch on the CPU, one program after the other: what streamed.py uses of Triton, no more.

For testing a kernel's mathematics, indices and masks where there is neither a GPU nor Triton. Stricter than a GPU: an access
outside of its tensor that no mask hides, or a store to one place twice, is an error, and what kernels are to overwrite is NaN.
"""
import types
import torch

_program = 0


class Pointer:
    def __init__(self, memory, offset=0):
        self.memory, self.offset = memory, offset

    def __add__(self, offset):
        return Pointer(self.memory, self.offset + offset)

    def places(self, mask):
        offset = torch.as_tensor(self.offset)
        if mask is None:
            mask = torch.ones_like(offset, dtype=torch.bool)
        offset, mask = torch.broadcast_tensors(offset, mask)
        if bool((mask & ((offset < 0) | (offset >= len(self.memory)))).any()):
            raise IndexError(f"an access outside of a tensor of {len(self.memory)}")
        return torch.where(mask, offset, torch.zeros_like(offset)), mask


class Kernel:
    """Called in a kernel: the function. With a grid: all its programs."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __getitem__(self, grid):
        def launch(*args, num_warps=4, num_stages=2, **kwargs):
            global _program
            args = [Pointer(a.view(-1)) if isinstance(a, torch.Tensor) else a for a in args]
            for _program in range(grid[0]):
                self.function(*args, **kwargs)
        return launch


def jit(function):
    return Kernel(function)


def cdiv(a, b):
    return -(-a // b)


def next_power_of_2(n):
    return 1 << (n - 1).bit_length()


def _load(pointer, mask=None, other=None):
    places, mask = pointer.places(mask)
    values = pointer.memory[places]
    return torch.where(mask, values, torch.full_like(values, float("nan") if other is None else other))


def _store(pointer, values, mask=None):
    places, mask = pointer.places(mask)
    if len(places[mask].unique()) != int(mask.sum()):
        raise IndexError("two values for one place")
    pointer.memory[places[mask]] = values[mask]


def _dot(a, b, input_precision="tf32"):
    if a.shape[1] != b.shape[0] or a.dtype != b.dtype or min(*a.shape, *b.shape) < 16:
        raise ValueError(f"tl.dot of {tuple(a.shape)} {a.dtype} and {tuple(b.shape)} {b.dtype}")
    if a.dtype == torch.float32 and input_precision == "tf32":
        # the bits that tensor cores read
        a, b = ((t.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32) for t in (a, b))
    return a.float() @ b.float()


def _arange(start, end):
    if (end - start) & (end - start - 1):
        raise ValueError(f"tl.arange of {end - start}, not a power of two")
    return torch.arange(start, end)


def _where(condition, x, y):
    x, y = (t if isinstance(t, torch.Tensor) else torch.tensor(t, dtype=torch.float32) for t in (x, y))
    return torch.where(condition, x, y)


language = types.SimpleNamespace(
    constexpr=object, float32=torch.float32, int64=torch.int64, program_id=lambda axis: _program, arange=_arange,
    zeros=lambda shape, dtype: torch.zeros(shape, dtype=dtype), full=lambda shape, value, dtype: torch.full(shape, value, dtype=dtype),
    load=_load, store=_store, dot=_dot, where=_where, trans=lambda x: x.t(), exp=torch.exp, log=torch.log, maximum=torch.maximum,
    max=lambda x, axis: x.amax(axis), sum=lambda x, axis: x.sum(axis))
