"""A scikit-learn model as kserve serves it: the local counterpart of KServe's sklearn runtime.

KServe's own server for this format is not published as a package, so its contract is kept here: exactly one file with
a known suffix, `predict` or, with PREDICT_PROBA, `predict_proba`, and a model's failure is an InferenceError. Loading
a pickle runs the code in it: a repository whose models are served here is trusted like a program.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import joblib
import kserve
from kserve.errors import InferenceError
from kserve.utils.utils import get_predict_input, get_predict_response

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".joblib", ".pkl", ".pickle")


class SklearnModel(kserve.Model):  # type: ignore[misc]  # kserve ships no types
    """One estimator or pipeline, loaded from a directory."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name)
        self._directory = directory
        self._answer: Any = None

    def load(self) -> bool:
        """Load the one model file; raise ValueError if there is not exactly one."""
        estimator = joblib.load(model_file(self._directory))
        wants_probabilities = os.environ.get("PREDICT_PROBA", "").lower() == "true"
        probabilities = getattr(estimator, "predict_proba", None) if wants_probabilities else None
        self._answer = probabilities or estimator.predict
        self.ready = True
        return True

    def predict(self, payload: Any, headers: dict[str, str] | None = None, response_headers: Any = None) -> Any:  # noqa: ARG002  # kserve's signature
        """Answer a V1 or V2 request; whatever the model raises is a 500, as in the cluster."""
        try:
            return get_predict_response(payload, self._answer(get_predict_input(payload)), self.name)
        except Exception as error:
            raise InferenceError(str(error)) from error


def model_file(directory: Path) -> Path:
    """Find the one file that is a model."""
    if not directory.is_dir():
        raise ValueError(f"there is no model directory {directory}; check the storageUri")
    found = sorted(path for path in directory.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(
            f"the model directory {directory} must hold exactly one file ending in {' '.join(SUFFIXES)}, "
            f"found: {names}; keep one model per directory"
        )
    return found[0]
