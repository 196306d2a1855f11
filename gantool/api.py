"""gantool from Python: what the commands do, under their names. `import gantool` offers it, loaded when first used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gantool import generate as generate_verb
from gantool import images, weights
from gantool import translate as translate_verb
from gantool import upscale as upscale_verb
from gantool.images import Picture

__all__ = ["Model", "Picture", "load", "read", "write"]


@dataclass(frozen=True)
class Model:
    """A model ready to use.

    Attributes:
        weights: its system, header and hash.
    """

    weights: weights.Model

    def upscale(self, picture: Picture, scale: float | None = None, device: str = "auto") -> Picture:
        """Return a larger picture; see `gantool.upscale.upscale`, which also takes tiles, halo and precision.

        Args:
            picture: 8-bit gray or RGB, with or without alpha; not changed.
            scale: output side / input side, the model's own if None.
            device: auto, cpu, cuda, cuda:1 or mps.

        Raises:
            UsageError: the model does not upscale, or not so far.
            InputError: the network gave values that are not finite.
        """
        return upscale_verb.upscale(picture, self.weights, scale, device=device)

    def translate(self, picture: Picture, to: str | None = None, device: str = "auto") -> Picture:
        """Return a translated picture of the same size; see `gantool.translate.translate`, which also takes attributes.

        Args:
            picture: 8-bit gray or RGB, with or without alpha; not changed.
            to: one of the model's targets, where it has several.
            device: auto, cpu, cuda, cuda:1 or mps.

        Raises:
            UsageError: the model does not translate, or not to this.
            InputError: the network gave values that are not finite.
        """
        return translate_verb.translate(picture, self.weights, to, device=device)

    def generate(
        self, seeds: Iterable[int], label: str | int | None = None, truncation: float | None = None, device: str = "auto"
    ) -> Iterator[Picture]:
        """Yield a picture for each seed, always the same; see `gantool.generate.generate`, which also takes several labels.

        Args:
            seeds: 0 to 2**63 - 1.
            label: name or index of a class; without one, each seed draws its own.
            truncation: numbers in a latent that are further from 0 than this are drawn again.
            device: auto, cpu, cuda, cuda:1 or mps.

        Raises:
            UsageError: the model does not generate, or has no such class.
            InputError: the network gave values that are not finite.
        """
        return generate_verb.generate(self.weights, seeds, () if label is None else (label,), truncation, device=device)


def load(reference: str, *, offline: bool = False, registry: Path | None = None) -> Model:
    """Return a model by name ("span-x4"), by `org/repo[@revision][:file]` on the Hub, or from a file.

    Args:
        reference: what `gantool upscale -m` takes.
        offline: never ask the network.
        registry: a weights.toml of one's own, added to the shipped one.

    Raises:
        UsageError: there is no such model; near names are in the message.
        WeightsError: the weights cannot be had, are damaged, unsafe, or fit no system.
    """
    return Model(weights.load(reference, offline=offline, registry=registry))


def read(path: str | Path) -> Picture:
    """Return a picture, of pages or frames the first, in 8 bits.

    Raises:
        InputError: it cannot be read, is damaged, or of a kind that is not supported.
    """
    return images.read(Path(path))


def write(path: str | Path, picture: Picture) -> None:
    """Write a picture in the format of the name's extension; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written, or is transparent and to be JPEG.
        RunError: the disk is full.
    """
    images.write(Path(path), picture)
