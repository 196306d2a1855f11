"""pix2pix: a U-Net learns to translate from pairs, judged patch by patch (Isola et al., CVPR 2017, arXiv:1611.07004).

Reference code: github.com/phillipi/pix2pix (Torch, BSD) and github.com/junyanz/pytorch-CycleGAN-and-pix2pix (BSD), whose
checkpoints are read.
The generator is a U-Net with dropout for noise; the discriminator judges overlapping patches of input and output together.
Departures from the paper: biases are not set to zero at every step, as its Torch code does; inference draws its noise from a
fixed seed, and normalises each picture of a batch by itself, so that a picture's result depends on nothing else; `residual`,
networks without norm, with weights that suit them, and training on pieces of pictures were added, for pairs that differ little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from re import Match
from typing import ClassVar, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, printable
from gantool.layers.color import with_channels
from gantool.losses import Game, discriminator_losses, generator_loss
from gantool.schedules import constant, linear_decay
from gantool.system import Batch, Fit, FolderKind, Layout, Phase, Stage, System, adam, check_choices
from gantool.systems.generation.dcgan import initialize

BETAS = (0.5, 0.999)  # Adam's (section 3.3)
LOAD = 286 / 256  # side that pictures are stretched to / side of what is cut from them (appendix 6.2)
GAMES = ("nonsaturating", "minimax", "least-squares")
_CHOICES = {
    "norm": ("batch", "instance", "none"),
    "placement": ("torch", "pytorch"),
    "patch": ("patch", "pixel"),
    "game": GAMES,
    "fit": ("stretch", "crop"),
    "statistics": ("batch", "running"),
}
_SEED = 0  # of the noise at inference


@dataclass(frozen=True)
class Config:
    """The network of the paper for 256 pixels, with its 70x70 patches; steps are those of the facades."""

    size: int = 256  # pixels per side of a training image, a multiple of 2**downs
    image_channels: int = 3  # of input and output: 3 RGB, 1 gray
    downs: int = 8  # times that the U-Net halves the sides (appendix 6.1); 7 for 128 pixels
    channels: int = 64  # features of the first convolution, of U-Net and PatchGAN
    norm: str = "batch"  # batch, instance or none
    dropout: bool = True  # with probability 0.5, the paper's noise (section 3.2.1)
    placement: str = "torch"  # of dropout: the 3 innermost decoder steps; "pytorch": from the 5th level to the last but one
    residual: bool = False  # the network gives the difference from the input, without tanh; gray pictures stay gray
    patch: str = "patch"  # what the discriminator judges: patch, or pixel (1x1)
    layers: int = 3  # strided ones of the discriminator: patches of 16, 34, 70, 142, 286, 574 pixels for 1 to 6
    game: str = "nonsaturating"  # also minimax, least-squares (section 3.3)
    adversarial_weight: float = 1.0  # eq. 4; at 0 nothing is judged
    l1_weight: float = 100.0  # lambda, eq. 4, on images in [-1, 1]
    fit: str = "stretch"  # to 286/256 of the size, then a random piece (appendix 6.2); "crop": pieces of pictures as they are
    flip: bool = True  # mirror every other pair (appendix 6.2)
    noise: bool = True  # dropout stays active at inference (section 3.2.1)
    statistics: str = "batch"  # of batch norm at inference: the picture's own (section 3.3); "running" suits a batch above 1
    learning_rate: float = 2e-4  # Adam (section 3.3)
    decay: float = 1.0  # share of the steps after which the rate falls to 0 in a straight line; 1: never, as in the Torch code
    steps: int = 80_000  # 200 epochs of the 400 facades (appendix 6.2)
    batch: int = 1  # pairs per step (appendix 6.2)


PRESETS = {
    "pytorch": Config(placement="pytorch", decay=0.5),  # the second reference code
    "unet-128": Config(size=128, downs=7),
}


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


def _normalized(norm: nn.Module, x: Tensor, own: bool) -> Tensor:
    """Return normalised features; `own` has batch norm take the statistics of each image alone."""
    if own and isinstance(norm, nn.BatchNorm2d):
        return F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    normalized: Tensor = norm(x)
    return normalized


def _keep_signals(system: nn.Module) -> None:
    """Draw weights that pass signals on as strong as they are, which otherwise norms see to (He et al., ICCV 2015, eq. 10)."""
    for name, layer in system.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and name != "generator.up.0.conv":  # a residual stays small
            seen = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
            seen = seen // 4 if isinstance(layer, nn.ConvTranspose2d) else seen  # of stride 2: a pixel is made by a quarter
            nn.init.normal_(layer.weight, 0.0, (2 / seen) ** 0.5)


class Down(nn.Module):
    """Leaky ReLU, strided convolution, norm; the outermost begins, and both ends of the encoder have no norm."""

    def __init__(self, inputs: int, outputs: int, norm: str, outermost: bool, innermost: bool) -> None:
        super().__init__()
        self.outermost = outermost
        self.conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=norm != "batch")
        self.norm = nn.Identity() if outermost or innermost else _norm(norm, outputs)

    def forward(self, x: Tensor, own: bool) -> Tensor:
        """Return (N, outputs, H / 2, W / 2) for (N, inputs, H, W)."""
        return _normalized(self.norm, self.conv(x if self.outermost else F.leaky_relu(x, 0.2)), own)


class Up(nn.Module):
    """ReLU, transposed convolution, norm, dropout; the outermost ends with its convolution."""

    def __init__(self, inputs: int, outputs: int, norm: str, outermost: bool, dropout: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=outermost or norm != "batch")
        self.norm = nn.Identity() if outermost else _norm(norm, outputs)

    def forward(self, x: Tensor, noise: torch.Generator | None, own: bool) -> Tensor:
        """Return (N, outputs, 2 H, 2 W) for (N, inputs, H, W)."""
        x = _normalized(self.norm, self.conv(F.relu(x)), own)
        if self.dropout and self.training:
            return F.dropout(x, 0.5)
        if self.dropout and noise is not None:
            x = x * (2 * torch.randint(2, x.shape[1:], generator=noise)).to(x)  # the same for all images of a batch
        return x


class UNet(nn.Module):
    """The generator (appendix 6.1): images in [-1, 1] in and out, sides a multiple of 2**downs.

    `down[i]` and `up[i]` face each other across a skip, the outermost first.

    Args:
        image_channels: of input and output.
        channels: features of the outermost level; they double inwards, up to 8 times as many.
        downs: levels.
        norm: "batch", "instance" or "none".
        dropout: levels whose decoder step drops out, counted from 0 at the outermost.
        residual: the network gives the difference from its input.
    """

    def __init__(
        self, image_channels: int, channels: int, downs: int, norm: str, dropout: Sequence[int], residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        widths = [channels * 2 ** min(level, 3) for level in range(downs)]
        before, last = [image_channels, *widths], downs - 1
        self.down = nn.ModuleList(Down(before[i], widths[i], norm, i == 0, i == last) for i in range(downs))
        joined = [*(2 * width for width in widths[:-1]), widths[-1]]
        self.up = nn.ModuleList(Up(joined[i], before[i], norm, i == 0, i in dropout) for i in range(downs))

    def forward(self, images: Tensor, noise: torch.Generator | None = None, own: bool = False) -> Tensor:
        """Return (N, C, H, W) for the same.

        Args:
            images: in [-1, 1].
            noise: what dropout masks are drawn from when the network is not training, the same for every image; or no dropout.
            own: have batch norm take the statistics of each image alone.
        """
        x, skips = images, []
        for down in self.down:
            x = down(x, own)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x, noise, own)
            x = torch.cat([skips[level - 1], x], 1) if level else x
        return images + x if self.residual else torch.tanh(x)


class PatchGAN(nn.Module):
    """A discriminator that gives a map of logits, one for each of many overlapping patches (section 3.2.2, appendix 6.1.2).

    Args:
        image_channels: of what is judged.
        channels: features of the first convolution; they double, up to 8 times as many.
        layers: strided convolutions.
        norm: "batch", "instance" or "none"; the first and last convolution have none.
    """

    def __init__(self, image_channels: int, channels: int, layers: int, norm: str) -> None:
        super().__init__()
        widths = [channels * 2 ** min(n, 3) for n in range(layers + 1)]
        self.first = nn.Conv2d(image_channels, channels, 4, 2, 1)
        self.middle = nn.Sequential()
        for n in range(1, layers + 1):
            stride = 2 if n < layers else 1
            self.middle.append(nn.Conv2d(widths[n - 1], widths[n], 4, stride, 1, bias=norm != "batch"))
            self.middle.extend([_norm(norm, widths[n]), nn.LeakyReLU(0.2, inplace=True)])
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, h, w), 30x30 with 3 layers for 256x256, of images (N, C, H, W) in [-1, 1]."""
        logits: Tensor = self.last(self.middle(F.leaky_relu(self.first(images), 0.2)))
        return logits


class PixelGAN(nn.Module):
    """A discriminator that judges each pixel by itself (appendix 6.1.2)."""

    def __init__(self, image_channels: int, channels: int, norm: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(image_channels, channels, 1)
        self.middle = nn.Conv2d(channels, 2 * channels, 1, bias=norm != "batch")
        self.norm = _norm(norm, 2 * channels)
        self.last = nn.Conv2d(2 * channels, 1, 1, bias=norm != "batch")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of images (N, C, H, W) in [-1, 1]."""
        features = self.norm(self.middle(F.leaky_relu(self.first(images), 0.2)))
        logits: Tensor = self.last(F.leaky_relu(features, 0.2))
        return logits


def check_patches(size: int, layers: int) -> None:
    """Check that images are large enough for a PatchGAN to give a logit.

    Raises:
        UsageError: they are not.
    """
    if (size >> layers) < 3:  # the two convolutions at the end, of kernel 4, take a row and a column each
        raise UsageError(f"size {size} with layers {layers}: a discriminator of so many layers needs {3 << layers} pixels")


def _dropout_levels(c: Config) -> range:
    if not c.dropout:
        return range(0)
    # the outermost decoder step gives the image
    return range(max(1, c.downs - 3), c.downs) if c.placement == "torch" else range(4, c.downs - 1)


def _detect(state: Mapping[str, Tensor]) -> Config:
    channels, image_channels = state["model.model.0.weight"].shape[:2]
    outputs = state["model.model.3.weight"].shape[1]
    if outputs != image_channels:
        raise UsageError(f"it makes images of {outputs} channels from {image_channels}, which is not done here")
    downs = sum(tensor.dim() == 4 for tensor in state.values()) // 2
    norm = "batch" if "model.model.1.model.2.weight" in state else "instance"
    size = 2 ** max(downs, 7)  # of training: no file tells
    return Config(size=size, image_channels=image_channels, downs=downs, channels=channels, norm=norm, placement="pytorch")


def _renamed(match: Match[str]) -> str:
    """Return our name of a layer in the official nest of levels, each within the one above it."""
    level = 1 + match[1].count(".model.3")
    part = {"1": "down.{}.conv", "2": "down.{}.norm", "5": "up.{}.conv", "6": "up.{}.norm"}
    innermost = {"3": "up.{}.conv", "4": "up.{}.norm"}
    return (part | innermost)[match[2]].format(level) + match[3]


_RENAMES = (
    (r"^model\.model\.0\.", "down.0.conv."),
    (r"^model\.model\.3\.", "up.0.conv."),
    (r"^model\.model\.1((?:\.model\.3)*)\.model\.([1-6])(\.\w+)$", _renamed),
    (r"^", "generator."),
)
_KEYS = ("model.model.0.weight", "model.model.1.model.1.weight", "model.model.3.weight")
_NORM = "model.model.1.model.2.weight"
STRAY = r".*\.(running_mean|running_var|num_batches_tracked)"
"""Statistics that instance norms stored before torch 0.4 and never use."""


class Pix2Pix(System):
    """Image translation learned from pairs."""

    folder: ClassVar[FolderKind] = "paired"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("official", (*_KEYS, _NORM), _detect, _RENAMES),
        Layout("official, instance norm", _KEYS, _detect, _RENAMES, STRAY, (_NORM,)),
    )
    config: Config
    targets: tuple[str, ...] = ()

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, _CHOICES)
        self.game = cast(Game, c.game)
        self.image_channels = c.image_channels
        self.keeps_gray = c.residual or c.image_channels == 1
        self.multiple = 2**c.downs
        if c.size % self.multiple:
            raise UsageError(f"size {c.size} with downs {c.downs}: it must be a multiple of {self.multiple}")
        if c.patch == "patch":
            check_patches(c.size, c.layers)
        self.fit = Fit("crop" if c.fit == "crop" else "stretch", 1.0 if c.fit == "crop" else LOAD, random=True, flip=c.flip)
        levels = _dropout_levels(c)
        self.generator = UNet(c.image_channels, c.channels, c.downs, c.norm, levels, c.residual)
        judged = 2 * c.image_channels
        pixel = c.patch == "pixel"
        self.discriminator = PixelGAN(judged, c.channels, c.norm) if pixel else PatchGAN(judged, c.channels, c.layers, c.norm)
        initialize(self)
        if c.norm == "none":
            _keep_signals(self)
        self._noisy = c.noise and len(levels) > 0
        self._own = c.norm == "batch" and c.statistics == "batch"
        # along the innermost level, from the pixel whose way up and down again leads farthest
        local = not self._noisy and not self._own and c.norm != "instance"
        self.radius = 3 * (2**c.downs - 1) if local else None
        self.behaviour = self._describe()
        self._made: tuple[Batch, Tensor] | None = None  # within a step: what the discriminator judged of this batch

    def _describe(self) -> str:
        c = self.config
        norms = {"batch": "batch norm with stored statistics", "instance": "instance norm", "none": "no norm"}
        norm = "batch norm with the statistics of each picture itself" if self._own else norms[c.norm]
        return f"{norm}, {'dropout active, drawn from a fixed seed' if self._noisy else 'no dropout'}"

    def deterministic(self) -> Pix2Pix:
        """Return the same networks without noise, with batch norm by stored statistics."""
        if not self._noisy and not self._own:
            return self
        with torch.device("meta"):  # nothing is drawn for networks that are replaced
            other = Pix2Pix(replace(self.config, noise=False, statistics="running"))
        other.generator, other.discriminator, other.progress = self.generator, self.discriminator, self.progress
        return other.train(self.training)

    def target(self, wanted: Sequence[str], unwanted: Sequence[str]) -> None:
        """Return None: there is no choice.

        Raises:
            UsageError: there are names.
        """
        for name in (*wanted, *unwanted):
            raise UsageError(f"pix2pix does the one thing that it learned: leave out '{printable(name)}'")

    def translate(self, images: Tensor, target: Tensor | None) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W) in [0, 1]; C is 3 or 1, whatever it learned from. The target is not used."""
        noise = torch.Generator().manual_seed(_SEED) if self._noisy else None
        made = self.generator(2 * with_channels(images, self.image_channels) - 1, noise, self._own)
        return with_channels((made + 1) / 2, images.shape[1])

    def stages(self) -> list[Stage]:
        """One stage: the discriminator, then the generator."""
        c = self.config
        optimizer, schedule = adam(c.learning_rate, BETAS), linear_decay(c.decay) if c.decay < 1 else constant
        phases = [
            Phase("discriminator", [self.discriminator], self.discriminator_losses, optimizer, schedule),
            Phase("generator", [self.generator], self.generator_losses, optimizer, schedule),
        ]
        return [Stage("adversarial", c.steps, phases, c.batch, c.size)]

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Half of what the discriminator minimises, as it learns too fast otherwise (section 3.3); nothing without a weight."""
        if not self.config.adversarial_weight:
            return {}
        before, after = 2 * batch["input"] - 1, 2 * batch["target"] - 1
        fake = self._make(batch)
        self._made = batch, fake
        real_logits = self.discriminator(torch.cat([before, after], 1))
        fake_logits = self.discriminator(torch.cat([before, fake.detach()], 1))
        return {name: 0.5 * loss for name, loss in discriminator_losses(self.game, real_logits, fake_logits).items()}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The discriminator's verdict and the mean absolute error (eq. 4)."""
        c, before, after = self.config, 2 * batch["input"] - 1, 2 * batch["target"] - 1
        made, self._made = self._made, None
        fake = made[1] if made is not None and made[0] is batch else self._make(batch)
        losses = {"l1": c.l1_weight * F.l1_loss(fake, after)}
        if c.adversarial_weight:
            logits = self.discriminator(torch.cat([before, fake], 1))
            losses["adversarial"] = c.adversarial_weight * generator_loss(self.game, logits)
        return losses

    def _make(self, batch: Batch) -> Tensor:
        """Return the generator's images, ready for its gradients also in the discriminator's turn, when it stands still."""
        parameters = list(self.generator.parameters())
        frozen = [p for p in parameters if not p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        fake: Tensor = self.generator(2 * batch["input"] - 1)
        for parameter in frozen:
            parameter.requires_grad_(False)
        return fake

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
