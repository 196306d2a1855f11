"""What a classifier of the target domain makes of pictures: how often it sees the class that was asked for.

So DTN (arXiv:1611.02200) scores digits, and StarGAN (arXiv:1711.09020) faces. Pictures are counted in a `Confusion`.
"""

from __future__ import annotations

from gantool.metrics.seg import Confusion


def accuracy(answers: Confusion) -> float:
    """Return the share of pictures whose class is the wanted one.

    Args:
        answers: of at least one picture; row: the wanted class, column: the one that the classifier says.
    """
    return int(answers.right.sum()) / int(answers.matrix.sum())


def by_class(answers: Confusion) -> list[float | None]:
    """Return, by wanted class, the share of its pictures that are seen as it; None where no picture was wanted."""
    pairs = zip(answers.right.tolist(), answers.true.tolist(), strict=True)
    return [right / wanted if wanted else None for right, wanted in pairs]
