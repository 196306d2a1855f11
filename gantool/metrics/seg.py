"""The FCN score: what a segmentation network sees in pictures made from label maps (pix2pix, CVPR 2017, arXiv:1611.07004).

Three shares out of one matrix of counts, summed over all pictures, as the published evaluation of Cityscapes has them
(Long et al., CVPR 2015, arXiv:1411.4038, section 5, for the formulas). Written here, since libraries leave classes that do
not occur out of the means and these scores do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IGNORED = 255  # what label maps say where nothing counts
_TINY = 1e-12  # in all denominators: a class that never occurs scores 0

Counts = NDArray[np.int64]
Scores = NDArray[np.float64]


class Confusion:
    """Counts of what was said where something else was true.

    Attributes:
        matrix: (classes, classes) int64; row: the true class, column: the one that was said.
    """

    def __init__(self, classes: int) -> None:
        self.matrix: Counts = np.zeros((classes, classes), np.int64)

    def add(self, said: NDArray[np.integer], true: NDArray[np.integer], ignored: Sequence[int] = ()) -> None:
        """Count the places of a picture.

        Args:
            said: classes, any shape.
            true: classes, the same shape, or values of `ignored` where nothing is counted.
            ignored: values that are no classes.

        Raises:
            ValueError: a value is none of the classes.
        """
        classes = len(self.matrix)
        counted = ~np.isin(true, ignored)
        rows, columns = true[counted].astype(np.int64), said[counted].astype(np.int64)
        for values in (rows, columns):
            if values.size and not (values.min() >= 0 and values.max() < classes):
                raise ValueError(f"classes are 0 to {classes - 1}, not {values.min()} to {values.max()}")
        self.matrix += np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)

    @property
    def right(self) -> Counts:
        """How often each class was said where it was true."""
        return self.matrix.diagonal()

    @property
    def true(self) -> Counts:
        """How often each class was true."""
        counts: Counts = self.matrix.sum(1)
        return counts

    def pixel_accuracy(self) -> float:
        """Return the share of all places where the class is right."""
        return float(self.right.sum() / (self.matrix.sum() + _TINY))

    def class_accuracies(self) -> Scores:
        """Return, by class, the share of its places where it was said."""
        shares: Scores = self.right / (self.true + _TINY)
        return shares

    def class_accuracy(self) -> float:
        """Return the mean of the classes' shares; those that never occur count as 0."""
        return float(self.class_accuracies().mean())

    def ious(self) -> Scores:
        """Return, by class, places where it was true and said, over places where it was true or said."""
        shares: Scores = self.right / (self.true + self.matrix.sum(0) - self.right + _TINY)
        return shares

    def iou(self) -> float:
        """Return the mean intersection over union; classes that never occur count as 0."""
        return float(self.ious().mean())
