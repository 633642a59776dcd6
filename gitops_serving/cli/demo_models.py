"""The demonstration's models: four real ones, trained on a data set that comes with scikit-learn.

Both services begin with a logistic regression, the scorer with one over a few columns only.  It then gets gradient
boosting over all of them, which is better and as fast; the ranker gets a table of bins with a bug, which fails for a
share of the very rows that it is asked about.  What they are asked is the data set itself, row by row.

Needs scikit-learn, which the extra ``local`` brings, and is therefore imported late.  Knows neither Git nor clusters.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gitops_serving.cli.demo_faulty import BinnedScorer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SEED = 20261122
FOLDS = 5
COLUMNS = 5  # of thirty, that the first scorer looks at
FEATURE = 0  # "mean radius"; the column that the bad model looks at
EDGES = 8
UNFITTED_SHARE = 0.35  # of the rows lie beyond the last edge of the bad model's table
WAIT_SECONDS = 0.3  # for each answer: slow to see, and yet enough for ten percent of the demonstration's load


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One trained model in a directory of its own."""

    name: str
    directory: Path
    kind: str
    accuracy: float  # on rows that it was not trained on
    failing: float  # the share of all rows that it raises on


@dataclass(frozen=True, slots=True)
class Trained:
    """All models, by name, and the file of requests that they are asked."""

    models: dict[str, Model]
    requests: Path


def train(directory: Path) -> Trained:
    """Train all models into ``DIRECTORY/NAME/model.joblib`` and write the requests, one JSON body per line."""
    data = load_breast_cancer()
    rows, classes = np.asarray(data.data), np.asarray(data.target)
    few = make_column_transformer((StandardScaler(), list(range(COLUMNS))))
    made = {
        "scorer-v1": (f"logistic regression, {COLUMNS} columns", make_pipeline(few, LogisticRegression())),
        "scorer-v2": ("gradient boosting", GradientBoostingClassifier(random_state=SEED)),
        "ranker-v1": ("logistic regression", make_pipeline(StandardScaler(), LogisticRegression())),
        "ranker-v2": ("table of bins, one entry short", _binned(rows, classes)),
    }
    models = {}
    for name, (kind, estimator) in made.items():
        accuracy, failing = _tested(estimator, rows, classes)
        place = directory / name
        place.mkdir(parents=True, exist_ok=True)
        joblib.dump(estimator, place / "model.joblib")
        models[name] = Model(name=name, directory=place, kind=kind, accuracy=accuracy, failing=failing)
    requests = directory / "requests.jsonl"
    requests.write_text("".join(f"{json.dumps({'instances': [row.tolist()]})}\n" for row in rows), encoding="utf-8")
    return Trained(models, requests)


def _binned(rows: NDArray[np.float64], classes: NDArray[np.int64]) -> BinnedScorer:
    """Fit the table of bins on the rows below its last edge only: that is the bug."""
    values = rows[:, FEATURE]
    edges = np.quantile(values, np.linspace(0, 1 - UNFITTED_SHARE, EDGES + 1)[1:])
    bins = np.digitize(values, edges)
    scores = [round(float(classes[bins == number].mean())) for number in range(EDGES)]
    return BinnedScorer(FEATURE, tuple(float(edge) for edge in edges), tuple(scores), WAIT_SECONDS)


def _tested(estimator: Any, rows: NDArray[np.float64], classes: NDArray[np.int64]) -> tuple[float, float]:
    """Fit a model to all rows; give its accuracy, on rows that it was not fitted to, and the share that it fails on."""
    if isinstance(estimator, BinnedScorer):  # made already; an answer that is not given is a wrong one
        bins = np.digitize(rows[:, estimator.feature], estimator.edges)
        answered = bins < len(estimator.scores)
        right = np.asarray(estimator.scores)[bins[answered]] == classes[answered]
        return float(right.sum() / len(rows)), float(1 - answered.mean())
    accuracy = float(cross_val_score(estimator, rows, classes, cv=FOLDS).mean())
    estimator.fit(rows, classes)
    return accuracy, 0.0
