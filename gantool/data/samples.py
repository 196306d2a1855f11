"""Training samples by number: floats in [0, 1], each a pure function of its number and the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gantool.data.framing import Cut, choose_cut, floats
from gantool.data.items import place
from gantool.data.making import Maker
from gantool.data.shelves import Frames
from gantool.degradations import in_8_bits
from gantool.fitting import Fit
from gantool.layers.color import with_channels

Sample = dict[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """What a sample shows: pictures that belong together, where to cut them, and the generator for what else is drawn."""

    item: int
    pictures: tuple[Tensor, ...]
    cut: Cut
    rng: np.random.Generator


@dataclass(frozen=True)
class Cuts(Dataset[Sample]):
    """Training images cut from pictures, and from those that belong together at the same place.

    Attributes:
        frames: the pictures.
        names: what the images of a sample are called.
        size: pixels a side.
        fit: where to cut.
        key: the seed, and what tells this order of pictures from others.
    """

    frames: Frames
    names: tuple[str, ...]
    size: int
    fit: Fit
    key: tuple[int, ...]

    def __getitem__(self, number: int) -> Sample:
        """Return sample number `number`, any non-negative one: images (C, size, size)."""
        return self.images(self.drawn(number))

    def drawn(self, number: int) -> Drawn:
        """Return what sample number `number` shows."""
        item, rng = place(number, len(self.frames), *self.key)
        pictures = self.frames[item]
        return Drawn(item, pictures, choose_cut(pictures[0], self.size, self.fit, rng), rng)

    def images(self, drawn: Drawn) -> Sample:
        """Return the images of a sample, (C, size, size)."""
        return {name: floats(drawn.cut.of(picture)) for name, picture in zip(self.names, drawn.pictures, strict=True)}


@dataclass(frozen=True)
class Made(Dataset[Sample]):
    """Pairs whose input is made of the target.

    Attributes:
        cuts: of RGB pictures.
        maker: what makes inputs.
        channels: of the images that come out.
    """

    cuts: Cuts
    maker: Maker
    channels: int

    def __getitem__(self, number: int) -> Sample:
        """Return pair number `number`: "input" and "target", (channels, size, size)."""
        drawn, margin = self.cuts.drawn(number), self.maker.margin
        around = floats(drawn.cut.of(drawn.pictures[0], margin))
        inside = slice(margin, margin + drawn.cut.size)
        pair = {"input": in_8_bits(self.maker.make(around, drawn.rng)), "target": around}
        pair = {name: image[:, inside, inside] for name, image in pair.items()}
        return {name: with_channels(image, self.channels).contiguous() for name, image in pair.items()}


@dataclass(frozen=True)
class Labelled(Dataset[Sample]):
    """Training images with labels.

    Attributes:
        cuts: the images.
        labels: (N, K), a row per picture of the shelf.
    """

    cuts: Cuts
    labels: Tensor

    def __getitem__(self, number: int) -> Sample:
        """Return sample number `number`: "image" (C, size, size) and "label" (K,)."""
        drawn = self.cuts.drawn(number)
        return {**self.cuts.images(drawn), "label": self.labels[self.cuts.frames.numbers[drawn.item]]}


@dataclass(frozen=True)
class Unpaired(Dataset[Sample]):
    """Images of two domains, each in an order of its own."""

    a: Cuts
    b: Cuts

    def __getitem__(self, number: int) -> Sample:
        """Return sample number `number`: "a" and "b", (C, size, size)."""
        return {**self.a[number], **self.b[number]}


@dataclass(frozen=True)
class Turns(Dataset[Sample]):
    """Labelled data sets that take turns, a batch each; labels of the others are unknown, 0.

    Attributes:
        sets: at least two.
        counts: how many labels each has, of those of a sample, in this order.
        batch: samples a batch.
    """

    sets: Sequence[Labelled]
    counts: Sequence[int]
    batch: int

    def __getitem__(self, number: int) -> Sample:
        """Return sample number `number`: "image", "label" with the columns of all sets, and "mask" (sets,)."""
        count = len(self.sets)
        turn, position = divmod(number, self.batch)
        own = (turn + turn // count) % count  # shifted by one each round, so that a critic's turns meet all
        sample = self.sets[own][turn // count * self.batch + position]
        parts = [sample["label"] if n == own else torch.zeros(k) for n, k in enumerate(self.counts)]
        mask = torch.zeros(count)
        mask[own] = 1
        return {"image": sample["image"], "label": torch.cat(parts), "mask": mask}
