"""Peak signal-to-noise ratio of the luma: the distortion figure of the super-resolution literature."""

from __future__ import annotations

from torch import Tensor

from gantool.metrics.luma import luma
from gantool.metrics.psnr import psnr


def psnr_y(result: Tensor, reference: Tensor, rounded: bool = False) -> float:
    """Return the PSNR in dB of the luma of images (N, 3|1, H, W) in 0 to 255.

    The peak is 255 although the luma of a colour image spans 219 levels only: that is how the published tables were made.
    """
    return psnr(luma(result, rounded), luma(reference, rounded))
