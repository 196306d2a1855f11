"""Faults of a result that pull its numbers down without being seen: moved by pixels, a limited range, swapped channels."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 256  # pixels of the middle that are looked at, at most
_COARSE = 8  # pixels a side whose mean tells of colours
_SOFT = 4  # pixels a side whose mean tells of places: what enlarging loses is finer
_CLEARLY = 0.5  # share of the squared error that a repair has to leave at most
_INSIDE = 4  # levels that are surely not clipped
_RANGES = {  # gain and offset of a result against its reference
    "its levels look as if they span 16 to 235, video's limited range": (219 / 255, 16.0),
    "its levels look stretched, as if they had spanned 16 to 235": (255 / 219, -16 * 255 / 219),
}
_NEARER = 0.85  # share that moving back has to leave at most: half a pixel leaves as much either way
_FARTHEST = 8  # pixels that are thought of
_SUSPECT = 4.0  # mean squared error, levels: below it there is nothing to explain


def findings(result: Tensor, reference: Tensor) -> tuple[str, ...]:
    """Return sentences about faults that a repair of the result would clearly lessen.

    Args:
        result: (3|1, H, W) uint8.
        reference: the same shape.
    """
    one, other = (_middle(image).float() for image in (result, reference))
    if min(one.shape[1:]) < 4 * _COARSE or _error(one, other) < _SUSPECT:
        return ()
    coarse = [F.avg_pool2d(image, _COARSE) for image in (one, other)]
    found = [_range(*coarse), _order(*coarse), _moved(one.mean(0), other.mean(0))]
    return tuple(sentence for sentence in found if sentence)


def _middle(image: Tensor) -> Tensor:
    rows, columns = (slice(max(0, (side - SIDE) // 2), max(0, (side - SIDE) // 2) + SIDE) for side in image.shape[1:])
    return image[:, rows, columns]


def _error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean())


def _range(result: Tensor, reference: Tensor) -> str | None:
    """Return what is wrong with the range of levels, if that is it: a straight line leads from one range to the other."""
    kept = (result > _INSIDE) & (result < 255 - _INSIDE)  # what was clipped lies on no line
    if kept.sum() < 16:
        return None
    x, y = reference[kept], result[kept]
    gain = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum().clamp(min=1e-9))
    for words, (slope, start) in _RANGES.items():
        line = slope * x + start
        near = abs(gain - slope) < 0.04 and abs(float((y - line).mean())) < 1
        if near and _error(y, line) < _CLEARLY * _error(y, x):
            return words
    return None


def _order(result: Tensor, reference: Tensor) -> str | None:
    swapped = _error(result.flip(0), reference) < _CLEARLY * _error(result, reference)
    return "its red and blue are swapped" if swapped else None


def _moved(result: Tensor, reference: Tensor) -> str | None:
    """Return by how many whole pixels the result (H, W) is moved, if moving it back helps.

    The search begins where it is and where one step of Lucas and Kanade (1981) leads, and goes on from the better one.
    """
    one, other = (F.avg_pool2d(image[None], _SOFT, 1)[0] for image in (result, reference))
    errors = {(0, 0): _shifted_error(one, other, (0, 0))}
    best, ahead = (0, 0), [(0, 0), _estimate(one, other)]
    while ahead:
        around = {(y + down, x + right) for y, x in ahead for down, right in product((-1, 0, 1), repeat=2)}
        new = sorted(place for place in around - errors.keys() if max(map(abs, place)) <= _FARTHEST)
        errors |= {place: _shifted_error(one, other, place) for place in new}
        last, best = best, min(errors, key=errors.__getitem__)
        ahead = [best] if best != last else []
    if errors[best] > _NEARER * errors[0, 0]:
        return None
    ways = (("up", "down"), ("left", "right"))
    words = [f"{abs(by)} px {names[by > 0]}" for by, names in zip(best, ways, strict=True) if by]
    return f"it is moved {' and '.join(words)} against the reference"


def _estimate(result: Tensor, reference: Tensor) -> tuple[int, int]:
    """Return by about how many pixels (down, right) an image (H, W) has moved."""
    inner = (slice(1, -1), slice(1, -1))
    down = ((reference[2:, 1:-1] - reference[:-2, 1:-1]) / 2).flatten()
    right = ((reference[1:-1, 2:] - reference[1:-1, :-2]) / 2).flatten()
    slopes = torch.stack([down, right])
    change = (reference[inner] - result[inner]).flatten()
    step = torch.linalg.solve(slopes @ slopes.T + 1e-3 * torch.eye(2), slopes @ change)
    rows, columns = (round(max(-_FARTHEST, min(_FARTHEST, float(by)))) for by in step)
    return rows, columns


def _shifted_error(result: Tensor, reference: Tensor, shift: tuple[int, int]) -> float:
    """Return the squared error of what overlaps when the result is moved back by a shift (down, right)."""
    (rows, its_rows), (columns, its_columns) = (
        (slice(max(0, by), side + min(0, by)), slice(max(0, -by), side + min(0, -by)))
        for by, side in zip(shift, reference.shape, strict=True)
    )
    return _error(result[rows, columns], reference[its_rows, its_columns])
