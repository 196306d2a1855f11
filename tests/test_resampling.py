"""MATLAB's `imresize`: golden tables that MATLAB's own files confirm, and oracles for what they do not cover."""

from __future__ import annotations

from math import pi, sin
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from gantool.layers.kernels import Border, Kernel, taps
from gantool.layers.resampling import imresize

GOLDEN: dict[tuple[int, Border], list[list[int]]] = {
    (2, "clamp"): [
        [52, 160, 103, 118, 141, 121],
        [135, 122, 113, 113, 140, 126],
        [156, 148, 129, 128, 131, 162],
        [106, 114, 111, 88, 77, 137],
        [109, 112, 142, 115, 86, 124],
        [111, 153, 170, 142, 103, 111],
    ],
    (2, "mirror"): [
        [46, 159, 103, 115, 144, 118],
        [131, 122, 113, 113, 140, 125],
        [158, 148, 129, 128, 131, 161],
        [107, 114, 111, 88, 77, 141],
        [104, 112, 142, 115, 86, 126],
        [114, 155, 171, 141, 103, 104],
    ],
    (3, "clamp"): [[100, 123, 122, 129], [148, 126, 121, 146], [108, 119, 89, 116], [122, 156, 123, 109]],
    (3, "mirror"): [[93, 123, 122, 128], [149, 126, 121, 146], [108, 119, 89, 119], [121, 158, 124, 107]],
    (4, "clamp"): [[115, 119, 133], [130, 112, 126], [122, 136, 104]],
    (4, "mirror"): [[112, 120, 132], [130, 112, 128], [122, 137, 105]],
}
FLOAT_ROWS = {
    2: [51.9616, 160.0166, 103.0078, 118.2109, 141.3819, 121.0150],
    3: [99.5409, 122.8470, 122.1338, 129.6374],
    4: [115.1253, 119.2335, 133.5224],
}
FOUR_TIMES = [113.4904, 113.6329, 114.2769, 115.2260, 116.5475, 118.3715, 120.9570, 124.7635]
FOUR_TIMES += [128.9194, 132.3753, 134.1826, 134.5381]
INTERIOR_SHRINK = {
    2: [-0.01171875, -0.03515625, 0.11328125, 0.43359375],
    3: [-0.01234568, -0.02469136, 0.11111111, 0.25925926, 0.33333333],
    4: [-0.00170898, -0.01098633, -0.01831055, -0.01196289, 0.02270508, 0.09741211, 0.18188477, 0.24096680],
}
INTERIOR_GROW = {
    2: [[-0.0234375, 0.2265625, 0.8671875, -0.0703125]],
    3: [[-0.03703704, 0.33333333, 0.77777778, -0.07407407], [1.0]],
    4: [[-0.04394531, 0.38964844, 0.72753906, -0.07324219], [-0.00683594, 0.09082031, 0.96386719, -0.04785156]],
}


def synthetic() -> Tensor:
    i, j = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    image = ((37 * i + 53 * j + 11 * i * j) % 256).to(torch.uint8)
    assert image.sum() == 17564
    return image[None, None]


@pytest.mark.parametrize(("factor", "border"), GOLDEN)
def test_an_integer_image_shrinks_to_the_golden_table(factor: int, border: Border) -> None:
    small = imresize(synthetic(), 1 / factor, border=border)
    assert small.dtype == torch.uint8
    assert small[0, 0].tolist() == GOLDEN[factor, border]


@pytest.mark.parametrize("factor", FLOAT_ROWS)
def test_a_float_image_is_not_rounded_between_the_passes(factor: int) -> None:
    small = imresize(synthetic().double(), 1 / factor, border="clamp")
    torch.testing.assert_close(small[0, 0, 0], torch.tensor(FLOAT_ROWS[factor], dtype=torch.float64), atol=5e-5, rtol=0)


def test_the_one_pixel_that_rounding_between_the_passes_decides() -> None:
    whole = imresize(synthetic().double(), 1 / 3, border="clamp")[0, 0, 0, 3]
    assert whole.round() == 130
    assert imresize(synthetic(), 1 / 3, border="clamp")[0, 0, 0, 3] == 129


def test_enlarging_four_times_gives_the_golden_row() -> None:
    small = imresize(synthetic(), 1 / 4, border="clamp").double()
    large = imresize(small, 4, border="clamp")
    torch.testing.assert_close(large[0, 0, 0], torch.tensor(FOUR_TIMES, dtype=torch.float64), atol=5e-5, rtol=0)
    assert large.mean().item() == pytest.approx(121.90261, abs=5e-6)


@pytest.mark.parametrize("factor", INTERIOR_SHRINK)
def test_interior_weights_of_shrinking(factor: int) -> None:
    _, weights = taps(60, range(60 // factor), 1 / factor, "bicubic", "mirror")
    row = weights[10][weights[10] != 0]
    expected = INTERIOR_SHRINK[factor]
    mirrored = expected + expected[::-1][factor % 2 :]  # an odd factor has one weight in the middle
    np.testing.assert_allclose(row, mirrored, atol=5e-9, rtol=0)


@pytest.mark.parametrize("factor", INTERIOR_GROW)
def test_interior_weights_of_enlarging(factor: int) -> None:
    _, weights = taps(20, range(20 * factor), factor, "bicubic", "mirror")
    phases = INTERIOR_GROW[factor] + [row[::-1] for row in reversed(INTERIOR_GROW[factor]) if len(row) > 1]
    for phase, expected in enumerate(phases):
        row = weights[10 * factor + phase]
        np.testing.assert_allclose(row[row != 0], expected, atol=5e-9, rtol=0)


@pytest.mark.parametrize("scale", [0.3, 1 / 3, 0.625, 1.0, 1.7])
def test_the_weights_of_some_places_are_those_of_all(scale: float) -> None:
    def dense(places: range) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        index, weights = taps(40, places, scale, "bicubic", "mirror")
        table = np.zeros((len(places), 40))
        np.add.at(table, (np.arange(len(places))[:, None], index), weights)
        return table

    n = round(40 * scale)
    np.testing.assert_allclose(np.concatenate([dense(range(5)), dense(range(5, n))]), dense(range(n)), rtol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_set14_files_are_reproduced_with_no_differing_pixel(factor: int, shared: Path) -> None:
    folder = shared / "data" / "set14"
    files = sorted((folder / "hr").glob("*.png"))
    assert len(files) == 14
    for file in files:
        high, low = read(file), read(folder / f"lr_x{factor}" / f"{file.stem}x{factor}.png")
        high = high[..., : high.shape[2] // factor * factor, : high.shape[3] // factor * factor]
        assert torch.equal(imresize(high, 1 / factor), low), file.name


def read(path: Path) -> Tensor:
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image))
    return (pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1))[None]


def test_torch_agrees_in_the_interior_where_its_kernel_is_the_same() -> None:
    image = torch.rand(1, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = F.interpolate(image, size=(16, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(imresize(image, 1 / 3)[..., 3:-3, 3:-3], theirs[..., 3:-3, 3:-3], atol=1e-6, rtol=0)


def test_nearest_repeats_pixels_and_bilinear_is_that_of_torch() -> None:
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(imresize(image, 3, kernel="nearest"), image.repeat_interleave(3, 2).repeat_interleave(3, 3))
    theirs = F.interpolate(image, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(imresize(image, 4, kernel="bilinear"), theirs)


def test_lanczos_is_the_windowed_sinc() -> None:
    row = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0]

    def kernel(d: float) -> float:
        return 1.0 if d == 0 else 3 * sin(pi * d) * sin(pi * d / 3) / (pi * d) ** 2 if abs(d) < 3 else 0.0

    position = (11 + 0.5) / 2 - 0.5  # of output pixel 11 at scale 2, in input pixels
    weights = [kernel(position - k) for k in range(len(row))]
    expected = sum(w * v for w, v in zip(weights, row, strict=True)) / sum(weights)
    enlarged = imresize(torch.tensor(row, dtype=torch.float64).view(1, 1, 1, -1), 2, kernel="lanczos")
    assert enlarged[0, 0, 0, 11].item() == pytest.approx(expected)


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1.0, 2.5, 3.0])
@pytest.mark.parametrize("border", ["mirror", "clamp"])
def test_a_flat_image_stays_flat_at_every_size(kernel: Kernel, scale: float, border: Border) -> None:
    for sides in ((1, 1), (1, 9), (4, 3)):
        flat = torch.full((1, 3, *sides), 77, dtype=torch.uint8)
        result = imresize(flat, scale, (max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))), kernel, border)
        assert (result == 77).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_only_at_the_end(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(imresize(image, 3), imresize(image.float(), 3).to(dtype))


def test_scale_one_changes_nothing() -> None:
    assert torch.equal(imresize(synthetic(), 1), synthetic())


def test_the_axis_that_shrinks_more_goes_first() -> None:
    image, scales = synthetic(), (0.5, 0.25)
    columns = imresize(image, (1.0, 0.25))
    assert torch.equal(imresize(image, scales), imresize(columns, (0.5, 1.0)))
    rows = imresize(image, (0.5, 1.0))
    assert not torch.equal(imresize(image, scales), imresize(rows, (1.0, 0.25)))


def test_integer_images_saturate_where_the_kernel_overshoots() -> None:
    edge = torch.tensor([0, 0, 0, 255, 255, 255], dtype=torch.uint8).expand(1, 1, 6, 6)
    assert imresize(edge.double(), 2).max() > 255
    assert imresize(edge.double(), 2).min() < 0
    assert imresize(edge, 2).max() == 255
    assert imresize(edge, 2).min() == 0


@pytest.mark.parametrize("scale", [2 / 3, 0.75, 0.625])
def test_halves_are_rounded_up_even_where_floating_point_falls_short(scale: float) -> None:
    image = torch.randint(0, 256, (1, 3, 240, 240), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    turned = imresize(image.flip(2, 3), scale).flip(2, 3)  # what is added in the opposite order falls short elsewhere
    assert torch.equal(turned, imresize(image, scale))
