"""Precision of generated pictures (Kynkaanniemi et al. 2019, arXiv:1904.06991): which share looks like real ones.

Computed here: torch-fidelity computes precision and recall together or not at all, which doubles the work for one of them.
Checked against torch-fidelity on the same features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gantool.errors import UsageError

NEIGHBOURS = 3
_BLOCK = 1000  # pictures whose distances to all others are held at once


def precision(results: Tensor, references: Tensor) -> float:
    """Return the share of results that lie within reach of a reference (eq. 1 and 2).

    A reference reaches as far as the third nearest of the other references.

    Args:
        results: features (N, D), in the paper those of VGG16's second fully connected layer.
        references: features (M, D).

    Raises:
        UsageError: a side has too few pictures.
    """
    fewest = min(len(results), len(references))
    if fewest <= NEIGHBOURS:
        needed = f"precision and recall need at least {NEIGHBOURS + 1} pictures a side"
        raise UsageError(f"{needed}, for the third nearest neighbour, and here is {fewest}: add some")
    # a picture is its own nearest
    reach = torch.cat([distances.kthvalue(NEIGHBOURS + 1).values for distances in _distances(references, references)])
    within = torch.cat([(distances <= reach).any(1) for distances in _distances(results, references)])
    return within.double().mean().item()


def _distances(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """Yield the distances (_BLOCK, M) of rows (N, D) to columns (M, D)."""
    for start in range(0, len(rows), _BLOCK):
        yield torch.cdist(rows[start : start + _BLOCK], columns)
