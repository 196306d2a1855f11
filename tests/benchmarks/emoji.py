"""How well emoji are translated: from one style to the other, and from one tone of skin to another.

    python tests/benchmarks/emoji.py prepare ../shared/data/emoji runs/emoji
    python tests/benchmarks/emoji.py styles MODEL runs/emoji [--to twemoji]     (or runs/emoji/files)
    python tests/benchmarks/emoji.py tones MODEL runs/emoji

`prepare` makes folders for training and holds back every tenth emoji with all its tones of skin: train/noto, train/twemoji,
val/..., and for the tones of Noto a folder each in tones/train and tones/val; and once more every tenth file, other tones of
whose emoji may be learned: files/train/noto and so on. Toned emoji that come in variants, of gender say, go to tones/judge.
`styles` gives the mean absolute error, in [0, 1], of what a model makes of the held-back pictures, beside that of the pictures
as they are and of the best constant that can be added to each channel. `tones` translates each held-back emoji to all tones; a
classifier that is trained here, on tones/judge and tones/train, first tells how many real ones it knows, then which tone it
sees, and the background, what is transparent in the original, is compared with what it was.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool import images, weights
from gantool.system import Translator

TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
HELD_BACK = 10  # one emoji in so many
SIDE = 64
EPOCHS = 25  # of the classifier of tones


def prepare(source: Path, target: Path) -> None:
    names = sorted(path.name for path in (source / "noto72").glob("*.png"))
    bases = sorted({name.removesuffix(".png").split("-1f3f")[0] for name in names})
    held = set(bases[::HELD_BACK])
    for name in names:
        stem = name.removesuffix(".png")
        part = "val" if stem.split("-1f3f")[0] in held else "train"
        for style in ("noto", "twemoji"):
            copy(source / f"{style}72" / name, target / part / style / name)
            drawn = "val" if names.index(name) % HELD_BACK == 0 else "train"
            copy(source / f"{style}72" / name, target / "files" / drawn / style / name)
    series: dict[str, list[str]] = {}  # emoji by all but their tone
    for name in names:
        if name.count("-1f3f") == 1:
            series.setdefault(re.sub("-1f3f[b-f]", "", name), []).append(name)
    alone = Counter(key.split("-")[0].removesuffix(".png") for key in series)
    for key, toned in series.items():
        base = key.split("-")[0].removesuffix(".png")
        part = "judge" if alone[base] > 1 else "val" if base in held else "train"
        for name in toned if len(toned) == len(TONES) else ():
            code = next(code for code in TONES if f"-{code}" in name)
            copy(source / "noto72" / name, target / "tones" / part / TONES[code] / name)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 64, 64) on white, and where they are transparent (N, 1, 64, 64)."""
    found = [images.read(path) for path in sorted(folder.glob("*.png"))]
    colors, clear = [], []
    for picture in found:
        alpha = torch.ones_like(picture.color[:1]) * 255 if picture.alpha is None else picture.alpha
        alpha = alpha.float() / 255
        colors.append(shrink(picture.color.float() / 255 * alpha + 1 - alpha))
        clear.append(F.max_pool2d(shrink(alpha)[None], 3, 1, 1)[0] < 1 / 255)
    return torch.stack(colors), torch.stack(clear)


def shrink(image: Tensor) -> Tensor:
    return F.interpolate(image[None], (SIDE, SIDE), mode="bicubic", antialias=True)[0].clamp(0, 1)


def translator(model: Path) -> Translator:
    system = weights.load(str(model)).system
    assert isinstance(system, Translator)
    return system


def translated(system: Translator, given: Tensor, to: str | None) -> Tensor:
    target = system.target([to] if to else [], [])
    with torch.inference_mode():
        return torch.cat([system.translate(part, target) for part in given.split(50)]).clamp(0, 1)


def styles(model: Path, data: Path, to: str | None) -> None:
    system = translator(model)
    (given, _), (wanted, _) = (load(data / "val" / style) for style in ("noto", "twemoji"))
    made = translated(system, given, to)
    shift = (wanted - given).transpose(0, 1).flatten(1).median(dim=1).values  # what lowers the mean absolute error most
    shifted = (given + shift.view(1, 3, 1, 1)).clamp(0, 1)
    errors = [(each - wanted).abs().mean().item() for each in (made, given, shifted)]
    print(f"{len(given)} held-back pairs: L1 {errors[0]:.4f}; as they are {errors[1]:.4f}, best constant {errors[2]:.4f}")
    print(f"  {errors[0] / min(errors[1:]):.3f} of the better of both")
    if len(system.targets) == 2:
        back = translated(system, made, "noto")
        print(f"  there and back: {(back - given).abs().mean():.4f}")


def classifier(channels: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (3, channels, channels):
        layers += [nn.Conv2d(inputs, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(TONES)))


def labelled(data: Path) -> tuple[Tensor, Tensor, Tensor]:
    parts = [load(data / tone) for tone in TONES.values()]
    labels = torch.cat([torch.full((len(part),), number) for number, (part, _) in enumerate(parts)])
    return torch.cat([part for part, _ in parts]), torch.cat([clear for _, clear in parts]), labels


def tones(model: Path, data: Path) -> None:
    torch.manual_seed(0)
    system, judge = translator(model), classifier()
    parts = [labelled(data / "tones" / part) for part in ("judge", "train")]
    pictures, labels = torch.cat([part[0] for part in parts]), torch.cat([part[2] for part in parts])
    optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pictures)).split(50):
            loss = F.cross_entropy(judge(pictures[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.step()
    judge.eval()
    pictures, clear, labels = labelled(data / "tones" / "val")
    with torch.inference_mode():
        print(
            f"classifier: {(judge(pictures).argmax(1) == labels).float().mean():.1%} of {len(labels)} held-back emoji are right"
        )
        hits, moved = [], []
        for number, tone in enumerate(TONES.values()):
            made = translated(system, pictures, tone)
            hits.append((judge(made).argmax(1) == number).float())
            moved.append((made - pictures).abs().mean(1, keepdim=True)[clear])
            print(f"  to {tone}: {hits[-1].mean():.1%} are seen as that")
    share, background = torch.cat(hits), torch.cat(moved).mean()
    print(f"all: {share.mean():.1%} of {len(share)} translations; background differs by {background:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "styles", "tones"))
    parser.add_argument("first", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to")
    arguments = parser.parse_args()
    if arguments.what == "prepare":
        prepare(arguments.first, arguments.data)
    elif arguments.what == "styles":
        styles(arguments.first, arguments.data, arguments.to)
    else:
        tones(arguments.first, arguments.data)


if __name__ == "__main__":
    main()
