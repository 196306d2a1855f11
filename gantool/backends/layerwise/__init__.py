"""A network that looks at the whole picture, on pictures that do not fit into memory: block by block, each over all tiles.

Between two blocks lie the questions that the network asks of whole feature maps. A pass over all tiles adds up the answers; the
next one has them. So tiles agree with the whole-image result, but for the last bits of the float values, as in `tiling`.
"""

from __future__ import annotations

import time
from functools import cached_property
from math import ceil, isqrt

import numpy as np
import torch

from gantool.backends.layerwise.dividing import Division, divide
from gantool.backends.layerwise.passes import Notify, Passes
from gantool.backends.layerwise.recording import Undividable
from gantool.backends.layerwise.setting import Setting
from gantool.backends.layerwise.spool import check_space, folder
from gantool.backends.layerwise.tiles import NO_MEMORY
from gantool.bands import Bands
from gantool.errors import OutOfMemory, say

_SMALLEST = 32  # pixels that a tile gives
_TOLERANCE = 66  # levels of 65535 by which a trial may be off, a thousandth


class Layerwise:
    """A network that looks at the whole picture, over tiles; for any number of pictures."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def run(self, bands: Bands, size: tuple[int, int], tile: int | None, notify: Notify) -> Bands:
        """Run on a picture.

        Args:
            bands: the picture, taken once; it is put away on disk.
            size: its height and width.
            tile: side of what a window gives, in pixels; None chooses it by the network's need of memory.
            notify: gets the share of the work that each step has done.

        Yields:
            the result.

        Raises:
            OutOfMemory: there is none even for small tiles, not enough space on disk, or the network cannot be done in tiles.
            InputError: the network gave a value that is not finite.
        """
        try:
            yield from self._run(bands, size, tile, notify)
        except Undividable as error:
            remedy = "use --tile off" if tile else f"for {size[1]}x{size[0]} pixels at once free memory, or crop the picture"
            raise OutOfMemory(f"the network looks at whole pictures and cannot do tiles, as {error}: {remedy}") from error
        except (RuntimeError, MemoryError) as error:  # on the small images that show how
            if not self._setting.engine.is_out_of_memory(error):
                raise
            raise OutOfMemory(NO_MEMORY) from error

    def _run(self, bands: Bands, size: tuple[int, int], tile: int | None, notify: Notify) -> Bands:
        started, division = time.monotonic(), self._division
        check_space(division.space * size[0] * size[1])
        passes = Passes(self._setting, division, size, tile or self._side(division.halo))
        yield from passes.run(bands, notify)
        say(
            f"the network looks at the whole picture, which was done in {passes.tiles} tiles: {division.questions} statistics "
            f"in {len(division.passes)} passes, {passes.cost:.1f} times the arithmetic of one, "
            f"{division.spilled * size[0] * size[1] / 2**30:.1f} GB through {folder()}, {time.monotonic() - started:.0f} s"
        )

    def _side(self, halo: int) -> int:
        """Return the side of what a tile gives."""
        nature = self._setting.engine.nature(self._setting.channels)
        side = min(nature.side, isqrt(max(1, int(nature.memory / nature.bytes_per_pixel))))
        return max(_SMALLEST, halo, side - 2 * halo)

    @cached_property
    def _division(self) -> Division:
        setting, multiple = self._setting, self._setting.engine.multiple
        division = divide(setting, self._side(0) // 8)
        side = ceil((4 * division.halo + 48) / multiple) * multiple
        levels = np.random.default_rng(0).integers(0, 65536, (side, side, setting.channels), np.uint16)
        with torch.inference_mode():
            expected = setting.to_levels(setting.network(setting.to_tensor(levels)), levels.dtype)
        trial = Passes(setting, division, (side, side), side // 3).run(iter([levels]), lambda share: None)
        apart = np.abs(np.concatenate(list(trial)).astype(np.int32) - expected)
        if apart.max() > _TOLERANCE:
            raise Undividable("in tiles it gives something else than at once")
        return division
