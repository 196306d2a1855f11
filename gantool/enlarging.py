"""From the rows of a picture to those of the larger one: the network as often as it takes, transparency, the exact size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gantool import scales, tiling, transparency
from gantool.backends import Engine
from gantool.bands import Band, Bands, Source, ahead, join, share
from gantool.images.page import Page
from gantool.resizing import resize
from gantool.scales import Target


@dataclass(frozen=True)
class Enlarger:
    """What makes a picture larger.

    Attributes:
        engine: the network.
        target: how large results are to be.
        tile: side of what a window gives, in pixels; None chooses it, 0 takes the whole picture.
    """

    engine: Engine
    target: Target
    tile: int | None = None

    def page(self, page: Page) -> Page:
        """Return what the result for a page is like."""
        height, width = self.target.size(page.height, page.width, self.engine.scale)
        return replace(page, width=width, height=height)

    def _passes(self, page: Page) -> int:
        """Return how often a page goes through the network."""
        return scales.passes(max(self.target.factors(page.height, page.width, self.engine.scale)), self.engine.scale)

    def inputs(self, page: Page) -> Sequence[int]:
        """Return the pixels of what goes through the network for a page: its colours, its alpha, and results of both again."""
        own = self.engine.scale
        each = [page.width * page.height * own ** (2 * k) for k in range(self._passes(page))]
        return each * (1 + page.alpha)

    def make(self, source: Source, page: Page, notify: tiling.Notify = lambda done: None) -> Bands:
        """Return the larger picture.

        Gray stays gray and transparency stays. Alpha goes through the network as a gray picture does; where it is the same
        throughout, it does not.

        Args:
            source: begins the picture; called twice where there is alpha, as nothing is kept of it.
            page: what the picture is like.
            notify: gets the part of the work that each step has done.

        Raises:
            OutOfMemory: there is none even for small parts.
            InputError: the picture cannot be read, or the network gave values that are not finite.
        """
        if not page.alpha:
            return self._planes(ahead(source()), page, notify)
        color, gray = replace(page, channels=page.channels - 1), replace(page, channels=1)
        level = transparency.level(_alpha(source()))
        if level is not None:
            return (_with_level(band, level) for band in self._planes(_color(ahead(source())), color, notify))
        sizes = (page.height, page.width), self.target.size(page.height, page.width, self.engine.scale)
        for_color, for_alpha, flat = share(ahead(source()), 3)
        larger = self._planes(_alpha(for_alpha), gray, _part(notify, 0.5))
        return join(
            self._planes(transparency.bleed(for_color), color, _part(notify, 0.5)),
            transparency.keep_flat(_alpha(flat), larger, *sizes),
        )

    def _planes(self, bands: Bands, page: Page, notify: tiling.Notify) -> Bands:
        """Enlarge a picture without alpha."""
        own, size = self.engine.scale, (page.height, page.width)
        factors, count = self.target.factors(*size, own), self._passes(page)
        work = sum(own ** (2 * k) for k in range(count))
        now = size
        for k in range(count):
            told = _part(notify, own ** (2 * k) / work)
            bands = ahead(tiling.run(self.engine, bands, (*now, page.channels), tile=self.tile, notify=told))
            now = now[0] * own, now[1] * own
        return resize(bands, now, self.target.size(*size, own), (factors[0] / own**count, factors[1] / own**count))


def _part(notify: tiling.Notify, part: float) -> tiling.Notify:
    return lambda done: notify(part * done)


def _color(bands: Bands) -> Bands:
    return (band[:, :, :-1] for band in bands)


def _alpha(bands: Bands) -> Bands:
    return (band[:, :, -1:] for band in bands)


def _with_level(band: Band, level: int) -> Band:
    return np.concatenate([band, np.full_like(band[:, :, :1], level)], 2)
