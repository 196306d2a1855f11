"""What a paper is, to this program: start here.

A *system* is a paper: its networks, its losses, its schedule, its use. Training is *stages* of *phases*; a phase returns
named losses; `gantool.training.loop` does everything else. What a trained system can do is one of three protocols:
`Upscaler`, `Translator`, `Generator`.

Shapes: N batch, C channels, H W height and width in pixels. Outside a system images are RGB float32 in [0, 1].
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from re import Match
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from gantool.errors import UsageError, printable, unknown
from gantool.fitting import Degradation
from gantool.fitting import Fit as Fit
from gantool.schedules import constant

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

Batch: TypeAlias = dict[str, Tensor]
"""What a data set yields, by name, according to the kind of folder that a system learns from; images (N, C, H, W) in [0, 1].

plain: "image". labelled: "image" and "label" (N, K), one column a class or attribute, 0 or 1; where several labelled folders
are learned together also "mask" (N, folders), 1 for the folder that a batch is from, whose columns alone are known.
paired: "input" and "target". unpaired: "a" and "b". degraded: "low" and "high".
"""

Features: TypeAlias = Callable[[Tensor, Sequence[str]], list[Tensor]]
"""A frozen network: from images (N, 3, H, W) in [0, 1] to its features at the named layers."""

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
"""What headers and configuration files hold."""

FolderKind: TypeAlias = Literal["plain", "labelled", "paired", "unpaired", "degraded"]


def adam(rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a maker of Adam optimisers with one learning rate for all parameters of the given modules."""
    return lambda modules: Adam([p for module in modules for p in module.parameters()], lr=rate, betas=betas)


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn: the modules it updates and the named, weighted losses it minimises."""

    name: str
    modules: Sequence[nn.Module]
    losses: Callable[[Batch], dict[str, Tensor]]  # each a scalar, already weighted; {} skips the turn
    optimizer: Callable[[Sequence[nn.Module]], Optimizer] = adam(1e-4)
    schedule: Callable[[float], float] = constant  # progress through the stage in [0, 1] -> factor on the rates
    momentum: Callable[[float], float] | None = None  # progress -> momentum of SGD, where it changes
    every: int = 1  # take this turn on one step in this many
    repeats: int = 1  # updates per turn (critic steps), each on the next batch
    clip: float = inf  # gradient norm


@dataclass(frozen=True)
class Stage:
    """A stretch of training with fixed phases; a new stage starts new optimisers."""

    name: str
    steps: int  # a step is every phase that is due, once, in order
    phases: Sequence[Phase]
    batch: int = 16  # samples per step, over all processes together
    size: int | None = None  # pixels per side of a training image, where the folder's pictures are cropped or resized


@dataclass(frozen=True)
class Layout:
    """A key layout of checkpoints from elsewhere: how it is recognised, what it tells, and what its keys are called here."""

    name: str  # whose: "official", "BasicSR"
    keys: tuple[str, ...]  # all of these are present
    config: Callable[[Mapping[str, Tensor]], DataclassInstance]  # hyper-parameters from keys and shapes
    renames: tuple[
        tuple[str, str | Callable[[Match[str]], str]], ...
    ]  # regular expression -> replacement, each applied to every key, in order
    ignored: str = r"(?!)"  # keys that fully match carry nothing that is needed
    without: tuple[str, ...] = ()  # none of these is present
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda tensors: tensors  # where numbers differ, after renaming


def count_children(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return 1 + the highest number directly below a key prefix, 0 if there is none: the length of a sequence of layers."""
    parts = (key[len(prefix) + 1 :].split(".")[0] for key in state if key.startswith(prefix + "."))
    return 1 + max((int(part) for part in parts if part.isdecimal()), default=-1)


def configured(base: C, values: Mapping[str, Json]) -> C:
    """Return a system's configuration with the given fields changed.

    Raises:
        UsageError: a field does not exist (all are listed, with their values), or a value is of the wrong kind, not finite,
            below 1 where it counts something, or a number of channels that pictures do not have.
    """
    known = {f.name: getattr(base, f.name) for f in fields(base)}
    for key, value in values.items():
        if key not in known:
            listing = ", ".join(f"{name}={default}" for name, default in known.items())
            raise UsageError(f"{unknown('field', key, known)}; all fields with their values: {listing}")
        known[key] = _checked(key, value, known[key])
    return type(base)(**known)


def _checked(key: str, value: Json, default: object) -> object:
    if isinstance(default, tuple) and isinstance(value, list) and value:
        return tuple(_checked(key, item, default[0]) for item in value)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    wrong = type(value) is not type(default) or (isinstance(value, float) and not 0 <= value < inf)
    if wrong or (isinstance(default, int) and type(default) is not bool and value < 1):  # type: ignore[operator]  # an int here
        kinds: dict[type, str] = {int: "a whole number, 1 or more", float: "a finite number, 0 or more", bool: "true or false"}
        wanted = (kinds | {tuple: "a list"}).get(type(default), "text")
        like = json.dumps(default) if isinstance(default, tuple) else default  # as --set and config.toml have it
        raise UsageError(f"{key} = {printable(value)[:40]}: it must be {wanted}, like {like}")
    if key == "image_channels" and value not in (1, 3):
        raise UsageError(f"image_channels = {value}: it must be 1 for gray or 3 for RGB")
    return value


def check_choices(config: DataclassInstance, choices: Mapping[str, Sequence[str]]) -> None:
    """Check that the fields of a configuration that `choices` names have one of the values there.

    Raises:
        UsageError: one has not.
    """
    for field, known in choices.items():
        if getattr(config, field) not in known:
            raise unknown(field, getattr(config, field), known)


class System(nn.Module, ABC):
    """A paper: its networks, losses, schedule and use.

    A subclass is final: it has a frozen dataclass `Config` whose defaults are the paper's values, takes one as the only
    argument, and names its folder kind. One `state_dict` is the whole truth: whatever is kept between steps lives in buffers.
    """

    folder: ClassVar[FolderKind] = "plain"
    layouts: ClassVar[tuple[Layout, ...]] = ()
    config: DataclassInstance
    fit: Fit = Fit()
    degradation: Degradation | None = None  # how training images are made small; None: MATLAB's bicubic in 8 bits
    features: str = ""  # the frozen network by which losses compare images (gantool.layers.features); empty: none is needed
    image_channels: int = 3  # of the images it learns from: 3 for RGB, 1 for gray
    half_safe: ClassVar[bool] = True  # whether float16 inference stays finite and close to float32
    behaviour: str = ""  # what norm and dropout do at inference, where that is a choice: a model file's header says it
    multiple: int = 1  # input sides must be a multiple of this many pixels
    radius: int | None = None  # how far, in input rows or columns, an output pixel sees; None: the whole image
    progress: Tensor

    def __init__(self, config: DataclassInstance) -> None:
        super().__init__()
        self.config = config
        # through the stage, 0 to 1; the loop writes it
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        self.notes: dict[str, Tensor] = {}  # of the present turn, for the log
        self._frozen: list[Features] = []  # in a list: what is frozen is no part of the system and its state

    def give_features(self, network: Features) -> None:
        """Take the frozen network that `features` names, on the device of the system."""
        self._frozen = [network]

    def look(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return the frozen network's features of images (N, 3, H, W) in [0, 1] at some layers."""
        [network] = self._frozen  # `train` gives it to whom names it
        return network(images, layers)

    def note(self, name: str, value: Tensor) -> None:
        """Keep a value of this turn that is not minimised, such as a discriminator's accuracy, for the log."""
        self.notes[name] = value.detach()

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Return the training schedule; empty for a system that is not trained."""

    @abstractmethod
    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Return, by attribute name, the modules that the weight average follows and a model file holds."""

    def for_inference(self) -> System:
        """Return the system in the form that inference uses and a model file holds: itself, unless layers can be merged."""
        return self

    def deterministic(self) -> System:
        """Return the system that draws no noise and normalises by stored statistics: itself, unless it does otherwise."""
        return self


@runtime_checkable
class Upscaler(Protocol):
    """Makes images larger by a whole factor."""

    scale: int  # output side / input side
    radius: int | None
    multiple: int

    def upscale(self, images: Tensor) -> Tensor:
        """Return images (N, 3, scale H, scale W) for images (N, 3, H, W), RGB float32 in [0, 1], not clamped."""
        ...


@runtime_checkable
class Student(Protocol):
    """Can learn to upscale as another system does, whose results stand for the true images."""

    scale: int

    def give_teacher(self, teacher: Upscaler) -> None:
        """Take another system of the same scale, on the same device."""
        ...


@runtime_checkable
class Translator(Protocol):
    """Turns images of one domain into images of another."""

    radius: int | None
    multiple: int
    targets: tuple[str, ...]  # names of what images can become or be given; empty where a model does one thing
    keeps_gray: bool  # whether gray images stay gray; else they are RGB before they are translated

    def target(self, wanted: Sequence[str], unwanted: Sequence[str]) -> Tensor | None:
        """Return what `translate` takes for names out of `targets`: a vector (K,), or None where there is no choice.

        Raises:
            UsageError: a name is unknown, names exclude one another, or one is missing.
        """
        ...

    def translate(self, images: Tensor, target: Tensor | None) -> Tensor:
        """Return images (N, 3, H, W) for images (N, 3, H, W), RGB float32 in [0, 1], not clamped; one target for all."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Makes images from latents."""

    latent: tuple[int, ...]  # shape of one latent
    classes: tuple[str, ...]  # names of what can be asked for; empty where there is no choice
    truncates: bool  # whether latents nearer to 0 give more typical images

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (N, C, H, W) in [0, 1], not clamped; each depends on its own latent and label alone.

        Args:
            latents: (N, *latent), standard normal; what another distribution is drawn from in a paper is made of them.
            labels: (N, K) as a labelled batch has them; None where there are no classes.
        """
        ...


@runtime_checkable
class Scored(Protocol):
    """Can tell by itself how well it fits images that it has not learnt from."""

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalars by name, means over the batch, the first of them to be maximised."""
        ...
