"""Checkpoints from elsewhere: unpickled as weights only, recognised by keys and shapes, renamed, loaded strictly.

A pickle can carry code, so a `.pth` is read by `torch.load(weights_only=True)` alone, after a look at the sizes it declares.
What needs more than that is refused; no other way is tried.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gantool import systems
from gantool.errors import GantoolError, WeightsError, first_line, printable
from gantool.modelfile import SHOWN, build, configure, fill
from gantool.modelheader import Kind
from gantool.system import Json, Layout, System

MAX_PICKLE = 2 << 20  # bytes of the pickle proper, without the numbers: enough for 10,000 tensors
MAX_CONTAINERS = 60_000  # tuples, lists and dictionaries in it; a tensor needs five. Many more, nested, overflow the stack
MAX_WRAPPERS = 4  # dictionaries round the one with the tensors; a pickle may nest them without end
MAX_NUMBER = 9_999  # in a key: the position of a layer
WRAPPERS = (  # where checkpoints keep the network, likeliest first; of a GAN the generator
    "model_state_dict", "state_dict", "params", "model", "net", "netG", "generator",
)  # fmt: skip
AVERAGES = (  # better than the raw weights beside them
    "params_ema", "params-ema", "ema_state_dict", "g_ema", "model_ema", "avgG",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "netG.")  # of torch's parallel and compiled networks, and of GANs
ODDMENTS = ("n_averaged",)  # what torch's averaging adds to a network's state
UNREAD = {  # what is known and not read: what the file holds, and regular expressions that all match keys of it
    "an anti-aliased network as of CUT: ask for one trained without anti-aliasing": (r".*\.filt",),
    "a U-Net as PyTorch-GAN and huggan have it: ask for one of pix2pix's own code": (r"down1\.model\.0\.weight",),
    "a residual generator with batch norm: ask for one with instance norm": (
        r"model\.10\.conv_block\.1\.weight", r"model\.2\.weight",
    ),
    "a generator of volumes as of MEGAN: ask for one of pictures": (r"model\.\d+\.conv_block\.0\.weight",),
    "a discriminator of patches: ask for the generator beside it": (
        r"model\.0\.weight", r"model\.2\.weight", r"model\.5\.weight", r"model\.8\.weight", r"model\.1[12]\.weight",
    ),
    "DSGAN, which makes pictures noisy for SRResCGAN to learn from: ask for the generator beside it": (
        r"block_input\.0\.weight", r"res_blocks\.0\.prelu\.weight", r"block_output\.weight",
    ),
    "a discriminator as of StarGAN: ask for the generator beside it": (
        r"main\.0\.weight", r"conv1\.weight", r"conv2\.weight",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """A foreign checkpoint as a system ready to use, and how it was understood."""

    system: System
    layout: str
    average: bool  # whether the file said that these weights are a moving average
    renamed: Mapping[str, str]
    dropped: Sequence[str]

    def summary(self) -> str:
        """Return one sentence: system, layout, keys renamed and dropped."""
        shown = ", ".join(printable(key)[:60] for key in self.dropped[:SHOWN])
        dropped = f" ({shown}{', ...' if len(self.dropped) > SHOWN else ''})" if self.dropped else ""
        counts = f"{len(self.renamed)} keys renamed, {len(self.dropped)} dropped{dropped}"
        return f"{systems.name_of(self.system)} in the {self.layout} layout, {counts}"


@dataclass(frozen=True)
class _State:
    """A network's tensors, freed of what was wrapped round them."""

    tensors: Mapping[str, Tensor]
    originals: Mapping[str, str]  # key -> key in the file
    average: bool
    dropped: Sequence[str]


def convert(
    found: Mapping[str, object], origin: str, system: str | None = None, overrides: Mapping[str, Json] | None = None
) -> Converted:
    """Return the system in a foreign checkpoint.

    Args:
        found: what `unpickle` or `modelfile.read` returned; the tensors may lie in dictionaries and under prefixes.
        origin: the file's name, for messages.
        system: the system's name where it is known; otherwise it is recognised by keys.
        overrides: fields of the configuration that the file cannot tell, or tells wrongly.

    Raises:
        WeightsError: no system fits.
    """
    state = _unwrap(found, origin)
    problems = []
    for name, layout in _recognise(state.tensors, system):
        try:
            return _load(state, name, layout, origin, overrides or {})
        except WeightsError as error:
            problems.append(error)
    raise _explained(state.tensors, problems, origin)


def _explained(state: Mapping[str, Tensor], problems: Sequence[WeightsError], origin: str) -> WeightsError:
    """Return why a network is not read: what it is instead, or else what the likeliest layout lacks."""
    for what, keys in UNREAD.items():
        if all(any(re.fullmatch(pattern, key) for key in state) for pattern in keys):
            return WeightsError(f"{origin} holds {what}")
    if problems:
        return problems[0]
    shown = ", ".join(printable(key)[:60] for key in list(state)[:SHOWN])
    return WeightsError(f"{origin} is in no known layout (it has {shown}): tell `gantool models convert` its --system")


def _unwrap(found: Mapping[str, object], origin: str) -> _State:
    """Find the network's tensors: in known wrappers, averages first, or in the only dictionary; strip prefixes."""
    average = False
    for _ in range(MAX_WRAPPERS):
        name, inner = _wrapped(found)
        average |= name in AVERAGES
        found = inner
    tensors: dict[str, Tensor] = {}
    originals: dict[str, str] = {}
    dropped = []
    for key, value in found.items():
        name = _stripped(key)
        if not isinstance(value, Tensor) or name in ODDMENTS:
            dropped.append(key)
        elif name in tensors:
            raise WeightsError(f"{origin} has both {printable(originals[name])} and {printable(key)}: two networks in one")
        else:
            tensors[name], originals[name] = value.detach(), key
    _check_tensors(tensors, origin)
    return _State(tensors, originals, average, dropped)


def _wrapped(found: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """Return the dictionary that holds the network, with its key; the given one under no key if it is that already."""
    inner = {key: value for key, value in found.items() if isinstance(value, dict)}
    known = [name for name in (*AVERAGES, *WRAPPERS) if name in inner]
    only = [] if any(isinstance(value, Tensor) for value in found.values()) or len(inner) > 1 else list(inner)
    for name in (*known, *only):
        return name, {key: value for key, value in inner[name].items() if isinstance(key, str)}
    return "", found


def _stripped(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


def _check_tensors(tensors: Mapping[str, Tensor], origin: str) -> None:
    """Refuse what would cost far more time or memory than the file's size says."""
    if not tensors:
        raise WeightsError(f"{origin} holds no weights")
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
            raise WeightsError(f"{origin} holds {printable(key)[:80]} in a form that is not plain numbers")
        if any(len(part) > len(str(MAX_NUMBER)) and part.isdecimal() for part in key.split(".")):
            raise WeightsError(f"{origin} counts beyond {MAX_NUMBER} layers in {printable(key)[:80]}")
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors.values()}
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > 2 * sum(storages.values()):  # weights may be shared, but not all of them twice
        raise WeightsError(f"{origin} claims {claimed} bytes of weights and holds {sum(storages.values())}")


def _recognise(state: Mapping[str, Tensor], system: str | None) -> list[tuple[str, Layout]]:
    """Return the systems and layouts that the keys allow, the most specific first; for a known system also its own keys."""
    names = [system] if system else systems.names()
    layouts = [(name, layout) for name in names for layout in systems.load(name).system.layouts]
    fitting = [(n, x) for n, x in layouts if all(key in state for key in x.keys) and not any(key in state for key in x.without)]
    fitting.sort(key=lambda pair: -len(pair[1].keys) - len(pair[1].without))
    if system:
        config = systems.load(system).config
        fitting.append((system, Layout("plain", (), lambda tensors: config(), ())))
    return fitting


def _load(state: _State, name: str, layout: Layout, origin: str, overrides: Mapping[str, Json]) -> Converted:
    with _understood(name, layout, origin):
        detected = layout.config(state.tensors)
    config = configure(detected, overrides, f"the entry of {origin} in weights.toml")
    names, ignored = _rename(state.tensors, layout, origin)
    with _understood(name, layout, origin):
        tensors = layout.adapt({new: state.tensors[old] for new, old in names.items()})
    system = build(name, config, sum(tensor.numel() for tensor in tensors.values()), origin)
    renamed = {state.originals[old]: new for new, old in names.items() if state.originals[old] != new}
    dropped = [*state.dropped, *(state.originals[key] for key in ignored)]
    return Converted(fill(system, _counters(system) | tensors, origin), layout.name, state.average, renamed, dropped)


@contextmanager
def _understood(name: str, layout: Layout, origin: str) -> Iterator[None]:
    """A layout's functions trust keys and shapes, which a file may have wrong."""
    try:
        yield
    except (GantoolError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise WeightsError(f"{origin} looks like {name} ({layout.name} layout) but is not ({first_line(error)})") from error


def _counters(system: System) -> dict[str, Tensor]:
    """Return batch norm's counts of batches, which files from before torch 0.4.1 lack; nothing here reads them."""
    modules = system.inference_modules().items()
    tensors = {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}
    return {key: value for key, value in tensors.items() if key.endswith(".num_batches_tracked")}


def _rename(state: Mapping[str, Tensor], layout: Layout, origin: str) -> tuple[dict[str, str], list[str]]:
    """Return our key -> the file's key, and the keys that carry nothing."""
    ignored = {key: None for key in state if re.fullmatch(layout.ignored, key)}
    names: dict[str, str] = {}
    for key in (key for key in state if key not in ignored):
        new = key
        for pattern, replacement in layout.renames:
            new = re.sub(pattern, replacement, new)
        if new in names:
            raise WeightsError(
                f"{origin} has both {printable(names[new])[:80]} and {printable(key)[:80]} for {printable(new)[:80]}"
            )
        names[new] = key
    return names, list(ignored)


def unpickle(path: Path, kind: Kind) -> Mapping[str, object]:
    """Return the dictionary in a torch checkpoint, with no code run but that which puts tensors together.

    Args:
        path: of the checkpoint.
        kind: "zip" or "pickle", as `modelheader.sniff` said.

    Raises:
        WeightsError: the file is damaged, claims more than it holds, or needs code.
    """
    origin = printable(path)
    try:
        _check_zip(path, origin) if kind == "zip" else _check_legacy(path, origin)
        with warnings.catch_warnings(), path.open("rb") as file:  # open, since torch would go by the name otherwise
            warnings.simplefilter("ignore")  # of old formats and protocols; what cannot be read is an error anyway
            found = torch.load(file, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(origin, str(error))) from error
    except Exception as error:  # a damaged file can make the loader raise anything
        raise WeightsError(f"{origin} is damaged ({first_line(error)}): download or copy it again") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise WeightsError(f"{origin} holds a {type(found).__name__}, not a dictionary of named weights")
    return found


def _refusal(origin: str, words: str) -> str:
    needed = re.search(r"GLOBAL ([\w.]+)", words)
    what = f"needs code to unpickle ({needed[1]})" if needed else "is a pickle of more than weights"
    return f"{origin} {what}, and code from a file is never run: ask for the weights as safetensors"


def _check_zip(path: Path, origin: str) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(e.filename.endswith("/constants.pkl") for e in entries):
            raise WeightsError(f"{origin} is a TorchScript program, which is code and never run: ask for its weights alone")
        pickles = [e for e in entries if e.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(f"{origin} is a zip archive without a torch checkpoint in it")
        packed = any(e.compress_type != zipfile.ZIP_STORED for e in entries)
        if packed or sum(e.file_size for e in entries) > path.stat().st_size:
            raise WeightsError(f"{origin} unpacks to more than its size, which no torch checkpoint does: it is not loaded")
        with archive.open(pickles[0]) as file:
            _check_pickle(file.read(MAX_PICKLE + 1), origin)


def _check_legacy(path: Path, origin: str) -> None:
    with path.open("rb") as file:
        _check_pickle(file.read(MAX_PICKLE + 1), origin)


def _check_pickle(data: bytes, origin: str) -> None:
    """Refuse pickles so long or so nested that reading them could overflow memory or stack; nothing is executed here."""
    stream = io.BytesIO(data)
    containers = 0
    try:
        for _ in range(5):  # a checkpoint of the old format is five pickles and then the numbers
            for opcode, _, _ in pickletools.genops(stream):
                containers += opcode.name.removeprefix("EMPTY_").startswith(("TUPLE", "LIST", "DICT"))
    except Exception:  # noqa: S110  a damaged pickle makes the parser raise anything; the loader will say it better
        pass
    if stream.tell() > MAX_PICKLE or containers > MAX_CONTAINERS:
        raise WeightsError(f"{origin} holds far more, or far deeper, objects than a network has: it is not loaded")
