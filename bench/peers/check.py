#!/usr/bin/env python3
"""Whether every peer computes what it is held against: all kinds at small ragged sizes against float64 by autograd.

The Triton scheme runs in Triton's interpreter where Triton is installed, else in interpreter.py. Needs PyTorch, no GPU.
"""
import os
import sys
import torch

os.environ["TRITON_INTERPRET"] = "1"
try:
    import triton  # noqa: F401
    WHERE = "Triton's interpreter"
except ImportError:
    import interpreter
    sys.modules["triton"], sys.modules["triton.language"] = interpreter, interpreter.language
    WHERE = "interpreter.py"

import losses
import streamed

# Largest error of loss and gradients as a share of their root mean square.
BOUNDS = {"f32": 1e-5, "tf32": 1e-2, "bf16": 5e-2}


def problem(kind, rows, dim, temperature, precision="f32"):
    generator = torch.Generator().manual_seed(rows * 1000 + dim)
    x, y = (torch.randn(rows, dim, generator=generator) for _ in range(2))
    return losses.Problem(kind, x, None if kind == "nt-xent" else y, temperature, precision)


def error(actual, expected):
    """Of (loss, gradients)."""
    worst = abs(float(actual[0]) - float(expected[0])) / abs(float(expected[0]))
    for a, e in zip(actual[1], expected[1]):
        if not bool(torch.isfinite(a).all()):
            return float("nan")
        worst = max(worst, float((a.double() - e).abs().max() / e.square().mean().sqrt()))
    return worst


def main():
    failed = 0
    losses.CHUNK_ROWS = 24
    ways = [("user", losses.user, ("f32", "bf16")), ("in place", losses.in_place, ("f32", "bf16")),
            ("chunked", losses.chunked, ("f32", "bf16")), ("exact", lambda p: losses.exact(p, 24), ("f32",))]
    for block, chunk in ((16, 16), (32, 64), (64, 256)):
        configuration = (block, chunk, 4, 1)
        ways.append((f"streamed {block}x{chunk}", lambda p, c=configuration: streamed.streamed(p, c), ("f32", "tf32", "bf16")))
    for kind in losses.KINDS:
        for rows, dim, temperature in ((4, 16, 0.5), (48, 48, 0.1), (70, 128, 0.07), (66, 272, 0.1)):
            expected = losses.user(problem(kind, rows, dim, temperature).double())
            for name, way, precisions in ways:
                for precision in precisions:
                    bound = 1e-9 if name == "exact" else BOUNDS[precision]
                    e = error(way(problem(kind, rows, dim, temperature, precision)), expected)
                    good = e <= bound
                    failed += not good
                    if not good or "-v" in sys.argv:
                        print(f"{'ok' if good else 'FAILED'}: {kind} {rows} x {dim} tau={temperature} {name} {precision}: error {e:.1e}, bound {bound:.0e}")
    print(f"{'All peers agree' if failed == 0 else f'{failed} do not agree'} with float64; the Triton scheme ran in {WHERE}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
