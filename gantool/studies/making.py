"""Writes the page of a study: one file that needs nothing else, and that does not say which picture is whose.

Every picture is decoded and written anew as PNG of 8-bit RGB, in sRGB, on the page's own gray where it is transparent, with
nothing else: formats, types of colour, profiles and what files say of themselves would tell methods apart. Names of pictures
and trials are keyed hashes; pictures lie in random order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, TextIO

import numpy as np
import torch
from torch import Tensor

from gantool.images import Metadata, Picture, create, read
from gantool.studies.coloring import opaque
from gantool.studies.designing import Design, Shown, Trial

HERE: Final = Path(__file__).parent
LARGE: Final = 256  # screen pixels that the longest side of pictures has at least, where a whole multiple can give it
BACKGROUND: Final = 0x77  # gray of page.css, behind every picture
COARSE: Final = 4  # pixels of a grain of noise: random pixels would make the file large


@dataclass(frozen=True)
class Made:
    """A page that was written.

    Attributes:
        bytes: its size.
        study: the study's id.
        trials: that of each trial, in the order of the design.
        pictures: how many different ones it has.
        alike: names of scored pictures of which two versions are the same.
    """

    bytes: int
    study: str
    trials: tuple[str, ...]
    pictures: int
    alike: tuple[str, ...]


def make(design: Design, path: Path) -> Made:
    """Write the page, which nobody else may see before it is whole; same design, same page.

    Raises:
        InputError: a picture cannot be read.
        OSError: the page cannot be written.
    """
    salt = _salt(design)
    head, tail = _frame()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        ids = _write_pictures(design, salt, file)
        study, trials = _names(design, salt, ids)
        file.write(_block("study", "application/json", _escaped(_public(design, study, trials, ids))))
        file.write(tail)
    return Made(path.stat().st_size, study, trials, len(set(ids.values())), tuple(_alike(design, ids)))


def _alike(design: Design, ids: Mapping[Shown, str]) -> Iterator[str]:
    """Yield the names of scored pictures that two labels share."""
    versions: dict[str, dict[str, str]] = {}
    for trial in design.trials:
        if trial.kind == "trial":
            versions.setdefault(trial.picture, {}).update((shown.label, ids[shown]) for shown in trial.shown)
    yield from (name for name, of in versions.items() if len(set(of.values())) < len(of))


def _salt(design: Design) -> bytes:
    """Return what keys the hashes: all that was drawn, and no place of a file, so that a study can be made again elsewhere."""
    trials = [(trial.kind, trial.picture, [shown.label for shown in trial.shown], trial.good) for trial in design.trials]
    said = (design.mode, design.labels, design.beside, design.exposure_ms, design.question, design.seed, trials)
    return hashlib.sha256(json.dumps(said).encode()).digest()


def _names(design: Design, salt: bytes, ids: Mapping[Shown, str]) -> tuple[str, tuple[str, ...]]:
    """Return the study's id and the trials', which depend on the pictures: votes on others never pass for votes on these."""
    shown = [" ".join(ids[each] for each in trial.shown) for trial in design.trials]
    trials = tuple(_id(salt, f"trial {number} {text}".encode()) for number, text in enumerate(shown))
    return _id(salt, " ".join(trials).encode()), trials


def _id(salt: bytes, what: bytes) -> str:
    return hmac.digest(salt, what, "sha256").hex()[:16]


def _frame() -> tuple[str, str]:
    """Return what comes before and after the pictures; the page's rules let run only the script that is written into it."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    page = (HERE / "page.html").read_text(encoding="utf-8")
    for place, text in {"style_hash": _hash(style), "script_hash": _hash(script), "style": style, "script": script}.items():
        page = page.replace(f"{{{place}}}", text)
    head, _, tail = page.partition("<!-- pictures -->\n")
    return head, tail


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _block(name: str, kind: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>\n'


def _escaped(value: Mapping[str, object]) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def _public(design: Design, study: str, trials: tuple[str, ...], ids: Mapping[Shown, str]) -> dict[str, object]:
    """Return what the page knows."""
    longest = max(max(shown.size) for trial in design.trials for shown in trial.shown)
    return {
        "id": study,
        "mode": design.mode,
        "question": design.question,
        "exposure": design.exposure_ms,
        "enlarged": max(1, LARGE // longest),
        "trials": [_trial(trial, name, ids) for trial, name in zip(design.trials, trials, strict=True)],
    }


def _trial(trial: Trial, name: str, ids: Mapping[Shown, str]) -> dict[str, object]:
    public: dict[str, object] = {
        "id": name,
        "pictures": [ids[shown] for shown in trial.shown],
        "context": [(caption, ids[shown]) for caption, shown in trial.context],
    }
    return {**public, "good": trial.good} if trial.kind == "practice" else public


def _write_pictures(design: Design, salt: bytes, file: TextIO) -> dict[Shown, str]:
    """Write every picture once, one in memory at a time; return their names."""
    ids: dict[Shown, str] = {}
    written = set()
    for shown in _shuffled(design, salt):
        data = _png(shown)
        ids[shown] = _id(salt, data)
        if ids[shown] not in written:
            file.write(_block(ids[shown], "text/plain", base64.b64encode(data).decode()))
            written.add(ids[shown])
    return ids


def _shuffled(design: Design, salt: bytes) -> Iterator[Shown]:
    every = [shown for trial in design.trials for shown in (*trial.shown, *(shown for _, shown in trial.context))]
    different = list(dict.fromkeys(every))
    Random(salt).shuffle(different)
    yield from different


def _png(shown: Shown) -> bytes:
    """Return a picture as raters see it."""
    with tempfile.TemporaryDirectory() as folder:
        path, picture = Path(folder, "picture.png"), Picture(_noise(shown) if shown.made == "noise" else _color(shown))
        with create(path, "png", [picture.page()], Metadata(), quality=100) as writer:
            for band in picture.bands():
                writer.write(band)
        return path.read_bytes()


def _color(shown: Shown) -> Tensor:
    """Return the sRGB colours (3, H, W), uint8, of a picture at the size that it is shown at."""
    pixels = opaque(read(shown.path), BACKGROUND)
    width, height = shown.size
    scale = width // pixels.shape[2] if shown.made == "nearest" else 1
    return pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)[:, :height, :width].contiguous()


def _noise(shown: Shown) -> Tensor:
    """Return random grains (3, H, W), uint8, of the picture's size."""
    width, height = shown.size
    grains = np.random.default_rng([shown.number, width, height]).integers(
        0, 256, (3, -(-height // COARSE), -(-width // COARSE)), np.uint8
    )
    color = torch.from_numpy(grains).repeat_interleave(COARSE, 1).repeat_interleave(COARSE, 2)
    return color[:, :height, :width].contiguous()
