"""A loss that never stores its matrix, after the scheme that Inf-CL publishes (Cheng et al. 2024, arXiv 2410.17243), in Triton.

Forward: each program owns BLOCK rows and streams all columns, keeping a running maximum and sum: one log-sum-exp per row.
Backward: two launches, one owning rows and one owning columns; each computes S again. A gradient does not fit in registers,
so it is summed in global memory, CHUNK columns of it at a time. In units of N²D operations: 2 forward, 4 + 4 backward.
Written from the paper; unlike its public code, which cuts rows into whole chunks of 256 columns and so refuses D = 128, chunks
here are padded by masks.
"""
import torch
import torch.nn.functional as F
import triton
import triton.language as tl

# (BLOCK, CHUNK, warps, stages): the published choice first. The fastest at a size is used.
CONFIGURATIONS = ((64, 256, 8, 1), (64, 64, 4, 3), (128, 64, 8, 3), (128, 32, 8, 4))


@triton.jit
def chunk_of(x, rows, count, columns, dim):
    """x[rows, columns], zero outside of [count, dim]."""
    return tl.load(x + rows[:, None].to(tl.int64) * dim + columns[None, :],
                   mask=(rows[:, None] < count) & (columns[None, :] < dim), other=0.0)


@triton.jit
def scores(a, b, rows, columns, count_a, count_b, dim, inv_temperature,
           EXCLUDE_SELF: tl.constexpr, NUMBERS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """a[rows] · b[columns] / τ: [BLOCK, BLOCK], −∞ where there is no such pair."""
    s = tl.zeros([BLOCK, BLOCK], dtype=tl.float32)
    for start in range(0, dim, CHUNK):
        depth = start + tl.arange(0, CHUNK)
        s += tl.dot(chunk_of(a, rows, count_a, depth, dim), tl.trans(chunk_of(b, columns, count_b, depth, dim)), input_precision=NUMBERS)
    s = tl.where(columns[None, :] < count_b, s * inv_temperature, float("-inf"))
    if EXCLUDE_SELF:
        s = tl.where(rows[:, None] == columns[None, :], float("-inf"), s)
    return s


@triton.jit
def log_sum_exp(lse, a, b, count_a, count_b, dim, inv_temperature,
                EXCLUDE_SELF: tl.constexpr, NUMBERS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """lse[i] = log Σ_j exp(a_i · b_j / τ). Overwrites lse."""
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    highest = tl.full([BLOCK], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, count_b, BLOCK):
        s = scores(a, b, rows, start + tl.arange(0, BLOCK), count_a, count_b, dim, inv_temperature, EXCLUDE_SELF, NUMBERS, BLOCK, CHUNK)
        higher = tl.maximum(highest, tl.max(s, 1))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(s - higher[:, None]), 1)
        highest = higher
    tl.store(lse + rows, highest + tl.log(total), mask=rows < count_a)


@triton.jit
def gradient(grad, own, other, lse, upstream, count_own, count_other, dim, inv_temperature, LSE_OF_OWN: tl.constexpr,
             EXCLUDE_SELF: tl.constexpr, NUMBERS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """grad[i] += Σ_j exp(s_ij − lse) upstream other_j / τ, with lse and upstream of row i (LSE_OF_OWN) or of row j."""
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    for start in range(0, count_other, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        s = scores(own, other, rows, columns, count_own, count_other, dim, inv_temperature, EXCLUDE_SELF, NUMBERS, BLOCK, CHUNK)
        if LSE_OF_OWN:
            shift = tl.load(lse + rows, mask=rows < count_own, other=0.0)[:, None]
            factor = tl.load(upstream + rows, mask=rows < count_own, other=0.0)[:, None]
        else:
            shift = tl.load(lse + columns, mask=columns < count_other, other=0.0)[None, :]
            factor = tl.load(upstream + columns, mask=columns < count_other, other=0.0)[None, :]
        weights = tl.exp(s - shift) * factor * inv_temperature
        for first in range(0, dim, CHUNK):
            depth = first + tl.arange(0, CHUNK)
            x = chunk_of(other, columns, count_other, depth, dim)
            places = grad + rows[:, None].to(tl.int64) * dim + depth[None, :]
            inside = (rows[:, None] < count_own) & (depth[None, :] < dim)
            sums = tl.load(places, mask=inside, other=0.0) + tl.dot(weights.to(x.dtype), x, input_precision=NUMBERS)
            tl.store(places, sums, mask=inside)


class LogSumExp(torch.autograd.Function):
    """lse of every row of z against all of w. z: [n, dim], w: [m, dim] float32; what products take is rounded inside."""

    @staticmethod
    def forward(ctx, z, w, inv_temperature, exclude_self, precision, configuration):
        block, chunk, warps, stages = configuration
        a, b = (t.bfloat16() if precision == "bf16" else t.contiguous() for t in (z, w))
        # To tl.dot, float32 factors are "ieee" or "tf32"; bfloat16 ones are what they are.
        ctx.fixed = dict(EXCLUDE_SELF=exclude_self, NUMBERS="ieee" if precision == "f32" else "tf32", BLOCK=block,
                         CHUNK=min(chunk, max(16, triton.next_power_of_2(z.shape[1]))), num_warps=warps, num_stages=stages)
        lse = torch.empty(len(z), device=z.device)
        log_sum_exp[(triton.cdiv(len(z), block),)](lse, a, b, len(z), len(w), z.shape[1], inv_temperature, **ctx.fixed)
        ctx.save_for_backward(a, b, lse)
        ctx.inv_temperature = inv_temperature
        return lse

    @staticmethod
    def backward(ctx, upstream):
        (a, b, lse), block = ctx.saved_tensors, ctx.fixed["BLOCK"]
        upstream, gradients = upstream.contiguous(), []
        for own, other, lse_of_own in ((a, b, True), (b, a, False)):
            grad = torch.zeros(own.shape, device=own.device)
            gradient[(triton.cdiv(len(own), block),)](grad, own, other, lse, upstream, len(own), len(other), own.shape[1],
                                                      ctx.inv_temperature, LSE_OF_OWN=lse_of_own, **ctx.fixed)
            gradients.append(grad)
        return (*gradients, None, None, None, None)


def streamed_loss(problem, configuration, x, y=None):
    z = F.normalize(x, dim=1)
    w = z if y is None else F.normalize(y, dim=1)

    def direction(a, b):
        lse = LogSumExp.apply(a, b, 1 / problem.temperature, y is None, problem.precision, configuration)
        return (lse - (a * b[problem.target]).sum(1) / problem.temperature).mean()

    return (direction(z, w) + direction(w, z)) / 2 if problem.kind == "clip" else direction(z, w)


def streamed(problem, configuration=CONFIGURATIONS[0]):
    """(loss, gradients)."""
    leaves = problem.leaves()
    loss = streamed_loss(problem, configuration, *leaves)
    return loss, torch.autograd.grad(loss, leaves)
