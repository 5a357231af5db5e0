"""Muon for matrices and AdamW for all other parameters.

Muon (K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a matrix by
the nearest matrix with equal singular values, approximated by Newton-Schulz iterations. `torch.optim.Muon`
runs them in bfloat16, one matrix at a time; here they run in float32, since most CPUs have no fast bfloat16,
and on all matrices of one shape together.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from network import Decoder
from torch import Tensor, nn

STEPS = ((3.4445, -4.7750, 2.0315),) * 4
"""Coefficients of the Newton-Schulz polynomial a x + b x³ + c x⁵ for each iteration."""


class MuonAdamW:
    """Both optimisers. `step` takes the factor on the learning rates."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        rate: float,
        matrix_rate: float,
        decay: float = 0.05,
        momentum: float = 0.95,
    ) -> None:
        shape = decoder.shape
        self.matrices: list[tuple[nn.Parameter, tuple[int, ...]]] = []
        for layer in decoder.layers:
            self.matrices.append((layer.qkv, shape.qkv))
            self.matrices.append((layer.gate_up, (shape.feed_forward,) * 2))
            self.matrices += [(matrix, (shape.width,)) for matrix in (layer.output, layer.down)]
        taken = {id(matrix) for matrix, _ in self.matrices}
        self.others = [parameter for parameter in decoder.parameters() if id(parameter) not in taken]
        self.velocities = [torch.zeros_like(matrix) for matrix, _ in self.matrices]
        self.rate, self.matrix_rate, self.decay, self.momentum = rate, matrix_rate, decay, momentum
        self.adamw = torch.optim.AdamW(self.others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, share: float) -> None:
        """Apply the gradients with `share` of the learning rates, and clear them."""
        nn.utils.clip_grad_norm_(self.others, 1.0)
        for settings in self.adamw.param_groups:
            settings["lr"] = self.rate * share
        self.adamw.step()
        with torch.no_grad():
            self.step_matrices(self.matrix_rate * share)
        for parameter in (*self.others, *(matrix for matrix, _ in self.matrices)):
            parameter.grad = None

    def step_matrices(self, rate: float) -> None:
        """One step of Muon. Joined matrices are split, since each has its own singular values."""
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for (matrix, rows), velocity in zip(self.matrices, self.velocities, strict=True):
            assert matrix.grad is not None
            velocity.lerp_(matrix.grad, 1 - self.momentum)
            update = matrix.grad.lerp(velocity, self.momentum)
            matrix.mul_(1 - rate * self.decay)
            for part, change in zip(matrix.split(rows), update.split(rows), strict=True):
                alike[tuple(part.shape)].append((part, change))
        for (rows_, columns), pairs in alike.items():
            changes = orthogonal(torch.stack([change for _, change in pairs]))
            for (part, _), change in zip(pairs, changes, strict=True):
                part.add_(change, alpha=-rate * max(1.0, rows_ / columns) ** 0.5)


def orthogonal(x: Tensor) -> Tensor:
    """Approximate the nearest matrices with all singular values 1. x: `[matrices, rows, columns]`."""
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in STEPS:
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


def schedule(done: float, steps: int, *, warm_up: int = 60, hold: float = 0.15, last: float = 0.02) -> float:
    """Factor on the learning rate after a fraction `done` of training: rise, hold, then half a cosine."""
    rise = min(1.0, (steps + 1) / warm_up)
    if done < hold:
        return rise
    return rise * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * (done - hold) / (1 - hold))))


def revise(done: float, steps: int, *, warm_up: int = 20, most: float = 0.12, last: float = 0.02) -> float:
    """Factor on the learning rate in the second phase of training: a short rise, then half a cosine."""
    return most * min(1.0, (steps + 1) / warm_up) * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))
