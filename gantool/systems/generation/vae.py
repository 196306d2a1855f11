"""VAE: an autoencoder whose codes are normal, so that it can draw new images (Kingma and Welling, ICLR 2014, arXiv:1312.6114).

Reference code: none by the authors; the default is the network of github.com/pytorch/examples (BSD-3-Clause), whose layout is
read, the preset "conv" the convolutional one of keras.io's examples (Apache-2.0).
The encoder gives each image a normal distribution of codes, the decoder turns a code drawn from it back; the loss bounds the
likelihood of the data from below (eq. 10). A pixel's value is taken as the probability that it is white.
Departures from the paper: Adam and more units, as in the examples, where the paper has Adagrad; the loss is the mean over a
batch, where the first example has the sum, which Adam does not tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.losses import divergence_from_normal
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, check_choices


@dataclass(frozen=True)
class Config:
    """The fully connected network of PyTorch's example."""

    form: str = "mlp"  # fully connected: mlp; convolutions: conv
    size: int = 28  # pixels per side of an image; a multiple of 4 where form is conv
    image_channels: int = 1  # 1 gray, 3 RGB
    units: int = 400  # of the hidden layers; where form is conv, between convolutions and code
    channels: int = 32  # where form is conv: width next to the image, doubled once
    latent: int = 20  # numbers in a code
    learning_rate: float = 1e-3  # Adam
    steps: int = 4_690  # 10 epochs of 60,000 digits
    batch: int = 128  # images per step


PRESETS = {"mlp": Config(), "conv": Config(form="conv", units=16, latent=2, steps=16_410)}  # 30 epochs of 70,000


class MLPEncoder(nn.Module):
    """One hidden layer from an image to the mean and log variance of its code."""

    def __init__(self, shape: tuple[int, int, int], units: int, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(shape[0] * shape[1] * shape[2], units)
        self.mean = nn.Linear(units, latent)
        self.log_variance = nn.Linear(units, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (N, latent) for images (N, C, H, W) in [0, 1]."""
        features = F.relu(self.hidden(images.flatten(1)))
        return self.mean(features), self.log_variance(features)


class MLPDecoder(nn.Module):
    """One hidden layer from a code to the logits of pixels."""

    def __init__(self, shape: tuple[int, int, int], units: int, latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.hidden = nn.Linear(latent, units)
        self.pixels = nn.Linear(units, shape[0] * shape[1] * shape[2])

    def forward(self, codes: Tensor) -> Tensor:
        """Return logits (N, C, H, W) for codes (N, latent)."""
        logits: Tensor = self.pixels(F.relu(self.hidden(codes)))
        return logits.reshape(-1, *self.shape)


class ConvEncoder(nn.Module):
    """Two strided convolutions and a dense layer from an image to the mean and log variance of its code."""

    def __init__(self, shape: tuple[int, int, int], channels: int, units: int, latent: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.hidden = nn.Linear(2 * channels * (shape[1] // 4) * (shape[2] // 4), units)
        self.mean = nn.Linear(units, latent)
        self.log_variance = nn.Linear(units, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (N, latent) for images (N, C, H, W) in [0, 1]."""
        maps = F.relu(self.conv2(F.relu(self.conv1(images))))
        features = F.relu(self.hidden(maps.flatten(1)))
        return self.mean(features), self.log_variance(features)


class ConvDecoder(nn.Module):
    """A dense layer and transposed convolutions from a code to the logits of pixels."""

    def __init__(self, shape: tuple[int, int, int], channels: int, latent: int) -> None:
        super().__init__()
        self.maps = (2 * channels, shape[1] // 4, shape[2] // 4)
        self.hidden = nn.Linear(latent, self.maps[0] * self.maps[1] * self.maps[2])
        self.up1 = nn.ConvTranspose2d(2 * channels, 2 * channels, 3, stride=2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(2 * channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.pixels = nn.ConvTranspose2d(channels, shape[0], 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Return logits (N, C, H, W) for codes (N, latent)."""
        maps = F.relu(self.hidden(codes)).reshape(-1, *self.maps)
        logits: Tensor = self.pixels(F.relu(self.up2(F.relu(self.up1(maps)))))
        return logits


def _detect(state: Mapping[str, Tensor]) -> Config:
    pixels = state["fc1.weight"].shape[1]
    size = round(sqrt(pixels)) if round(sqrt(pixels)) ** 2 == pixels else round(sqrt(pixels / 3))
    units, latent = state["fc1.weight"].shape[0], state["fc21.weight"].shape[0]
    return Config(size=size, image_channels=pixels // size**2, units=units, latent=latent)


class VAE(System):
    """Images from codes, and codes from images."""

    folder: ClassVar[FolderKind] = "plain"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "example",
            ("fc1.weight", "fc21.weight", "fc22.weight", "fc3.weight", "fc4.weight"),
            _detect,
            (
                (r"^fc1\.", "encoder.hidden."),
                (r"^fc21\.", "encoder.mean."),
                (r"^fc22\.", "encoder.log_variance."),
                (r"^fc3\.", "decoder.hidden."),
                (r"^fc4\.", "decoder.pixels."),
            ),
        ),
    )
    config: Config
    classes: tuple[str, ...] = ()
    truncates: bool = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"form": ("mlp", "conv")})
        if c.form == "conv" and c.size % 4:
            raise UsageError(f"vae with form = conv makes no images of {c.size} pixels a side: use a multiple of 4")
        self.latent = (c.latent,)
        self.image_channels = c.image_channels
        shape = (c.image_channels, c.size, c.size)
        self.encoder: nn.Module
        self.decoder: nn.Module
        if c.form == "mlp":
            self.encoder, self.decoder = MLPEncoder(shape, c.units, c.latent), MLPDecoder(shape, c.units, c.latent)
        else:
            self.encoder = ConvEncoder(shape, c.channels, c.units, c.latent)
            self.decoder = ConvDecoder(shape, c.channels, c.latent)

    def stages(self) -> list[Stage]:
        """One stage, both networks together."""
        c = self.config
        phase = Phase("autoencoder", [self.encoder, self.decoder], self.losses, adam(c.learning_rate))
        return [Stage("likelihood", c.steps, [phase], c.batch, c.size)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The bound with its sign turned, in nats per image (eq. 10): cross-entropy over all pixels, and divergence."""
        images = batch["image"]
        mean, log_variance = self.encoder(images)
        return self._bound(images, mean, log_variance, torch.randn_like(mean))

    def _bound(self, images: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor) -> dict[str, Tensor]:
        logits = self.decoder(mean + (log_variance / 2).exp() * noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        count = images.shape[0]
        return {"reconstruction": reconstruction / count, "divergence": divergence_from_normal(mean, log_variance) / count}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return the bound on the log-likelihood, in nats, the mean over a batch; higher is better.

        The noise is the same in every call, so that scores of different networks compare.
        """
        images = batch["image"]
        mean, log_variance = self.encoder(images)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(mean)
        terms = self._bound(images, mean, log_variance, noise)
        return {"elbo": -terms["reconstruction"] - terms["divergence"]}

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] for standard normal latents (N, latent); there are no labels."""
        images: Tensor = self.decoder(latents).sigmoid()
        return images

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Both: the decoder draws images, the encoder is needed to score them."""
        return {"encoder": self.encoder, "decoder": self.decoder}
