"""Recall of generated pictures (Kynkaanniemi et al. 2019, arXiv:1904.06991): which share of real ones they cover.

Computed here, for the reason that `precision.py` gives; checked against torch-fidelity on the same features.
"""

from __future__ import annotations

from torch import Tensor

from gantool.metrics.precision import precision


def recall(results: Tensor, references: Tensor) -> float:
    """Return the share of references that lie within reach of a result; see `precision`, whose sides change places here."""
    return precision(references, results)
