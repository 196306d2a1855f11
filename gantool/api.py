"""gantool from Python: what the commands do, under their names. `import gantool` offers it, loaded when first used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gantool import images, weights
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
    """Return a PNG or JPEG picture.

    Raises:
        InputError: it cannot be read, is damaged, or of a kind that is not supported.
    """
    return images.read(Path(path))


def write(path: str | Path, picture: Picture) -> None:
    """Write a picture, as PNG or JPEG by the name's extension; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written, or is transparent and to be JPEG.
        RunError: the disk is full.
    """
    images.write(Path(path), picture)
