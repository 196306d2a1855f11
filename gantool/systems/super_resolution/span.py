"""SPAN: fast super-resolution with attention that has no parameters (Wan et al., CVPRW 2024, arXiv:2311.12770).

Reference code: github.com/hongyuanyu/SPAN (Apache-2.0).
Winner of the NTIRE 2024 challenge on efficient super-resolution: six blocks whose own output, through an odd sigmoid, weighs
their features; the 3x3 convolutions are trained as wider stacks and merged into one for inference.
Departures from the paper: one stage with the L1 loss and a cosine schedule, where the paper halves the rate every 200,000 steps
and fine-tunes with L2. For the sake of short runs the network starts as a nearest-neighbour upscaler, its blocks with larger
weights (each multiplies small features by their own size, so that six in a row fade to nothing), gradients are clipped, and the
output layer has a rate of its own, in proportion to its small weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from gantool.errors import UsageError
from gantool.schedules import cosine
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System

BLOCK_GAIN = 2.5  # initial weights of the blocks over torch's default; tried 1 to 3, the others learn more slowly


@dataclass(frozen=True)
class Config:
    """The published x4 network with 48 channels."""

    scale: int = 4  # output side / input side
    channels: int = 48  # features of every block; the large model has 52
    reparameterized: bool = True  # train wide stacks and merge them; False trains the merged form, three times faster
    mean_shift: bool = True  # subtract the mean colour of DIV2K first; some community models do not
    input_range: float = 255.0  # what white is inside the network; community models have 1, short runs do well with 16
    learning_rate: float = 5e-4  # Adam, falls to 0
    gradient_norm: float = 0.5  # longer gradients are shortened to this
    steps: int = 1_000_000  # of the optimiser
    batch: int = 64  # samples per step
    patch: int = 64  # low-resolution pixels per side of a training sample


class Conv3XC(nn.Module):
    """A 3x3 convolution trained as 1x1 -> 3x3 -> 1x1, twice as wide inside, beside a 1x1 skip (section 3.2).

    Zeros are padded before the first 1x1, so the stack equals its merged form at the borders too.
    """

    def __init__(self, c_in: int, c_out: int, gain: int = 2) -> None:
        super().__init__()
        self.widen = nn.Conv2d(c_in, c_in * gain, 1)
        self.filter = nn.Conv2d(c_in * gain, c_out * gain, 3)
        self.narrow = nn.Conv2d(c_out * gain, c_out, 1)
        self.skip = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, c_out, H, W) for (N, c_in, H, W)."""
        result: Tensor = self.narrow(self.filter(self.widen(F.pad(x, (1, 1, 1, 1))))) + self.skip(x)
        return result

    @torch.no_grad()
    def carry_colors(self) -> None:
        """Make the first three outputs copies of the three inputs."""
        for parameter in (*self.narrow.parameters(), *self.skip.parameters()):
            parameter[:3] = 0
        self.skip.weight[:3, :, 0, 0] = torch.eye(3)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """Return the one 3x3 convolution that computes the same, folded in float64."""
        p = {
            name: parameter.double().squeeze((2, 3)) if parameter.dim() == 4 else parameter.double()
            for name, parameter in self.named_parameters()
        }
        weight = torch.einsum("om,mnhw,ni->oihw", p["narrow.weight"], p["filter.weight"], p["widen.weight"])
        weight[:, :, 1, 1] += p["skip.weight"]
        inner = p["filter.weight"].sum((2, 3)) @ p["widen.bias"] + p["filter.bias"]
        conv = nn.Conv2d(self.skip.in_channels, self.skip.out_channels, 3, padding=1).to(self.skip.weight)
        conv.load_state_dict({"weight": weight, "bias": p["narrow.weight"] @ inner + p["narrow.bias"] + p["skip.bias"]})
        return conv

    @torch.no_grad()
    def amplify(self, gain: float) -> Conv3XC:
        """Multiply all weights of the merged form by a gain."""
        for parameter in (*self.narrow.parameters(), *self.skip.parameters()):
            parameter.mul_(gain)
        return self

    def in_form(self, reparameterized: bool) -> nn.Module:
        """Return itself, or the merged form, which thus has the same distribution of initial weights."""
        return self if reparameterized else self.merged()


class SPAB(nn.Module):
    """Swift parameter-free attention block (fig. 3): the last features weigh their sum with the input."""

    def __init__(self, channels: int, reparameterized: bool) -> None:
        super().__init__()
        stacks = (Conv3XC(channels, channels).amplify(BLOCK_GAIN) for _ in range(3))
        self.c1, self.c2, self.c3 = (stack.in_form(reparameterized) for stack in stacks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and its first activation, each (N, channels, H, W)."""
        first = F.silu(self.c1(x))
        last = self.c3(F.silu(self.c2(first)))
        return (last + x) * (torch.sigmoid(last) - 0.5), first


class SPANNet(nn.Module):
    """The network (fig. 2): RGB in [0, 1] in and out; inside, colours less their mean times the input range."""

    mean: Tensor

    def __init__(self, scale: int, channels: int, reparameterized: bool, mean_shift: bool, input_range: float) -> None:
        super().__init__()
        if not input_range:
            raise UsageError("input_range = 0.0 leaves nothing of an image: use 1 or more, such as 16")
        self.scale, self.input_range = scale, input_range
        mean = (0.4488, 0.4371, 0.4040) if mean_shift else (0.0, 0.0, 0.0)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        conv_first = Conv3XC(3, channels)
        conv_first.carry_colors()
        self.conv_first = conv_first.in_form(reparameterized)
        self.blocks = nn.ModuleList(SPAB(channels, reparameterized) for _ in range(6))
        self.conv_last = Conv3XC(channels, channels).in_form(reparameterized)
        self.conv_cat = nn.Conv2d(4 * channels, channels, 1)
        self.upsampler = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self._start_as_nearest()

    @torch.no_grad()
    def _start_as_nearest(self) -> None:
        """Let the first three features carry the colours on to every pixel of the result, and the others add little."""
        for parameter in self.conv_cat.parameters():
            parameter[:3] = 0
        self.conv_cat.weight[:3, :3, 0, 0] = torch.eye(3)
        self.upsampler.weight.mul_(1.6 / self.input_range)
        self.upsampler.weight[:, :3] = 0
        self.upsampler.weight[:, :3, 1, 1] = torch.eye(3).repeat_interleave(self.scale**2, 0) / self.input_range
        self.upsampler.get_parameter("bias").copy_(self.mean.flatten().repeat_interleave(self.scale**2))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        head = self.conv_first((images - self.mean) * self.input_range)
        outputs, x, first = [], head, head
        for block in self.blocks:
            x, first = block(x)
            outputs.append(x)
        # the reference code activates in place, so what it joins from the last block is the activation, not the convolution
        joined = torch.cat([head, self.conv_last(x), outputs[0], first], 1)  # (N, 4 channels, H, W)
        return F.pixel_shuffle(self.upsampler(self.conv_cat(joined)), self.scale)


def two_rates(generator: SPANNet, rate: float) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a maker of Adam with a rate of its own for the output layer, whose weights are smaller by the input range."""

    def optimizer(modules: Sequence[nn.Module]) -> Optimizer:
        output = generator.upsampler.weight
        others = [p for module in modules for p in module.parameters() if p is not output]
        own = rate * 2 / generator.input_range
        return Adam([{"params": others, "lr": rate}, {"params": [output], "lr": own}], betas=(0.9, 0.99))

    return optimizer


def _detect(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of the official layout; the value range and the mean colour cannot be seen in a file."""
    return Config(
        scale=round((state["upsampler.0.weight"].shape[0] / 3) ** 0.5),
        channels=state["conv_cat.weight"].shape[0],
        reparameterized="block_1.c1_r.sk.weight" in state,
        mean_shift="no_norm" not in state,
    )


_RENAMES = (
    (r"^conv_1\.", "conv_first."),
    (r"^conv_2\.", "conv_last."),
    (r"^block_(\d)\.c(\d)_r\.", lambda m: f"blocks.{int(m[1]) - 1}.c{m[2]}."),
    (r"\.conv\.0\.", ".widen."),
    (r"\.conv\.1\.", ".filter."),
    (r"\.conv\.2\.", ".narrow."),
    (r"\.sk\.", ".skip."),
    (r"\.eval_conv\.", "."),
    (r"^upsampler\.0\.", "upsampler."),
    (r"^", "generator."),
)


class SPAN(System):
    """Super-resolution with parameter-free attention."""

    folder: ClassVar[FolderKind] = "degraded"
    config: Config

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            ("conv_cat.weight", "upsampler.0.weight", "block_1.c1_r.sk.weight"),
            _detect,
            _RENAMES,
            r".*eval_conv.*|no_norm",
        ),
        Layout(
            "official, merged",
            ("conv_cat.weight", "upsampler.0.weight", "block_1.c1_r.eval_conv.weight"),
            _detect,
            _RENAMES,
            "no_norm",
            ("block_1.c1_r.sk.weight",),
        ),
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scale = config.scale
        self.radius = 21  # twenty-one 3x3 convolutions in a row
        self.generator = SPANNet(config.scale, config.channels, config.reparameterized, config.mean_shift, config.input_range)

    def for_inference(self) -> SPAN:
        """Merge each stack into one convolution."""
        if not self.config.reparameterized:
            return self
        merged = SPAN(replace(self.config, reparameterized=False)).to(self.generator.upsampler.weight)
        for name, module in self.generator.named_modules():
            if isinstance(module, Conv3XC):
                merged.generator.set_submodule(name, module.merged())
        for name in ("conv_cat", "upsampler"):
            merged.generator.get_submodule(name).load_state_dict(self.generator.get_submodule(name).state_dict())
        return merged.train(self.training)

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: absolute error under a cosine schedule."""
        c = self.config
        optimizer = two_rates(self.generator, c.learning_rate)
        phase = Phase("generator", [self.generator], self.losses, optimizer, cosine(warmup=0.01), clip=c.gradient_norm)
        return [Stage("pixel", c.steps, [phase], c.batch, c.patch * c.scale)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error on [0, 1] images."""
        return {"l1": F.l1_loss(self.generator(batch["low"]), batch["high"])}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
