"""How good generated digits are: whether a classifier finds the class that was asked for, and how like real ones they are.

    python tests/benchmarks/digits.py ../shared/data/mnist MODEL [EARLIER_MODEL]

The classifier is trained here, on the 60,000 training digits, in about a minute, and first tells its accuracy on the 10,000
test digits. The Frechet distance is between normal distributions fitted to its features, of 1,000 samples and of the test
digits: no FID, which is by Inception's features.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool import weights
from gantool.data.idx import read_images, read_labels
from gantool.system import Generator

SAMPLES, EPOCHS, BATCH = 1000, 2, 100


class Classifier(nn.Module):
    """A small LeNet for images (N, 1, 28, 28) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def train_classifier(images: Tensor, labels: Tensor) -> Classifier:
    torch.manual_seed(0)
    classifier = Classifier()
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(classifier(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def digits(mnist: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) in [0, 1] and their classes (N,)."""
    images = read_images(mnist / f"{part}-images-idx3-ubyte.gz")
    labels = read_labels(mnist / f"{part}-labels-idx1-ubyte.gz", len(images))
    return images.reshape(-1, 1, 28, 28).float() / 255, labels.long()


def samples(model: Path) -> tuple[Tensor, Tensor | None]:
    """The images of seeds 0 to 999, 28 pixels a side, as `gantool generate` draws them, and the classes asked for in turns."""
    system = weights.load(str(model)).system
    if not isinstance(system, Generator):
        sys.exit(f"{model} does not generate")
    latents = torch.stack([torch.randn(system.latent, generator=torch.Generator().manual_seed(n)) for n in range(SAMPLES)])
    labels = torch.arange(SAMPLES) % len(system.classes) if system.classes else None
    made = []
    for first in range(0, SAMPLES, BATCH):
        part = slice(first, first + BATCH)
        asked = None if labels is None else F.one_hot(labels[part], len(system.classes)).float()
        made.append(system.generate(latents[part], asked))
    images = torch.cat(made).clamp(0, 1)
    if images.shape[-1] == 32:  # digits of 28 pixels, scaled up in training
        images = F.interpolate(images, size=28, mode="bilinear", antialias=True)
    return images, labels


def frechet(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), of features (N, K)."""
    (m1, s1), (m2, s2) = ((x.double().mean(0), x.double().T.cov()) for x in (first, second))
    cross = torch.linalg.eigvals(s1 @ s2).real.clamp(min=0).sqrt().sum()
    return float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross)


@torch.inference_mode()
def score(model: Path, classifier: Classifier, real: Tensor) -> float:
    images, labels = samples(model)
    found = classifier(images).argmax(1)
    shares = torch.bincount(found, minlength=10) / SAMPLES
    distance = frechet(classifier.body(images), classifier.body(real))
    print(f"{model}: Frechet distance in the classifier's features {distance:.2f}")
    print("  share of each class: " + " ".join(f"{share:.1%}" for share in shares.tolist()))
    if labels is not None:
        print(f"  {(found == labels).float().mean():.1%} of {SAMPLES} samples are of the class that was asked for")
    return distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("earlier", type=Path, nargs="?")
    arguments = parser.parse_args()
    (train, train_labels), (test, test_labels) = (digits(arguments.mnist, part) for part in ("train", "t10k"))
    classifier = train_classifier(train, train_labels)
    with torch.inference_mode():
        correct = (classifier(test).argmax(1) == test_labels).float().mean()
    print(f"classifier: {correct:.2%} of the test digits are right")
    last = score(arguments.model, classifier, test)
    if arguments.earlier:
        first = score(arguments.earlier, classifier, test)
        print(f"the distance fell {first / last:.1f} times")


if __name__ == "__main__":
    main()
