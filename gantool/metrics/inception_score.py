"""Inception score (Salimans et al. 2016, arXiv:1606.03498): pictures are sure of one class each and all classes are met.

Computed by torch-fidelity.
"""

from __future__ import annotations

from torch import Tensor

from gantool.errors import UsageError

SPLITS = 10
SEED = 2020  # torch-fidelity's, so that its numbers are met


def inception_score(logits: Tensor) -> tuple[float, float]:
    """Return exp of the mean of KL(p(y|x) || p(y)), the mean over 10 splits and their deviation.

    The pictures are shuffled first, so that a folder sorted by class has every class in each split.

    Args:
        logits: (N, 1008) of Inception, without the classifier's bias.

    Raises:
        UsageError: there are fewer than 10 pictures, or torch-fidelity is not installed.
    """
    if len(logits) < SPLITS:
        raise UsageError(f"is needs at least {SPLITS} pictures, one for each split, and here are {len(logits)}: add some")
    try:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
    except ImportError as error:
        raise UsageError("is is computed by torch-fidelity: pip install 'gantool[eval]'") from error
    found = isc_features_to_metric(logits, splits=SPLITS, shuffle=True, rng_seed=SEED)
    return found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD]
