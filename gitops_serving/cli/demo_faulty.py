"""The demonstration's bad model: a scorer with an ordinary bug, to be pickled and served like any other.

It looks its answer up in a table of bins, and the table is one entry short: rows beyond the last edge raise.
It also waits for each answer, as for a feature store that is far away.  In the tests of whoever wrote it, on a few
ordinary rows, it did well.

A module of its own because the model server imports it when it loads the pickle; it needs NumPy and nothing of ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BinnedScorer:
    """Score a row by the bin that one of its features falls into."""

    feature: int
    edges: tuple[float, ...]  # of the bins, rising
    scores: tuple[int, ...]  # of each bin below an edge; there is none above the last
    wait_seconds: float

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        """Look up one score per row; raises IndexError for a row beyond the last edge."""
        time.sleep(self.wait_seconds)
        bins = np.digitize(np.asarray(rows)[:, self.feature], self.edges)
        return np.asarray(self.scores)[bins]
