"""Frechet Inception distance (Heusel et al. 2017, arXiv:1706.08500): how far two sets of pictures are apart.

Computed here: the libraries hold the features of all pictures at once, while the sums kept here take 32 MiB for any number.
Checked against torch-fidelity on the same features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gantool.errors import UsageError, printable
from gantool.metrics.npz import arrays


@dataclass(frozen=True)
class Gaussian:
    """What FID takes a set of pictures for.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, symmetric.
    """

    mean: Tensor
    covariance: Tensor


class Statistics:
    """Count, mean and scatter of features that are seen once, in float64; the order they come in changes rounding only.

    The scatter is that about the mean, so that no large numbers cancel (Chan, Golub and LeVeque 1979, eq. 2.1).

    Args:
        dimensions: D, of a feature.
    """

    def __init__(self, dimensions: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Add features (N, D), one of each picture, of any floating type and on any device."""
        if not len(features):
            return
        rows = features.detach().to("cpu", torch.float64)
        mean, total = rows.mean(0), self.count + len(rows)
        about, shift = rows - mean, mean - self.mean
        self.scatter.addmm_(about.T, about)
        self.scatter.addr_(shift, shift, alpha=self.count * len(rows) / total)
        self.mean = self.mean + shift * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The covariance (D, D), divided by count - 1 as `numpy.cov` does.

        Raises:
            UsageError: there are fewer than two pictures.
        """
        if self.count < 2:
            raise UsageError(f"fid needs at least 2 pictures a side, for a covariance, and here is {self.count}: add some")
        return self.scatter / (self.count - 1)

    def gaussian(self) -> Gaussian:
        """Return mean and covariance.

        Raises:
            UsageError: there are fewer than two pictures.
        """
        return Gaussian(self.mean, self.covariance)


def fid(one: Gaussian, other: Gaussian) -> float:
    """Return |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr (S1 S2)^(1/2) (eq. 6), never below 0 and never complex.

    With S = L L^T the last trace is the sum of the singular values of L1^T L2. That holds for singular covariances too, so the
    1e-6 I that other programs add when their root of S1 S2 fails is never needed.

    Raises:
        UsageError: the two have other dimensions, or values that are not finite.
    """
    if one.mean.shape != other.mean.shape:
        sizes = f"{len(one.mean)} and {len(other.mean)}"
        raise UsageError(f"fid compares features of one network, these have {sizes} dimensions: take statistics of this one")
    if not all(value.isfinite().all() for side in (one, other) for value in (side.mean, side.covariance)):
        raise UsageError("fid looks at features that are not finite: check the file given with --weights inception=FILE")
    traces = one.covariance.trace() + other.covariance.trace()
    root = torch.linalg.svdvals(_factor(one.covariance).T @ _factor(other.covariance)).sum()
    return max(0.0, float((one.mean - other.mean).square().sum() + traces - 2 * root))


def _factor(covariance: Tensor) -> Tensor:
    """Return L (D, rank) with L L^T = covariance, without directions in which there is rounding only."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor


def load(path: Path) -> Gaussian:
    """Read statistics as pytorch-fid writes them, `mu` and `sigma` in an .npz file.

    Raises:
        UsageError: the file cannot be read or holds something else.
    """
    shown = printable(path)
    try:
        mean, covariance = arrays(path, ("mu", "sigma"))
    except ValueError as error:
        raise UsageError(f"{shown} is no .npz with mu and sigma of pytorch-fid ({error}): name another") from error
    size = len(mean) if mean.ndim == 1 else -1
    if covariance.shape != (size, size) or not torch.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6):
        raise UsageError(f"mu and sigma of {shown} are no mean and covariance of features: name another file")
    return Gaussian(mean, (covariance + covariance.T) / 2)
