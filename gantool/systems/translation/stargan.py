"""StarGAN: one generator for many looks, told by labels which one to give (Choi et al., CVPR 2018, arXiv:1711.09020).

Reference code: github.com/yunjey/stargan (MIT); the layout of github.com/Lornatang/StarGAN-PyTorch (Apache-2.0) is read too.
The labels are laid over the image as constant maps; the critic also names the labels of what it sees. Several data sets can be
learned together, each knowing only its own labels: a mask says which set the labels are from.
Departures from the paper: data sets learned together are either all of exclusive classes or all of attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from re import Match
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, printable, unknown
from gantool.losses import discriminator_losses, generator_loss, gradient_penalty
from gantool.schedules import linear_decay
from gantool.system import Batch, Fit, FolderKind, Layout, Phase, Stage, System, adam
from gantool.systems.translation.cyclegan import SMALLEST, large_enough

CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
RAFD = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


@dataclass(frozen=True)
class Config:
    """The network of the paper for five attributes of CelebA; classes, exclusive and sets follow the data in training."""

    size: int = 128  # pixels per side of a training image
    channels: int = 64  # features of the first layer of both networks (appendix, tables 4 and 5)
    blocks: int = 6  # residual blocks of the generator (table 4)
    layers: int = 6  # convolutions of the critic's trunk, each of which halves the image (table 5)
    classes: tuple[str, ...] = CELEBA  # names of the labels of all data sets, in order
    exclusive: bool = False  # an image has one label of its set (softmax); False: any number of them (section 3.1)
    sets: tuple[int, ...] = (5,)  # number of labels of each data set that is learned (section 3.2)
    middle: int = 178  # pixels a side taken from the middle of a picture, as far as it has them (section 5.2)
    flip: bool = True  # mirror every other image (section 5.3)
    reconstruction_weight: float = 10.0  # lambda_rec, eq. 6
    classification_weight: float = 1.0  # lambda_cls, eq. 5 and 6
    penalty_weight: float = 10.0  # lambda_gp, eq. 8
    critic_steps: int = 5  # updates of the critic for one of the generator (section 5.3)
    learning_rate: float = 1e-4  # Adam with betas 0.5 and 0.999 (section 5.3)
    final_rate: float = 0.0  # share of the rate left at the end, after a straight fall over the second half (section 5.3)
    steps: int = 50_150  # of the generator: 20 epochs of 200,600 images, by 16, by critic_steps (section 5.3)
    batch: int = 16  # images per update (section 5.3)


PRESETS = {
    "paper": Config(),
    "as-released": Config(steps=40_000, final_rate=0.999),  # 200,000 critic updates; its decay takes off one thousandth
    "rafd": Config(classes=RAFD, exclusive=True, sets=(8,), middle=256, steps=10_855),  # 200 epochs of 4,342 images
}


class ResidualBlock(nn.Module):
    """Convolution, norm, ReLU, convolution, norm, beside a skip (table 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normalized(nn.Conv2d(channels, channels, 3, 1, 1, bias=False)),
            *_normalized(nn.Conv2d(channels, channels, 3, 1, 1, bias=False))[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        return x + self.layers(x)  # type: ignore[no-any-return]  # a Sequential gives Any


def _normalized(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """Follow a convolution by instance norm, always by the image's own statistics, and ReLU."""
    return [convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), nn.ReLU(inplace=True)]


class StarGANGenerator(nn.Module):
    """The generator (table 4), on [-1, 1].

    It pads with zeros: where a border is reflected, a constant map stays constant, and instance norm takes it away.
    """

    def __init__(self, labels: int, channels: int, blocks: int) -> None:
        super().__init__()
        c = channels
        self.layers = nn.Sequential(
            *_normalized(nn.Conv2d(3 + labels, c, 7, 1, 3, bias=False)),
            *_normalized(nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False)),
            *_normalized(nn.Conv2d(2 * c, 4 * c, 4, 2, 1, bias=False)),
            *(ResidualBlock(4 * c) for _ in range(blocks)),
            *_normalized(nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1, bias=False)),
            *_normalized(nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False)),
            nn.Conv2d(c, 3, 7, 1, 3, bias=False),
            nn.Tanh(),
        )

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Return (N, 3, H, W) for images (N, 3, H, W) and label maps (N, labels, H, W); H and W multiples of 4."""
        result: Tensor = self.layers(torch.cat([images, maps], 1))
        return result


class StarGANCritic(nn.Module):
    """The critic (table 5), on [-1, 1]: a map that tells real from made, and a logit for each label."""

    def __init__(self, size: int, labels: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [3, *(channels * 2**i for i in range(layers))]
        convolutions = (nn.Conv2d(before, after, 4, 2, 1) for before, after in zip(widths, widths[1:], strict=False))
        self.layers = nn.Sequential(*(each for conv in convolutions for each in (conv, nn.LeakyReLU(0.01, inplace=True))))
        self.source = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.labels = nn.Conv2d(widths[-1], labels, size >> layers, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 1, size / 2^layers, likewise) and (N, labels) for (N, 3, size, size)."""
        features = self.layers(images)
        return self.source(features), self.labels(features).flatten(1)


def _detect(state: Mapping[str, Tensor], first_key: str) -> Config:
    first = state[first_key]
    labels = first.shape[1] - 3
    common = {5: (CELEBA, False, (5,)), 8: (RAFD, True, (8,)), 15: ((*CELEBA, *RAFD), False, (5, 8))}
    unnamed = tuple(f"class{i}" for i in range(labels)), False, (labels,)
    classes, exclusive, sets = common.get(labels, unnamed)
    blocks = sum(key.endswith(".main.0.weight") for key in state)
    return Config(channels=first.shape[0], blocks=blocks, classes=classes, exclusive=exclusive, sets=sets)


def _number_the_end(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the layers behind the residual blocks the places that follow from how many blocks there are."""
    start = 9 + sum(key.count(".layers.") == 2 and key.endswith(".0.weight") for key in tensors)

    def place(match: Match[str]) -> str:
        return f"generator.layers.{start + (6 if match[1] == 'last_layer' else 0) + int(match[2])}."

    return {re.sub(r"^generator\.(up_sampling|last_layer)\.(\d{1,4})\.", place, key): value for key, value in tensors.items()}


_UNREAD = r".*\.(running_mean|running_var|num_batches_tracked)"  # statistics that instance norm kept and nobody used
_LORNATANG = (
    (r"\.main\.", ".layers."),
    (r"^first_layer\.", "layers."),
    (r"^down_sampling\.(\d{1,4})\.", lambda m: f"layers.{3 + int(m[1])}."),
    (r"^trunk\.(\d{1,4})\.", lambda m: f"layers.{9 + int(m[1])}."),
    (r"^", "generator."),
)


class StarGAN(System):
    """Translation between many domains by one generator that is told the labels."""

    folder: ClassVar[FolderKind] = "labelled"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            ("main.0.weight", "main.1.weight", "main.9.main.0.weight", "main.9.main.4.weight"),
            partial(_detect, first_key="main.0.weight"),
            ((r"\bmain\.", "layers."), (r"^", "generator.")),
            _UNREAD,
        ),
        Layout(
            "Lornatang",
            ("first_layer.0.weight", "down_sampling.0.weight", "trunk.0.main.0.weight", "last_layer.0.weight"),
            partial(_detect, first_key="first_layer.0.weight"),
            _LORNATANG,
            _UNREAD,
            adapt=_number_the_end,
        ),
    )
    behaviour = "instance norm by each picture's own statistics"
    multiple = 4
    keeps_gray = False
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        _check(c)
        self.fit = Fit("cover", flip=c.flip, middle=c.middle)
        self.targets = c.classes
        self.several = len(c.sets) > 1
        labels = len(c.classes)
        maps = labels + (len(c.sets) if self.several else 0)
        self.generator = StarGANGenerator(labels=maps, channels=c.channels, blocks=c.blocks)
        self.critic = StarGANCritic(size=c.size, labels=labels, channels=c.channels, layers=c.layers)

    def target(self, wanted: Sequence[str], unwanted: Sequence[str]) -> Tensor:
        """Return the labels that a picture shall have, (K,), with the set's mark behind them where there are several.

        Args:
            wanted: exactly one class, or attributes to have; all others of the set are not to be had.
            unwanted: attributes not to have, to be explicit; none where labels exclude one another.

        Raises:
            UsageError: a name is unknown, names exclude one another or are of different data sets, or there is none.
        """
        c = self.config
        for name in (*wanted, *unwanted):
            if name not in c.classes:
                raise unknown("label", name, c.classes)
        if c.exclusive and (len(wanted) != 1 or unwanted):
            raise UsageError(f"a picture is one of {', '.join(map(printable, c.classes))}: name exactly one of them")
        both = [name for name in wanted if name in unwanted]
        if both or not (wanted or unwanted):
            asked = f"{printable(both[0])} is asked for and ruled out" if both else "no label is asked for"
            raise UsageError(f"{asked}: choose among {', '.join(map(printable, c.classes))}, each with or without a minus")
        labels = torch.tensor([float(name in wanted) for name in c.classes])
        if not self.several:
            return labels
        owners = [number for number, count in enumerate(c.sets) for _ in range(count)]
        found = sorted({owners[c.classes.index(name)] for name in (*wanted, *unwanted)})
        if len(found) > 1:
            names = " and ".join(printable(name) for name in (*wanted, *unwanted))
            raise UsageError(f"{names} are of different data sets: ask for labels of one of them")
        return torch.cat([labels, F.one_hot(torch.tensor(found[0]), len(c.sets)).float()])

    def translate(self, images: Tensor, target: Tensor | None) -> Tensor:
        """Return (N, 3, H, W) for (N, 3, H, W), RGB in [0, 1], with what `target` returned; H and W multiples of 4."""
        assert target is not None
        target, (height, width) = target.to(images), images.shape[2:]
        images = large_enough(images)
        # a convolution that looks at nothing makes constant maps, whatever part of the picture it is given
        maps = F.conv2d(images, images.new_zeros(len(target), 3, 1, 1), target)
        result: Tensor = self.generator(2 * images - 1, maps)[..., :height, :width]
        return (result + 1) / 2

    def stages(self) -> list[Stage]:
        """One stage: the critic takes several turns, each on a fresh batch, the generator one on the last of them."""
        c = self.config
        decay = linear_decay(0.5)
        optimizer = adam(c.learning_rate, (0.5, 0.999))
        factor = lambda progress: c.final_rate + (1 - c.final_rate) * decay(progress)  # noqa: E731
        critic = Phase("critic", [self.critic], self.critic_losses, optimizer, factor, repeats=c.critic_steps)
        generator = Phase("generator", [self.generator], self.generator_losses, optimizer, factor)
        return [Stage("train", c.steps, [critic, generator], c.batch, c.size)]

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of eq. 5 and 8."""
        c, real, own = self.config, 2 * batch["image"] - 1, _vector(batch)
        with torch.no_grad():
            fake = self.generator(real, _maps(_shuffled(own), real))
        real_source, real_labels = self.critic(real)
        fake_source, _ = self.critic(fake)
        return {
            **discriminator_losses("wasserstein", real_source, fake_source),
            "penalty": c.penalty_weight * gradient_penalty(lambda x: self.critic(x)[0], real, fake),
            "classification": c.classification_weight * self._misnamed(real_labels, own),
        }

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of eq. 6."""
        c, real, own = self.config, 2 * batch["image"] - 1, _vector(batch)
        target = _shuffled(own)
        fake = self.generator(real, _maps(target, real))
        source, labels = self.critic(fake)
        back = self.generator(fake, _maps(own, real))
        return {
            "adversarial": generator_loss("wasserstein", source),
            "classification": c.classification_weight * self._misnamed(labels, target),
            "reconstruction": c.reconstruction_weight * F.l1_loss(back, real),
        }

    def _misnamed(self, logits: Tensor, vector: Tensor) -> Tensor:
        """Return the cross-entropy (eq. 2 and 3) of the labels that an image's own data set knows, per image.

        Args:
            logits: (N, labels).
            vector: (N, labels), or (N, labels + sets) with the mark of the set.
        """
        sets, columns = list(self.config.sets), sum(self.config.sets)
        marks = vector[:, columns:] if self.several else vector.new_ones(len(vector), 1)
        parts = zip(torch.split(logits, sets, 1), torch.split(vector[:, :columns], sets, 1), marks.unbind(1), strict=True)
        return sum((mark * self._each_misnamed(part, labels) for part, labels, mark in parts), logits.new_zeros(())).mean()

    def _each_misnamed(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (N) for the logits and labels (N, K) of one data set."""
        if self.config.exclusive:
            return F.cross_entropy(logits, labels, reduction="none")
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1)

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}


def _check(c: Config) -> None:
    if sum(c.sets) != len(c.classes):
        raise UsageError(f"sets {c.sets} are of {sum(c.sets)} labels, classes name {len(c.classes)}: give each label a set")
    step = max(4, 2**c.layers)
    if c.size % step:
        raise UsageError(
            f"size {c.size}: the critic halves it {c.layers} times, so it must be a multiple of {step}: change size or layers"
        )
    if c.size < SMALLEST:
        raise UsageError(f"size {c.size}: only a point would be left in the middle of the network: use {SMALLEST} or more")
    if gcd(c.critic_steps, len(c.sets)) > 1:  # batches take turns: the generator would only meet some of the sets
        raise UsageError(f"critic_steps {c.critic_steps} and {len(c.sets)} data sets share a divisor: use 1, or one without")


def _vector(batch: Batch) -> Tensor:
    """Return what the generator is told of a batch, (N, labels [+ sets])."""
    return torch.cat([batch["label"], batch["mask"]], 1) if "mask" in batch else batch["label"]


def _shuffled(labels: Tensor) -> Tensor:
    """Return the labels (N, K) of a batch, dealt anew among its images (the released code)."""
    return labels[torch.randperm(len(labels), device=labels.device)]


def _maps(labels: Tensor, images: Tensor) -> Tensor:
    """Return (N, K, H, W), constant over each image, for (N, K)."""
    return labels[:, :, None, None].expand(-1, -1, *images.shape[2:])
