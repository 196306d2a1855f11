"""cGAN: images of the class that is asked for, told to both networks (Mirza and Osindero, preprint 2014, arXiv:1411.1784).

Reference code: none by the authors. Three forms of the idea are here, each with its published recipe.
The default "embedding" is the widely used small one: a table gives each class a vector, a linear layer makes it an extra
channel of the maps or the image. "one-hot" is that of the DCGAN authors (github.com/Newmu/dcgan_code, MIT): the class's
vector joins every layer. "mlp" is the paper's own: fully connected layers with maxout.
Departures from the paper: in "mlp" the length of training, which the paper leaves to a validation set, and the place of its
dropout, which it does not name (here: hidden layers); in "embedding" the generator learns from as many images a step as the
discriminator sees made ones, where its source takes twice as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, printable
from gantool.losses import discriminator_losses, generator_loss
from gantool.schedules import constant, linear_decay
from gantool.system import Batch, FolderKind, Phase, Stage, System, check_choices
from gantool.systems.generation.dcgan import decayed_adam, initialize
from gantool.systems.generation.gan import Maxout, check_share, rising_momentum, sgd, shrinking, uniform

FORMS = ("embedding", "one-hot", "mlp")


@dataclass(frozen=True)
class Config:
    """The embedding form for digits or clothing of 28 pixels a side."""

    form: str = "embedding"  # how the class is told: embedding, one-hot, mlp
    size: int = 28  # pixels per side of an image; a multiple of 4, unless form is mlp
    image_channels: int = 1  # 1 gray, 3 RGB
    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")  # names, in the order of the labels
    channels: int = 128  # width of the convolutions; where form is one-hot, next to the image; not used in mlp
    latent: int = 100  # numbers in a latent
    embedding: int = 50  # numbers per class in the table; only where form is embedding
    dropout: float = 0.4  # share of hidden units that is dropped in training; not used in one-hot
    weight_decay: float = 0.0  # factor on the weights that is added to their gradients; not used in mlp
    learning_rate: float = 2e-4  # Adam with betas (0.5, 0.999); mlp: of SGD, at the start
    decay_from: float = 1.0  # share of the steps from which on the rate falls to 0 in a straight line; not used in mlp
    steps: int = 93_750  # 100 epochs of 60,000 images
    batch: int = 64  # real images per step, beside as many made ones


PRESETS = {
    "embedding": Config(),
    "one-hot": Config(
        form="one-hot", channels=64, weight_decay=2.5e-5, decay_from=0.5, batch=128
    ),  # 100 epochs and 100 of decay
    "mlp": Config(form="mlp", dropout=0.5, learning_rate=0.1, steps=125_000, batch=100),  # 250 epochs of 50,000
}


class EmbeddingGenerator(nn.Module):
    """Two transposed convolutions over the latent's maps and one map of the class."""

    def __init__(self, size: int, image_channels: int, classes: int, channels: int, latent: int, embedding: int) -> None:
        super().__init__()
        self.side, self.channels = size // 4, channels
        self.table = _table(classes, embedding)
        self.map = nn.Linear(embedding, self.side**2)
        self.latent = nn.Linear(latent, channels * self.side**2)
        self.up1 = nn.ConvTranspose2d(channels + 1, channels, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(channels, channels, 4, 2, 1)
        self.last = nn.Conv2d(channels, image_channels, 7, padding=3)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return images (N, image_channels, size, size) in [0, 1] for latents (N, latent) and labels (N, classes)."""
        class_map = self.map(self.table(labels)).reshape(-1, 1, self.side, self.side)
        x = F.leaky_relu(self.latent(latents), 0.2).reshape(-1, self.channels, self.side, self.side)
        x = F.leaky_relu(self.up1(torch.cat([x, class_map], 1)), 0.2)
        signed: Tensor = self.last(F.leaky_relu(self.up2(x), 0.2)).tanh()
        return (signed + 1) / 2


class EmbeddingDiscriminator(nn.Module):
    """Two strided convolutions over the image, [-1, 1] inside, and one channel of the class."""

    def __init__(self, size: int, image_channels: int, classes: int, channels: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.size = size
        self.table = _table(classes, embedding)
        self.map = nn.Linear(embedding, size**2)
        self.conv1 = nn.Conv2d(image_channels + 1, channels, 3, 2, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(channels * (size // 4) ** 2, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, image_channels, size, size) in [0, 1] and labels (N, classes)."""
        class_map = self.map(self.table(labels)).reshape(-1, 1, self.size, self.size)
        x = F.leaky_relu(self.conv1(torch.cat([2 * images - 1, class_map], 1)), 0.2)
        x = F.leaky_relu(self.conv2(x), 0.2)
        logits: Tensor = self.logit(self.dropout(x.flatten(1)))
        return logits


def _initialize_evenly(module: nn.Module) -> None:
    """Draw weights as the form's source does (Glorot and Bengio 2010, eq. 16); torch's own are too small to begin the game."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _table(classes: int, embedding: int) -> nn.Linear:
    """Return an embedding that takes labels as vectors, hence also mixtures of classes."""
    return nn.Linear(classes, embedding, bias=False)


class OneHotGenerator(nn.Module):
    """Dense layers and two transposed convolutions; the class joins the input of each."""

    def __init__(self, size: int, image_channels: int, classes: int, channels: int, latent: int) -> None:
        super().__init__()
        self.maps = (2 * channels, size // 4, size // 4)
        flat, wide = 2 * channels * (size // 4) ** 2, 16 * channels
        self.dense1 = nn.Linear(latent + classes, wide, bias=False)
        self.norm1 = nn.BatchNorm1d(wide)
        self.dense2 = nn.Linear(wide + classes, flat, bias=False)
        self.norm2 = nn.BatchNorm1d(flat)
        self.up1 = nn.ConvTranspose2d(2 * channels + classes, channels, 5, 2, 2, output_padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.up2 = nn.ConvTranspose2d(channels + classes, image_channels, 5, 2, 2, output_padding=1, bias=False)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return images (N, image_channels, size, size) in [0, 1] for latents (N, latent) and labels (N, classes)."""
        x = F.relu(self.norm1(self.dense1(_joined(uniform(latents, -1, 1), labels))))
        x = F.relu(self.norm2(self.dense2(_joined(x, labels)))).reshape(-1, *self.maps)
        x = F.relu(self.norm3(self.up1(_joined(x, labels))))
        images: Tensor = self.up2(_joined(x, labels)).sigmoid()
        return images


class OneHotDiscriminator(nn.Module):
    """Two strided convolutions and dense layers over the image in [0, 1]; the class joins the input of each."""

    def __init__(self, size: int, image_channels: int, classes: int, channels: int) -> None:
        super().__init__()
        wide = 16 * channels
        self.conv1 = nn.Conv2d(image_channels + classes, channels, 5, 2, 2, bias=False)
        self.conv2 = nn.Conv2d(channels + classes, 2 * channels, 5, 2, 2, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * channels)
        self.dense = nn.Linear(2 * channels * (size // 4) ** 2 + classes, wide, bias=False)
        self.norm3 = nn.BatchNorm1d(wide)
        self.logit = nn.Linear(wide + classes, 1, bias=False)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, image_channels, size, size) in [0, 1] and labels (N, classes)."""
        x = F.leaky_relu(self.conv1(_joined(images, labels)), 0.2)
        x = F.leaky_relu(self.norm2(self.conv2(_joined(x, labels))), 0.2)
        x = F.leaky_relu(self.norm3(self.dense(_joined(x.flatten(1), labels))), 0.2)
        logits: Tensor = self.logit(_joined(x, labels))
        return logits


def _joined(x: Tensor, labels: Tensor) -> Tensor:
    """Return features or maps with the labels as further ones, the same at every place."""
    if x.dim() == 4:
        labels = labels[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, labels.to(x.dtype)], 1)


class MLPGenerator(nn.Module):
    """The paper's fully connected generator (section 4.1): latent and class meet in its second layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.latent = nn.Linear(latent, 200)
        self.label = nn.Linear(classes, 1000)
        self.joint = nn.Linear(1200, 1200)
        self.last = nn.Linear(1200, shape[0] * shape[1] * shape[2])
        self.dropout = nn.Dropout(dropout)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return images (N, *shape) in [0, 1] for latents (N, latent) and labels (N, classes)."""
        parts = [F.relu(self.latent(uniform(latents, 0, 1))), F.relu(self.label(labels))]
        x = self.dropout(F.relu(self.joint(self.dropout(torch.cat(parts, 1)))))
        images: Tensor = self.last(x).sigmoid()
        return images.reshape(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """The paper's discriminator of maxout units (section 4.1)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, dropout: float) -> None:
        super().__init__()
        self.image = Maxout(shape[0] * shape[1] * shape[2], 240, 5)
        self.label = Maxout(classes, 50, 5)
        self.joint = Maxout(290, 240, 4)
        self.logit = nn.Linear(240, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, *shape) in [0, 1] and labels (N, classes)."""
        parts = torch.cat([self.image(images.flatten(1)), self.label(labels)], 1)
        logits: Tensor = self.logit(self.dropout(self.joint(self.dropout(parts))))
        return logits


class CGAN(System):
    """Images of a class by networks that are told it."""

    folder: ClassVar[FolderKind] = "labelled"
    config: Config
    truncates: bool = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"form": FORMS})
        if c.size % 4 and c.form != "mlp":
            raise UsageError(f"cgan makes no images of {c.size} pixels a side: use a multiple of 4, or form = mlp")
        check_share("dropout", c.dropout)
        self.latent = (c.latent,)
        self.classes = c.classes
        self.image_channels = c.image_channels
        self.generator, self.discriminator = _networks(c)
        if c.form == "one-hot":
            self.behaviour = "batch norm by the statistics of training"
            initialize(self)
        if c.form == "embedding":
            self.apply(_initialize_evenly)
        if c.form == "mlp":
            self.behaviour = "no dropout"

    def stages(self) -> list[Stage]:
        """One stage; in each step the discriminator first, then the generator with new noise for the same classes."""
        c = self.config
        if c.form == "mlp":
            optimizer, momentum = sgd(c.learning_rate), rising_momentum
            schedule = shrinking(1.00004, c.steps)
        else:
            optimizer, momentum = decayed_adam(c.learning_rate, 0.5, c.weight_decay), None
            schedule = linear_decay(c.decay_from) if c.decay_from < 1 else constant
        phases = [
            Phase("discriminator", [self.discriminator], self.discriminator_losses, optimizer, schedule, momentum),
            Phase("generator", [self.generator], self.generator_losses, optimizer, schedule, momentum),
        ]
        return [Stage("adversarial", c.steps, phases, c.batch, c.size)]

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of real images and of made ones of the same classes (eq. 2)."""
        with torch.no_grad():
            fake = self._fake(batch["label"])
        real_logits, fake_logits = (self.discriminator(images, batch["label"]) for images in (batch["image"], fake))
        return discriminator_losses("nonsaturating", real_logits, fake_logits)

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """-log D of images of the batch's classes."""
        logits = self.discriminator(self._fake(batch["label"]), batch["label"])
        return {"adversarial": generator_loss("nonsaturating", logits)}

    def _fake(self, labels: Tensor) -> Tensor:
        """Return new images of the given classes."""
        fake: Tensor = self.generator(
            torch.randn(labels.shape[0], *self.latent, device=labels.device, dtype=labels.dtype), labels
        )
        return fake

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] for standard normal latents (N, latent) and labels (N, classes).

        Raises:
            UsageError: no labels are given.
        """
        if labels is None:
            raise UsageError(f"cgan makes images of a class: name one of {', '.join(map(printable, self.classes))}")
        images: Tensor = self.generator(latents, labels)
        return images

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}


def _networks(c: Config) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator of the form that a configuration names."""
    count, shape = len(c.classes), (c.image_channels, c.size, c.size)
    if c.form == "mlp":
        return MLPGenerator(shape, count, c.latent, c.dropout), MLPDiscriminator(shape, count, c.dropout)
    if c.form == "one-hot":
        return (
            OneHotGenerator(c.size, c.image_channels, count, c.channels, c.latent),
            OneHotDiscriminator(c.size, c.image_channels, count, c.channels),
        )
    return (
        EmbeddingGenerator(c.size, c.image_channels, count, c.channels, c.latent, c.embedding),
        EmbeddingDiscriminator(c.size, c.image_channels, count, c.channels, c.embedding, c.dropout),
    )
