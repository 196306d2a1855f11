"""Samples of all stages of a growing network on one sheet: a row each, pixels repeated up to the size of the last.

    python tests/benchmarks/growth.py runs/pggan-digits sheet.png

Takes the sheet that the run wrote at the end of each stage, of which the first row is shown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from gantool import images
from gantool.images import Picture

COLUMNS = 8


def ends(run: Path) -> list[tuple[str, int]]:
    """The stages that were done, with the number of steps taken by their end."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    taken: dict[str, int] = {}
    for line in lines:
        if "stage" in line:
            taken[line["stage"]] = line["step"]
    sheets = sorted(int(path.stem) for path in (run / "samples").glob("*.png"))
    total, found = 0, []
    for stage, steps in taken.items():
        total += steps
        found.append((stage, min(sheets, key=lambda step: abs(step - total))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for stage, step in ends(arguments.run):
        sheet = images.read(arguments.run / "samples" / f"{step:08}.png").color
        row = sheet[:, : sheet.shape[2] // COLUMNS]
        print(f"stage {stage}: sheet of step {step}, images of {row.shape[1]} pixels")
        rows.append(row)
    side = rows[-1].shape[1]
    large = [row.repeat_interleave(side // row.shape[1], 1).repeat_interleave(side // row.shape[1], 2) for row in rows]
    images.write(arguments.output, Picture(torch.cat(large, dim=1)))


if __name__ == "__main__":
    main()
