"""How noisy an image is, from its finest wavelet coefficients (Donoho and Johnstone, Biometrika 1994)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.library import Library

_HIGH_PASS = (  # decomposition filter of Daubechies' wavelet with seven vanishing moments
    -0.07785205408506236, 0.39653931948230575, -0.7291320908465551, 0.4697822874053586, 0.14390600392910627,
    -0.22403618499416572, -0.07130921926705004, 0.0806126091510659, 0.03802993693503463, -0.01657454163101562,
    -0.012550998556013784, 0.00042957797300470274, 0.0018016407039998328, 0.0003537138000010399,
)  # fmt: skip
_AROUND = len(_HIGH_PASS) // 2
_MEDIAN = 0.6745  # of absolute values of the standard normal distribution
_BAND = 32  # rows at a time, even
_HALO = 8  # rows around them, even; in a picture twice as large they are more than half a filter and what interpolation needs
_LOW_BITS = 16  # of a float32


def mirrored(images: Tensor, rows: int, columns: int) -> Tensor:
    """Extend images (N, C, H, W), both sides 2 or more, by rows and columns a side, mirrored about the outermost pixels.

    Where they are smaller than what is added, they are mirrored again and again.
    """
    while rows or columns:
        now = min(rows, images.shape[2] - 1), min(columns, images.shape[3] - 1)
        images = F.pad(images, (now[1], now[1], now[0], now[0]), "reflect")
        rows, columns = rows - now[0], columns - now[1]
    return images


@torch.no_grad()
def noise_level(images: Tensor) -> Tensor:
    """Return the standard deviation of the noise in images (N, C, H, W), both sides 2 or more, mean over channels: (N).

    The median of absolute coefficients of the diagonal band, of the db7 wavelet, over what it is for noise of deviation 1.
    """
    return (_details(images).flatten(2).median(2).values / _MEDIAN).mean(1)  # the lower median of two


def enlarged_noise_level(images: Tensor, scale: int) -> Tensor:
    """Return the noise level (N) of images (N, C, H, W) that are enlarged bilinearly; it carries no gradient.

    It is one operation to whoever records what a network does: what it gives depends on all of the picture.
    """
    with torch.no_grad():
        found: Tensor = torch.ops.gantool.enlarged_noise_level(images, scale)
    return found


def enlarged(images: Tensor, scale: int) -> Tensor:
    """Return images (N, C, scale H, scale W) by bilinear interpolation."""
    return F.interpolate(images, scale_factor=float(scale), mode="bilinear", align_corners=False)


def _enlarged_noise_level(images: Tensor, scale: int) -> Tensor:
    """In float32 at least: what half precision rounds off is a hundred times the noise of images as smooth as these."""
    with torch.autocast(images.device.type, enabled=False):
        return noise_level(enlarged(images.to(torch.promote_types(images.dtype, torch.float32)), scale))


_LIBRARY = Library("gantool", "DEF")  # type: ignore[no-untyped-call]  # torch has no types there
_LIBRARY.define("enlarged_noise_level(Tensor images, int scale) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl("enlarged_noise_level", _enlarged_noise_level, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
ENLARGED_NOISE_LEVEL = torch.ops.gantool.enlarged_noise_level.default
"""The operation behind `enlarged_noise_level`, for those who look at what a network does."""


@torch.no_grad()
def noise_level_in_bands(rows: Callable[[int, int], Tensor], height: int, scale: int) -> Tensor:
    """Return what `enlarged_noise_level` gives for one image that is read in bands, twice: (1).

    Args:
        rows: from the first and behind the last row to (1, C, rows, W).
        height: of the image.
        scale: 2 or more.
    """
    upper = _counted(_bits(rows, height, scale), lambda bits: bits >> _LOW_BITS)
    rank = (upper.sum(1, keepdim=True) - 1) // 2
    before = upper.cumsum(1)
    first = (before <= rank).sum(1, keepdim=True)  # the upper half of the median's bits
    rank -= (before - upper).gather(1, first)

    def lower_half(bits: Tensor) -> Tensor:
        return torch.where(bits >> _LOW_BITS == first, bits & (1 << _LOW_BITS) - 1, 1 << _LOW_BITS)

    lower = _counted(_bits(rows, height, scale), lower_half)[:, :-1]
    bits = (first << _LOW_BITS) + (lower.cumsum(1) <= rank).sum(1, keepdim=True)
    return (bits.int().view(torch.float32) / _MEDIAN).mean().view(1)


def _bits(rows: Callable[[int, int], Tensor], height: int, scale: int) -> Iterator[Tensor]:
    """Yield the coefficients band by band as integers (C, n), whose order is theirs."""
    for start in range(0, height, _BAND):
        stop, top = min(start + _BAND, height), max(0, start - _HALO)
        details = _details(enlarged(rows(top, min(stop + _HALO, height)).float(), scale))
        first = scale * (start - top) // 2  # there is a coefficient for every other row, and one more at the end
        own = details[0, :, first : None if stop == height else first + scale * (stop - start) // 2]
        yield own.contiguous().view(torch.int32).flatten(1).long()


def _counted(bits: Iterator[Tensor], part: Callable[[Tensor], Tensor]) -> Tensor:
    """Return how often each number from 0 to 2^16 comes, (C, 2^16 + 1)."""
    counts: Tensor | int = 0
    for each in bits:
        counts = counts + torch.stack([channel.bincount(minlength=(1 << _LOW_BITS) + 1) for channel in part(each)])
    assert isinstance(counts, Tensor)
    return counts


def _details(images: Tensor) -> Tensor:
    """Return the absolute coefficients (N, C, H / 2 + 1, W / 2 + 1) of the diagonal band."""
    return _filtered(_filtered(images, 2), 3).abs()


def _filtered(images: Tensor, axis: int) -> Tensor:
    """Return every second value of images filtered along an axis."""
    taps = torch.tensor(_HIGH_PASS, dtype=images.dtype, device=images.device)
    shape, stride = [1, 1], [1, 1]
    shape[axis - 2], stride[axis - 2] = len(taps), 2
    images = mirrored(images, *(_AROUND if each == axis else 0 for each in (2, 3)))
    channels = images.shape[1]
    return F.conv2d(images, taps.view(1, 1, *shape).repeat(channels, 1, 1, 1), stride=stride, groups=channels)
