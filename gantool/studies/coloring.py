"""Pictures of any kind as what every rater's screen shows alike: opaque RGB in sRGB."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from gantool.images import Picture

ROUNDING: Final = 2  # levels by which two makers' profiles of sRGB differ; the eye needs more
STEPS: Final = 17  # levels a channel at which that is looked for

Pixels = NDArray[np.uint8]


def opaque(picture: Picture, background: int) -> Tensor:
    """Return a picture's colours (3, H, W), uint8, in sRGB, laid on a gray.

    Colours whose profile is that of sRGB stay as they are to the bit, and so do those whose profile cannot be read, which
    browsers take for sRGB too.
    """
    pixels = picture.color.permute(1, 2, 0).numpy()
    color = torch.from_numpy(_in_srgb(pixels, picture.icc)).permute(2, 0, 1)
    if picture.alpha is None:
        return color
    alpha = picture.alpha.float() / 255
    return (color * alpha + background * (1 - alpha)).round().to(torch.uint8)


def _in_srgb(pixels: Pixels, icc: bytes | None) -> Pixels:
    """Return pixels (H, W, 1 or 3) as (H, W, 3)."""
    gray = pixels.shape[2] == 1
    transform = _transform(icc, "L" if gray else "RGB") if icc else None
    plain = np.repeat(pixels, 3, axis=2) if gray else pixels
    return plain.copy() if transform is None else _applied(transform, pixels)


def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB; None if it changes nothing, or there is none."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        found = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    levels = np.linspace(0, 255, STEPS).round().astype(np.uint8)
    axes = [levels] if mode == "L" else [levels] * 3
    samples = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(axes))
    changed = _applied(found, samples).astype(int) - samples
    return None if np.abs(changed).max() <= ROUNDING else found


def _applied(transform: ImageCms.ImageCmsTransform, pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    result = ImageCms.applyTransform(image, transform)
    assert result is not None, "only in place there is none"
    return np.array(result)
