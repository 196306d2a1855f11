"""Kernel Inception distance (Binkowski et al. 2018, arXiv:1801.01401): of use where pictures are too few for FID.

Computed by torch-fidelity, whose code is the authors', in float64: at 0.001 its usual float32 is off by 4e-7.
"""

from __future__ import annotations

from torch import Tensor

from gantool.errors import UsageError

SUBSETS = 100
SUBSET = 1000  # pictures
SEED = 2020  # torch-fidelity's, so that its numbers are met


def kid(results: Tensor, references: Tensor) -> tuple[float, float]:
    """Return the mean over 100 random subsets of the unbiased squared MMD with kernel (x.y/D + 1)^3, and its deviation.

    Subsets have 1000 pictures, or as many as the smaller side has. Values below 0 are possible where the sides are alike.

    Args:
        results: features (N, D).
        references: features (M, D).

    Raises:
        UsageError: a side has fewer than two pictures, or torch-fidelity is not installed.
    """
    size = subset(len(results), len(references))
    if size < 2:
        raise UsageError(f"kid needs at least 2 pictures on each side, and here is {size}: add some")
    try:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
    except ImportError as error:
        raise UsageError("kid is computed by torch-fidelity: pip install 'gantool[eval]'") from error
    found = kid_features_to_metric(
        results.double(), references.double(), kid_subsets=SUBSETS, kid_subset_size=size, rng_seed=SEED, verbose=False
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def subset(results: int, references: int) -> int:
    """Return how many pictures each subset has, for sides of so many."""
    return min(results, references, SUBSET)
