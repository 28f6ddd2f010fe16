"""The losses as PyTorch's users write them: forward and backward, gradients with respect to un-normalised rows.

Kinds, with z and w the rows of x and y divided by their norms, s = z wᵀ / τ, and the mean over rows:
  nt-xent   −log softmax of s = z zᵀ / τ without its diagonal, at the row's other view (Chen et al. 2020, equation 1);
            views are halves: rows i and i + N/2
  info-nce  −log softmax of s at column i (van den Oord et al. 2018, equation 4)
  clip      mean of info-nce from x to y and from y to x (Radford et al. 2021, figure 3)

Numbers: f32; tf32 (f32 whose products round their factors to TF32); bf16 (products of bfloat16 factors, all else in float32).
"""
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

KINDS = ("nt-xent", "info-nce", "clip")
CHUNK_ROWS = 1024


class Problem:
    """Inputs of one loss. x: [rows, dim]; y: the same, None for nt-xent."""

    def __init__(self, kind, x, y, temperature, precision):
        self.kind, self.x, self.y, self.temperature, self.precision = kind, x, y, temperature, precision
        self.rows, self.dim = x.shape
        self.target = torch.arange(self.rows, device=x.device)
        if kind == "nt-xent":
            self.target = self.target.roll(-(self.rows // 2))

    def leaves(self):
        """Inputs to differentiate with respect to, sharing memory with the problem's."""
        return [t.detach().requires_grad_() for t in (self.x, self.y) if t is not None]

    def double(self):
        return Problem(self.kind, self.x.double(), None if self.y is None else self.y.double(), self.temperature, "f64")


def product(a, b, precision):
    """a b. In bf16 what leaves the product is bfloat16, as torch.autocast has it."""
    return (a.bfloat16() @ b.bfloat16()).float() if precision == "bf16" else a @ b


def gradients(problem, loss_of):
    """(loss, gradients) of a loss that autograd differentiates."""
    leaves = problem.leaves()
    loss = loss_of(problem, *leaves)
    return loss, torch.autograd.grad(loss, leaves)


def user_loss(problem, x, y=None):
    """As in the papers' code: the whole matrix, cross entropy, autograd."""
    z = F.normalize(x, dim=1)
    w = z if y is None else F.normalize(y, dim=1)
    logits = product(z, w.t(), problem.precision) / problem.temperature
    if y is None:
        logits = logits.masked_fill(torch.eye(problem.rows, dtype=torch.bool, device=x.device), float("-inf"))
    loss = F.cross_entropy(logits, problem.target)
    return (loss + F.cross_entropy(logits.t(), problem.target)) / 2 if problem.kind == "clip" else loss


def user(problem):
    return gradients(problem, user_loss)


def in_place(problem):
    """By an expert: no autograd, one matrix, overwritten from logits to weights."""
    with torch.no_grad():
        return by_hand(problem, problem.rows)


def exact(problem, chunk=512):
    """In float64, in chunks, so that large problems fit."""
    with torch.no_grad():
        return by_hand(problem.double(), chunk)


def by_hand(problem, chunk):
    z, z_norm = unit(problem.x)
    w, w_norm = (z, None) if problem.y is None else unit(problem.y)
    grad_z = torch.zeros_like(z)
    grad_w = grad_z if problem.y is None else torch.zeros_like(w)
    if problem.kind == "clip" and chunk >= problem.rows:
        loss = both_sides(problem, z, w, grad_z, grad_w)
    else:
        loss = one_side(problem, chunk, z, w, grad_z, grad_w)
        if problem.kind == "clip":
            loss += one_side(problem, chunk, w, z, grad_w, grad_z)
    sides = 2 if problem.kind == "clip" else 1
    scale = 1 / (problem.temperature * problem.rows * sides)
    results = [through_norm(grad_z.mul_(scale), z, z_norm)]
    if w_norm is not None:
        results.append(through_norm(grad_w.mul_(scale), w, w_norm))
    return loss / (problem.rows * sides), results


def one_side(problem, chunk, z, w, grad_z, grad_w):
    """Sum of the losses of z's rows against w's; adds to both gradients, short of 1/(τ rows)."""
    total = 0
    for start in range(0, problem.rows, chunk):
        part, target = z[start:start + chunk], problem.target[start:start + chunk, None]
        s = product(part, w.t(), problem.precision).div_(problem.temperature)
        if problem.y is None:
            s.diagonal(start).fill_(float("-inf"))
        positive, all_columns = s.gather(1, target), s.logsumexp(1, keepdim=True)
        total = total + (all_columns - positive).sum()
        s.sub_(all_columns).exp_()
        s.scatter_add_(1, target, torch.full_like(positive, -1))
        grad_z[start:start + chunk] += product(s, w, problem.precision)
        grad_w += product(s.t(), part, problem.precision)
    return total


def both_sides(problem, z, w, grad_z, grad_w):
    """CLIP's two directions from one matrix."""
    s = product(z, w.t(), problem.precision).div_(problem.temperature)
    by_row, by_column, diagonal = s.logsumexp(1, keepdim=True), s.logsumexp(0, keepdim=True), s.diagonal()
    total = by_row.sum() + by_column.sum() - 2 * diagonal.sum()
    columns = s.sub(by_column).exp_()
    s.sub_(by_row).exp_().add_(columns)
    del columns
    diagonal.sub_(2)
    grad_z += product(s, w, problem.precision)
    grad_w += product(s.t(), z, problem.precision)
    return total


def unit(x):
    norm = x.norm(dim=1, keepdim=True)
    return x / norm, norm


def through_norm(gradient, z, norm):
    return gradient.sub_(z * (z * gradient).sum(1, keepdim=True)).div_(norm)


def chunked_loss(problem, x, y=None):
    """Rows in chunks whose logits are forgotten and computed again in the backward pass."""
    z = F.normalize(x, dim=1)
    w = z if y is None else F.normalize(y, dim=1)

    def chunk_loss(part, other, start):
        logits = product(part, other.t(), problem.precision) / problem.temperature
        if y is None:
            own = torch.arange(start, start + len(part), device=x.device)[:, None]
            logits = logits.scatter(1, own, float("-inf"))
        return F.cross_entropy(logits, problem.target[start:start + len(part)], reduction="sum")

    def direction(a, b):
        starts = range(0, problem.rows, CHUNK_ROWS)
        return sum(checkpoint(chunk_loss, a[i:i + CHUNK_ROWS], b, i, use_reentrant=False) for i in starts) / problem.rows

    return (direction(z, w) + direction(w, z)) / 2 if problem.kind == "clip" else direction(z, w)


def chunked(problem):
    return gradients(problem, chunked_loss)


def compiled():
    """user through torch.compile; a new one for each size, so that shapes are constants to it."""
    if not hasattr(torch, "compile"):
        raise NotImplementedError("not available in this PyTorch")
    torch._dynamo.reset()
    fast = torch.compile(user_loss)
    return lambda problem: gradients(problem, fast)
