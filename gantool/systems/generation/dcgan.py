"""DCGAN: convolutions without pooling, with batch norm, that compete stably (Radford et al., ICLR 2016, arXiv:1511.06434).

Reference code: github.com/Newmu/dcgan_code (MIT).
The default is the smaller recipe that most later work starts from, of github.com/pytorch/examples (BSD-3-Clause); the preset
"paper" is the authors' own: twice as wide, 5x5 kernels, uniform noise, weight decay. The layouts of the former, of huggan
(Hugging Face community events, MIT) and of github.com/facebookresearch/pytorch_GAN_zoo (BSD-3-Clause) are read.
Departures from the paper: in every step both networks learn once, from one batch and the same made images, as the example has
it, where the authors' code gives each step to one network in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from gantool.errors import UsageError
from gantool.losses import discriminator_losses, generator_loss
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, check_choices
from gantool.systems.generation.gan import check_share, uniform


@dataclass(frozen=True)
class Config:
    """The 64-pixel recipe of the example."""

    size: int = 64  # pixels per side of an image: 4 times a power of 2, from 8 on
    image_channels: int = 3  # 1 gray, 3 RGB
    channels: int = 64  # width next to the image; doubled whenever the side is halved, down to 4 pixels
    latent: int = 100  # numbers in a latent
    kernel: int = 4  # side of the strided kernels in pixels: 4, in the authors' code 5
    prior: str = "normal"  # of a latent's numbers: normal, or uniform in [-1, 1] as in the paper (section 4)
    norm_positions: bool = False  # the generator's first batch norm takes each of the 4x4 positions apart (authors' code)
    weight_decay: float = 0.0  # factor on the weights that is added to their gradients; 1e-5 in the authors' code
    learning_rate: float = 2e-4  # Adam (section 4)
    beta: float = 0.5  # Adam's momentum (section 4)
    steps: int = 136_719  # 25 epochs of the 350,000 faces of the paper (section 4.2)
    batch: int = 64  # images per step


PRESETS = {
    "example": Config(),
    "paper": Config(channels=128, kernel=5, prior="uniform", norm_positions=True, weight_decay=1e-5, steps=68_359, batch=128),
}


def initialize(module: nn.Module) -> None:
    """Draw the weights of all layers as DCGAN does: normal with deviation 0.02, round 1 in batch norms; biases are 0."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def doublings(size: int) -> int:
    """Return how often the side doubles from 4 pixels to `size`.

    Raises:
        UsageError: it is not 4 times a power of 2, or less than 8.
    """
    if size < 8 or size.bit_count() != 1:
        raise UsageError(f"dcgan makes no images of {size} pixels a side: use 8, 16, 32, 64 or a higher power of 2")
    return size.bit_length() - 3


class DCGANGenerator(nn.Module):
    """Transposed convolutions from a latent to an image in [0, 1] (fig. 1); the tanh's [-1, 1] is converted here."""

    def __init__(
        self, size: int, image_channels: int, channels: int, latent: int, kernel: int, prior: str, norm_positions: bool
    ) -> None:
        super().__init__()
        self.prior = prior
        count = doublings(size)
        widths = [channels << number for number in reversed(range(count))]
        norm = _norm_of_positions(widths[0]) if norm_positions else nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, bias=False), norm, nn.ReLU()]
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            layers += [_doubling(c_in, c_out, kernel), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, _doubling(channels, image_channels, kernel))

    def forward(self, latents: Tensor) -> Tensor:
        """Return (N, image_channels, size, size) for standard normal (N, latent)."""
        noise = uniform(latents, -1, 1) if self.prior == "uniform" else latents
        signed: Tensor = self.layers(noise[:, :, None, None]).tanh()
        return (signed + 1) / 2


def _doubling(c_in: int, c_out: int, kernel: int) -> nn.ConvTranspose2d:
    padding, rest = (kernel - 1) // 2, kernel % 2
    return nn.ConvTranspose2d(c_in, c_out, kernel, 2, padding, output_padding=rest, bias=False)


def _norm_of_positions(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16 * channels), nn.Unflatten(1, (channels, 4, 4)))


class DCGANDiscriminator(nn.Module):
    """Strided convolutions from an image in [0, 1] to a logit; inside it is [-1, 1]."""

    def __init__(self, size: int, image_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        widths = [channels << number for number in range(doublings(size))]
        layers: list[nn.Module] = [_halving(image_channels, channels, kernel), nn.LeakyReLU(0.2)]
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            layers += [_halving(c_in, c_out, kernel), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, image_channels, size, size)."""
        logits: Tensor = self.layers(2 * images - 1)
        return logits.flatten(1)


def _halving(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, 2, (kernel - 1) // 2, bias=False)


def decayed_adam(rate: float, beta: float, decay: float) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a maker of Adam optimisers that adds `decay` times the weights, but not the norms and biases, to gradients."""

    def make(modules: Sequence[nn.Module]) -> Optimizer:
        parameters = [p for module in modules for p in module.parameters()]
        weights, rest = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
        groups = [{"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
        return Adam(groups, lr=rate, betas=(beta, 0.999))

    return make


def _place_last(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the last layer, which alone has a name in its layout, under its number."""
    number = 3 * (sum(tensor.dim() == 4 for tensor in tensors.values()) - 1)
    return {key.replace("generator.last.", f"generator.layers.{number}."): tensor for key, tensor in tensors.items()}


def _detect(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of a generator from its convolutions, in the order of their numbers."""
    keys = sorted(state, key=lambda key: [part.zfill(4) for part in key.split(".")])
    kernels = [state[key] for key in keys if state[key].dim() == 4]
    count = len(kernels) - 1
    return Config(
        size=4 << count,
        image_channels=kernels[-1].shape[1],
        channels=kernels[-1].shape[0],
        latent=kernels[0].shape[0],
        kernel=kernels[-1].shape[2],
    )


class DCGAN(System):
    """Images from noise by convolutions."""

    folder: ClassVar[FolderKind] = "plain"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "example",
            ("main.0.weight", "main.1.running_mean", "main.3.weight"),
            _detect,
            ((r"^main\.", "generator.layers."),),
            without=("main.9.main.0.weight",),  # StarGAN
        ),
        Layout(
            "huggan",
            ("model.0.weight", "model.1.running_mean", "model.3.weight"),
            _detect,
            ((r"^model\.", "generator.layers."),),
        ),
        Layout(
            "GAN zoo",
            ("formatLayer.weight", "main.batchNorm0.running_mean", "main.convTranspose1.weight", "main.outlayer.weight"),
            _detect,
            (
                (r"^formatLayer\.", "generator.layers.0."),
                (r"^main\.convTranspose(\d+)\.", lambda m: f"generator.layers.{3 * int(m[1])}."),
                (r"^main\.batchNorm(\d+)\.", lambda m: f"generator.layers.{3 * int(m[1]) + 1}."),
                (r"^main\.outlayer\.", "generator.last."),
            ),
            adapt=_place_last,
        ),
    )
    config: Config
    classes: tuple[str, ...] = ()
    truncates: bool = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"prior": ("normal", "uniform")})
        check_share("beta", c.beta)
        self.latent = (c.latent,)
        self.image_channels = c.image_channels
        self.generator = DCGANGenerator(c.size, c.image_channels, c.channels, c.latent, c.kernel, c.prior, c.norm_positions)
        self.discriminator = DCGANDiscriminator(c.size, c.image_channels, c.channels, c.kernel)
        initialize(self)
        self.behaviour = "batch norm by the statistics of training"
        self._made: tuple[Batch, Tensor] | None = None  # within a step: what the discriminator judged beside this batch

    def stages(self) -> list[Stage]:
        """One stage; in each step the discriminator first, then the generator through the new discriminator."""
        c = self.config
        optimizer = decayed_adam(c.learning_rate, c.beta, c.weight_decay)
        discriminator = Phase("discriminator", [self.discriminator], self.discriminator_losses, optimizer)
        generator = Phase("generator", [self.generator], self.generator_losses, optimizer)
        return [Stage("adversarial", c.steps, [discriminator, generator], c.batch, c.size)]

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of a batch of real and a batch of made images, each normalised by its own statistics."""
        fake = self._make(batch)
        self._made = batch, fake
        return discriminator_losses("nonsaturating", self.discriminator(batch["image"]), self.discriminator(fake.detach()))

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """-log D of the images that the discriminator has just learned from."""
        made, self._made = self._made, None
        fake = made[1] if made is not None and made[0] is batch else self._make(batch)
        return {"adversarial": generator_loss("nonsaturating", self.discriminator(fake))}

    def _make(self, batch: Batch) -> Tensor:
        """Return as many images as there are real ones, with the generator's graph, although another may have the turn."""
        real = batch["image"]
        waiting = [p for p in self.generator.parameters() if not p.requires_grad]
        for parameter in waiting:
            parameter.requires_grad_(True)
        fake: Tensor = self.generator(torch.randn(real.shape[0], *self.latent, device=real.device, dtype=real.dtype))
        for parameter in waiting:
            parameter.requires_grad_(False)
        return fake

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] for standard normal latents (N, latent); there are no labels."""
        images: Tensor = self.generator(latents)
        return images

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
