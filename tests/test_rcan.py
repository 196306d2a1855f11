"""RCAN's attention, and its pictures in parts, which it can only do with what it has learnt of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import image, randomize, tiny

from gantool import tiling
from gantool.backends.pytorch import TorchEngine
from gantool.errors import UsageError, WeightsError
from gantool.systems.super_resolution.rcan import RCAN, ChannelAttention, Config

LAYOUT = RCAN.layouts[0]


def test_attention_weighs_each_channel_by_all_channels_means() -> None:
    layer = ChannelAttention(6, 2).double()
    randomize(layer)
    given = image(2, 6, 5, 7)
    down, up = (part.weight[:, :, 0, 0] for part in (layer.down, layer.up))
    hidden = (given.mean((2, 3)) @ down.mT + layer.down.bias).clamp(min=0)
    weights = 1 / (1 + torch.exp(-(hidden @ up.mT + layer.up.bias)))
    torch.testing.assert_close(layer(given), given * weights[:, :, None, None])


def test_the_rate_is_halved_every_two_hundred_thousand_of_a_million_steps() -> None:
    with torch.device("meta"):
        [stage] = RCAN(Config()).stages()
    [phase] = stage.phases
    assert (stage.steps, stage.batch, stage.size) == (1_000_000, 16, 192)
    factors = [phase.schedule(step / stage.steps) for step in (0, 199_999, 200_000, 399_999, 400_000, 999_999)]
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.0625]


def test_more_reduction_than_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="reduction 16 leaves nothing of 8 channels"):
        RCAN(Config(channels=8))


@pytest.mark.parametrize("white", [255.0, 1.0])
def test_the_value_of_white_is_read_from_the_mean_colour(white: float) -> None:
    mean = torch.tensor([0.4488, 0.4371, 0.4040])
    found = LAYOUT.config({**shapes(), "sub_mean.bias": -white * mean})
    assert (found.rgb_range, found.mean_shift) == (white, True)  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=r"sub_mean\.bias is .* this RCAN was trained otherwise"):
        LAYOUT.config({**shapes(), "sub_mean.bias": -200 * mean})


def shapes() -> dict[str, torch.Tensor]:
    names = {"head.0": (8, 3), "tail.0.0": (32, 8), "body.0.body.0.body.3.conv_du.0": (2, 8)}
    return {f"{name}.weight": torch.zeros(*shape, 3, 3) for name, shape in names.items()}


@pytest.mark.parametrize(("scale", "size", "tile"), [(2, (61, 47), 16), (3, (33, 70), 24), (4, (40, 41), 1000)])
def test_in_tiles_it_gives_what_it_gives_at_once(scale: int, size: tuple[int, int], tile: int) -> None:
    system = tiny("rcan", scale=scale).float().requires_grad_(False)
    assert isinstance(system, RCAN)
    system.generator.conv_last.weight *= 20  # so that there is something to see
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    levels[:, : size[1] // 2] //= 4  # whose halves have other means than the whole
    engine = TorchEngine(system.upscale, scale=scale, radius=system.radius)
    bands = (levels[row : row + 13] for row in range(0, size[0], 13))
    found = np.concatenate(list(tiling.run(engine, bands, levels.shape, tile=tile)))
    with torch.inference_mode():
        whole = system.upscale(torch.from_numpy(levels).permute(2, 0, 1)[None] / 255)
        half = system.upscale(torch.from_numpy(levels[:, : size[1] // 2]).permute(2, 0, 1)[None] / 255)
    expected = (255 * whole[0] + 0.5).floor().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1  # on a rounding edge
    assert (found == expected).mean() > 0.999
    assert expected.std() > 5
    inside = scale * (size[1] // 2 - 16)  # out of sight of where it was cut
    assert (whole[..., :inside] - half[..., :inside]).abs().max() > 2 / 255, "else means would not matter"
