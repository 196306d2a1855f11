"""Make a file that ships in the package of one that was trained: numbers in half precision, measured results in the header.

    python tests/benchmarks/bundle.py runs/restore/model.safetensors gantool/bundled/restore.safetensors \\
        --metric "psnr-y, on kodak24 by tests/benchmarks/restoration.py = 32.1"

Prints the lines for `weights.toml`. The results are those of the file that is written, measured with its rounded numbers.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from gantool import modelfile, modelheader, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--metric", action="append", default=[])
    arguments = parser.parse_args()
    _, metadata = modelfile.read(arguments.model)
    facts = modelheader.header(metadata, str(arguments.model))
    assert facts is not None, "no file of gantool's"
    measured = {name.strip(): float(value) for name, _, value in (each.rpartition("=") for each in arguments.metric)}
    facts["metrics"] = {**(facts["metrics"] if isinstance(facts["metrics"], dict) else {}), **measured}
    license = metadata["modelspec.license"]
    system = weights.load(str(arguments.model)).system
    modelfile.write(arguments.output, system, facts, arguments.output.stem, license, half=True)
    data = arguments.output.read_bytes()
    print(f'[{arguments.output.stem}]\nsystem = "{facts["system"]}"\nbundled = "{arguments.output.name}"')
    print(f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nbytes = {len(data)}\nlicense = "{license}"')


if __name__ == "__main__":
    main()
