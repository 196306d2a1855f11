"""Latents: what a generator makes pictures of, drawn from a seed, kept near the middle, or on the way between two."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(seed: int, shape: tuple[int, ...], classes: int = 0, truncation: float | None = None) -> tuple[Tensor, int]:
    """Return a seed's latent and class, whatever other seeds are drawn and on whatever device they are used.

    Truncation changes only what is beyond the limit, and not the class (Brock et al., ICLR 2019, arXiv:1809.11096, sec. 3.1).

    Args:
        seed: 0 to 2**63 - 1.
        shape: of the latent.
        classes: one of which is drawn; 0 where there are none.
        truncation: numbers further than this from 0 are drawn again until none is; 0.01 takes some 500 rounds.

    Returns:
        The latent, standard normal, float32 on the CPU; the class's index, 0 where there are none.
    """
    source = torch.Generator().manual_seed(seed)
    latent = torch.randn(shape, generator=source)
    label = int(torch.randint(max(1, classes), (), generator=source))
    if truncation is not None:
        while (beyond := latent.abs() > truncation).any():
            latent[beyond] = torch.randn(int(beyond.sum()), generator=source)
    return latent, label


def between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the latent a share of the way from one to another, on the arc between them (Shoemake, SIGGRAPH 1985).

    On the straight line, lengths would fall to 0.7 of the usual half-way, which generators have never seen (White 2016,
    arXiv:1609.04468). Where two latents lie in one direction or in opposite ones, there is no such arc and the line is taken.

    Args:
        start: any shape.
        end: the same shape.
        share: 0 gives `start`, 1 gives `end`.
    """
    a, b = start.double(), end.double()
    cosine = (a * b).sum() / (a.norm() * b.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-6:
        return torch.lerp(a, b, share).to(start.dtype)
    mixed = ((1 - share) * angle).sin() * a + (share * angle).sin() * b
    return (mixed / angle.sin()).to(start.dtype)
