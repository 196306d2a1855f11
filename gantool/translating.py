"""From the rows of a picture to those of its translation: the asked size first, then the network; transparency stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gantool import tiling, transparency
from gantool.backends import Engine
from gantool.bands import Bands, Source, ahead, join, share
from gantool.images.page import Page
from gantool.resizing import resize
from gantool.scales import Target

_OWN = Target(1.0)


@dataclass(frozen=True)
class Translation:
    """What translates a picture.

    Attributes:
        engine: the network, of scale 1.
        target: the size that pictures get before they go through it; None keeps theirs.
        tile: side of what a window gives, in pixels; None chooses it, 0 takes the whole picture.
        keeps_gray: whether what is gray stays so; else it becomes RGB first.
    """

    engine: Engine
    target: Target | None = None
    tile: int | None = None
    keeps_gray: bool = False

    def page(self, page: Page) -> Page:
        """Return what the result for a page is like."""
        height, width = (self.target or _OWN).size(page.height, page.width, 1)
        channels = page.channels if self.keeps_gray or page.channels > 2 else page.channels + 2
        return replace(page, width=width, height=height, channels=channels)

    def inputs(self, page: Page) -> Sequence[int]:
        """Return the pixels of what goes through the network for a page."""
        result = self.page(page)
        return [result.width * result.height]

    def make(self, source: Source, page: Page, notify: tiling.Notify = lambda done: None) -> Bands:
        """Return the translation.

        Args:
            source: begins the picture.
            page: what the picture is like.
            notify: gets the part of the work that each step has done.

        Raises:
            OutOfMemory: there is none even for small parts.
            InputError: the picture cannot be read, or the network gave values that are not finite.
        """
        if not page.alpha:
            return self._colors(ahead(source()), page, notify)
        for_color, for_alpha = share(ahead(source()), 2)
        alpha = (band[:, :, -1:] for band in for_alpha)
        return join(self._colors(transparency.bleed(for_color), page, notify), self._sized(alpha, page))

    def _colors(self, bands: Bands, page: Page, notify: tiling.Notify) -> Bands:
        """Translate a picture without its alpha."""
        result = self.page(page)
        channels = result.channels - result.alpha
        if page.channels - page.alpha < channels:
            bands = (np.repeat(band, channels, 2) for band in bands)
        size = (result.height, result.width, channels)
        return tiling.run(self.engine, self._sized(bands, page), size, tile=self.tile, notify=notify)

    def _sized(self, bands: Bands, page: Page) -> Bands:
        """Give a picture the size that it is to have."""
        if self.target is None:
            return bands
        own = page.height, page.width
        return resize(bands, own, self.target.size(*own, 1), self.target.factors(*own, 1))
