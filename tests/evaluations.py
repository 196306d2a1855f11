"""Evaluations to make pages of, and pictures to show in them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from gantool.evaluation import page
from gantool.evaluation.gallery import Show
from gantool.evaluation.values import Comparison, Evaluation, Explained, Mean, Row, SetValue

HOSTILE = [
    "<img src=x onerror=document.title='hit'>.png",
    "</script><script>document.title='hit'</script>.png",
    "<!--<script>.png",
    "caf\udce9.png",
    "line\u2028break\u202e\x1b[31m.png",
    "{{script}} & \"quoted\" 'twice' \\u003c.png",
]
TEN = {f"{number}.png": float(number) for number in range(10)}


def found(values: Mapping[str, Mapping[str, float]], metric: str = "psnr-y", **more: object) -> Evaluation:
    """An evaluation with one metric, out of values by contestant and picture."""
    rows = tuple(Row(label, name, None, None, {metric: value}) for label, of in values.items() for name, value in of.items())
    means = {label: {metric: Mean(sum(of.values()) / len(of), 20.0, 40.0)} for label, of in values.items()}
    return Evaluation(
        contestants=tuple(values),
        metrics=(metric,),
        rows=more.pop("rows", rows),  # type: ignore[arg-type]
        means=means,
        sets=more.pop("sets", {}),  # type: ignore[arg-type]
        comparisons=more.pop("comparisons", ()),  # type: ignore[arg-type]
        explained=more.pop("explained", {}),  # type: ignore[arg-type]
        recipe=("protocol sr at scale 4", "psnr-y: PSNR of the luma"),
        protocol="sr",
    )


def noise(seed: int, height: int = 16, width: int = 24, channels: int = 3) -> Tensor:
    """A picture whose pixels are drawn by a seed."""
    made = torch.randint(0, 256, (channels, height, width), generator=torch.Generator().manual_seed(seed))
    return made.to(torch.uint8)


def shows(*_: str) -> tuple[Tensor, Tensor]:
    """The same two pictures for whatever is asked."""
    return noise(1), noise(2)


def alone(*_: str) -> tuple[Tensor, None]:
    """A picture without a reference."""
    return noise(1), None


def never(*_: str) -> NoReturn:
    """For pages that have no pictures."""
    pytest.fail("it was asked for a picture")


def written(folder: Path, evaluation: Evaluation, show: Show = shows, shown: int = 6) -> str:
    """Write the page of an evaluation and return its text."""
    page.write(folder / "page.html", evaluation, show, shown)
    return (folder / "page.html").read_text(encoding="utf-8")


FULL = found(
    {"one": {"a.png": 30.0, "b.png": inf}, "two": {"a.png": 31.0, "b.png": nan}},
    sets={"one": (SetValue("fid", 61.5, 0.1, "legacy-pytorch", ("too few",), {"classes": {"cat": 0.5}, "odd": inf}),)},
    comparisons=(Comparison("psnr-y", "one", "two", Mean(1.0, 0.5, 1.5), 1.0, 0.03),),
    explained={"one": (Explained("psnr-y", "luma of 0 to 255", 28.68, -1.32),)},
)
