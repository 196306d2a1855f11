"""CycleGAN: translation learned from two sets without pairs, there and back again (Zhu et al., ICCV 2017, arXiv:1703.10593).

Reference code: github.com/junyanz/CycleGAN (Torch, BSD) and github.com/junyanz/pytorch-CycleGAN-and-pix2pix (BSD), whose
checkpoints are read, as are those of github.com/mit-han-lab/gan-compression (BSD) and
github.com/eriklindernoren/PyTorch-GAN (MIT).
Two residual generators, one for each direction, and for each domain a discriminator of patches, after those of pix2pix.
Departures from the paper: none known; like both reference codes, generators are by default also asked to leave alone what is
in their target domain already (section 5.2), which the paper does for paintings only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, printable, unknown
from gantool.layers.color import with_channels
from gantool.losses import Game, discriminator_losses, generator_loss
from gantool.schedules import constant, linear_decay
from gantool.system import Batch, Fit, FolderKind, Layout, Phase, Stage, System, adam, check_choices, count_children
from gantool.systems.generation.dcgan import initialize
from gantool.systems.translation.pix2pix import BETAS, GAMES, LOAD, STRAY, PatchGAN, check_patches

SMALLEST = 8  # pixels per side that leave more than one in the middle of the network, as reflection and norms need


@dataclass(frozen=True)
class Config:
    """The network for 256 pixels and more; steps are those of horses and zebras."""

    size: int = 256  # pixels per side of a training image, a multiple of 4
    image_channels: int = 3  # of both domains: 3 RGB, 1 gray
    domains: tuple[str, ...] = ("a", "b")  # names of the two, X and Y in the paper
    both: bool = True  # a model file holds the generators of both directions, else that from the first domain to the second
    blocks: int = 9  # residual blocks (appendix 7.2); 6 for 128 pixels
    channels: int = 64  # features of the first convolution, of generators and discriminators
    upsampling: str = "transposed"  # also "resize": bilinear, then a convolution; "nearest": likewise, zeros at the border
    dropout: bool = False  # with probability 0.5 within residual blocks, in training alone: an option of the reference code
    layers: int = 3  # strided ones of the discriminators: patches of 70 pixels (section 4)
    game: str = "least-squares"  # also minimax, nonsaturating (section 4)
    cycle_weight: float = 10.0  # lambda (section 4)
    identity: float = 0.5  # weight of the identity losses / cycle_weight (section 5.2)
    pool: int = 50  # images made earlier from which those to judge are drawn (section 4)
    flip: bool = True  # mirror every other picture, as the reference code does
    learning_rate: float = 2e-4  # Adam (section 4)
    decay: float = 0.5  # share of the steps after which the rate falls to 0 in a straight line (section 4)
    steps: int = 235_400  # 200 epochs of the 1177 zebras (appendix 7.1)
    batch: int = 1  # of each domain per step (section 4)


PRESETS = {
    "paper": Config(identity=0.0),  # but for its paintings
    "128": Config(size=128, blocks=6),  # as the Torch code starts
}


class ResidualBlock(nn.Module):
    """Convolution, instance norm, ReLU, convolution, instance norm, beside a skip (appendix 7.2)."""

    def __init__(self, channels: int, dropout: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.pad = nn.ReflectionPad2d(1)
        self.norm = nn.InstanceNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        y = F.relu(self.norm(self.conv1(self.pad(x))), inplace=True)
        y = F.dropout(y, 0.5, self.training) if self.dropout else y
        branch: Tensor = self.norm(self.conv2(self.pad(y)))
        return x + branch


def _doubling(kind: str, inputs: int, outputs: int) -> list[nn.Module]:
    """Return layers that double the sides."""
    if kind == "transposed":
        return [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)]
    if kind == "resize":
        return [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3)]
    return [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)]


class ResNetGenerator(nn.Module):
    """A generator (appendix 7.2, after Johnson et al., ECCV 2016): images in [-1, 1] in and out, sides a multiple of 4.

    Args:
        image_channels: of input and output.
        channels: features of the first convolution; there are 4 times as many in the middle.
        blocks: residual blocks.
        upsampling: "transposed", "resize" or "nearest".
        dropout: within the residual blocks.
    """

    def __init__(self, image_channels: int, channels: int, blocks: int, upsampling: str, dropout: bool) -> None:
        super().__init__()

        def normed(width: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]

        # the positions are those of the reference code, also where layers without parameters stand
        self.layers = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(image_channels, channels, 7), *normed(channels))
        for width in (channels, 2 * channels):
            self.layers.extend([nn.Conv2d(width, 2 * width, 3, 2, 1), *normed(2 * width)])
        self.layers.extend(ResidualBlock(4 * channels, dropout) for _ in range(blocks))
        for width in (2 * channels, channels):
            self.layers.extend([*_doubling(upsampling, 2 * width, width), *normed(width)])
        self.layers.extend([nn.ReflectionPad2d(3), nn.Conv2d(channels, image_channels, 7), nn.Tanh()])

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W) for the same."""
        result: Tensor = self.layers(images)
        return result


class ImagePool(nn.Module):
    """Images made earlier, so that a discriminator does not forget them (section 4, after Shrivastava et al. 2017).

    Args:
        capacity: images kept.
        shape: of one, (C, H, W).
    """

    images: Tensor
    filled: Tensor

    def __init__(self, capacity: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchanged(self, images: Tensor) -> Tensor:
        """Return images to judge in place of new ones (N, C, H, W).

        While there is room, each new one is kept and given; then with even odds each is given, or takes the place of an
        old one drawn at random, which is given.
        """
        given = []
        for image in images.detach().to(self.images.dtype):
            filled = int(self.filled)
            if filled < len(self.images):
                self.images[filled] = image
                self.filled += 1
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(len(self.images), ()))
                old = self.images[place].clone()
                self.images[place] = image
                image = old
            given.append(image)
        return torch.stack(given)


def large_enough(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) whose last row and column are repeated until both sides have the fewest pixels that do."""
    height, width = images.shape[2:]
    if min(height, width) >= SMALLEST:
        return images
    return F.pad(images, (0, max(0, SMALLEST - width), 0, max(0, SMALLEST - height)), "replicate")


def _detect(state: Mapping[str, Tensor]) -> Config:
    channels, image_channels = state["model.1.weight"].shape[:2]
    blocks = sum(key.endswith("block.1.weight") for key in state)
    last = count_children(state, "model") - 1  # position of the convolution that gives the image
    upsampling = {17: "transposed", 21: "resize", 19: "nearest"}.get(last - blocks)
    outputs = state[f"model.{last}.weight"].shape[0]
    if upsampling is None or outputs != image_channels:
        raise UsageError(f"{last} layers for {blocks} blocks, {image_channels} channels to {outputs}: not done here")
    return Config(image_channels=image_channels, both=False, blocks=blocks, channels=channels, upsampling=upsampling)


_RENAMES = (
    (r"^model\.(\d+)\.(?:conv_)?block\.1\.", r"model.\1.conv1."),
    (r"^model\.(\d+)\.(?:conv_)?block\.[56]\.", r"model.\1.conv2."),  # a dropout layer may stand before it
    (r"^model\.", "generator_ab.layers."),
)


class CycleGAN(System):
    """Image translation learned without pairs, in both directions."""

    folder: ClassVar[FolderKind] = "unpaired"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("official", ("model.1.weight", "model.10.conv_block.1.weight"), _detect, _RENAMES, STRAY, ("model.2.weight",)),
        Layout("PyTorch-GAN", ("model.1.weight", "model.10.block.1.weight"), _detect, _RENAMES, STRAY),
    )
    config: Config
    multiple = 4
    radius = None  # instance norm
    behaviour = "instance norm, no dropout"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"upsampling": ("transposed", "resize", "nearest"), "game": GAMES})
        self.game = cast(Game, c.game)
        if len(c.domains) != 2 or c.domains[0] == c.domains[1]:
            raise UsageError(f"domains {printable(', '.join(c.domains))}: there must be two, of different names")
        if c.size % self.multiple:
            raise UsageError(f"size {c.size}: it must be a multiple of {self.multiple}")
        check_patches(c.size, c.layers)
        self.image_channels, self.keeps_gray = c.image_channels, c.image_channels == 1
        self.fit = Fit("stretch", LOAD, random=True, flip=c.flip)
        self.targets = c.domains if c.both else c.domains[1:]
        self.generator_ab, self.generator_ba = (
            ResNetGenerator(c.image_channels, c.channels, c.blocks, c.upsampling, c.dropout) for _ in range(2)
        )
        self.discriminator_a, self.discriminator_b = (
            PatchGAN(c.image_channels, c.channels, c.layers, "instance") for _ in range(2)
        )
        initialize(self)
        shape = (c.image_channels, c.size, c.size)
        self.pool_a, self.pool_b = ImagePool(c.pool, shape), ImagePool(c.pool, shape)
        self._made: tuple[Batch, Tensor, Tensor] | None = None  # within a step: of this batch, an a and a b

    def target(self, wanted: Sequence[str], unwanted: Sequence[str]) -> Tensor:
        """Return (K,), 1 for the domain that pictures are to become; with one there is no need to name it.

        Raises:
            UsageError: a name is unknown, or there is not one of them.
        """
        for name in (*wanted, *unwanted):
            if name not in self.targets:
                raise unknown("target", name, self.targets)
        listing = " or ".join(printable(name) for name in self.targets)
        if unwanted:
            raise UsageError(
                f"cyclegan takes nothing away, so not '{printable(unwanted[0])}': name what pictures become, {listing}"
            )
        names = set(wanted) or set(self.targets)
        if len(names) > 1:
            raise UsageError(f"a picture becomes one thing at a time: name {listing} as the target")
        return torch.tensor([float(name in names) for name in self.targets])

    def translate(self, images: Tensor, target: Tensor | None) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W) in [0, 1], C 3 or 1; without a target, of the first domain made the second."""
        backward = target is not None and self.targets[int(target.argmax())] == self.config.domains[0]
        generator = self.generator_ba if backward else self.generator_ab
        height, width = images.shape[2:]
        given = large_enough(2 * with_channels(images, self.image_channels) - 1)
        made = (generator(given)[..., :height, :width] + 1) / 2
        return with_channels(made, images.shape[1])

    def stages(self) -> list[Stage]:
        """One stage: both generators, then both discriminators."""
        c = self.config
        optimizer, schedule = adam(c.learning_rate, BETAS), linear_decay(c.decay) if c.decay < 1 else constant
        generators, discriminators = [self.generator_ab, self.generator_ba], [self.discriminator_a, self.discriminator_b]
        phases = [
            Phase("generator", generators, self.generator_losses, optimizer, schedule),
            Phase("discriminator", discriminators, self.discriminator_losses, optimizer, schedule),
        ]
        return [Stage("adversarial", c.steps, phases, c.batch, c.size)]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The discriminators' verdicts, what comes back and what stays, as mean absolute errors on [-1, 1] (eq. 1 to 3)."""
        c, a, b = self.config, 2 * batch["a"] - 1, 2 * batch["b"] - 1
        fake_b, fake_a = self.generator_ab(a), self.generator_ba(b)
        self._made = batch, fake_a.detach(), fake_b.detach()
        losses = {
            "adversarial_ab": generator_loss(self.game, self.discriminator_b(fake_b)),
            "adversarial_ba": generator_loss(self.game, self.discriminator_a(fake_a)),
            "cycle_a": c.cycle_weight * F.l1_loss(self.generator_ba(fake_b), a),
            "cycle_b": c.cycle_weight * F.l1_loss(self.generator_ab(fake_a), b),
        }
        if c.identity:
            weight = c.identity * c.cycle_weight
            losses["identity_a"] = weight * F.l1_loss(self.generator_ba(a), a)
            losses["identity_b"] = weight * F.l1_loss(self.generator_ab(b), b)
        return losses

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Half of what each discriminator minimises, on images out of the pools (section 4)."""
        made, self._made = self._made, None
        if made is None or made[0] is not batch:
            with torch.no_grad():
                made = batch, self.generator_ba(2 * batch["b"] - 1), self.generator_ab(2 * batch["a"] - 1)
        fake_a, fake_b = self.pool_a.exchanged(made[1]), self.pool_b.exchanged(made[2])
        return self._judged("a", self.discriminator_a, batch, fake_a) | self._judged("b", self.discriminator_b, batch, fake_b)

    def _judged(self, domain: str, discriminator: nn.Module, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        losses = discriminator_losses(self.game, discriminator(2 * batch[domain] - 1), discriminator(fake))
        return {f"{name}_{domain}": 0.5 * loss for name, loss in losses.items()}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """The generators, or the one of the single direction."""
        there: dict[str, nn.Module] = {"generator_ab": self.generator_ab}
        return there | {"generator_ba": self.generator_ba} if self.config.both else there
