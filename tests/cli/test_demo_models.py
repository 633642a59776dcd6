"""The demonstration's models are real: trained, pickled, and as good or bad as the story says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

from gitops_serving.cli import demo_models
from gitops_serving.cli.demo_faulty import BinnedScorer

if TYPE_CHECKING:
    from pathlib import Path

    from gitops_serving.cli.demo_models import Trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return demo_models.train(tmp_path_factory.mktemp("models"))


def loaded(trained: Trained, name: str) -> Any:
    return joblib.load(trained.models[name].directory / "model.joblib")


def asked(trained: Trained) -> list[Any]:
    return [json.loads(line)["instances"] for line in trained.requests.read_text(encoding="utf-8").splitlines()]


def test_the_good_model_is_better_than_the_one_before_it(trained: Trained) -> None:
    before, after = trained.models["scorer-v1"], trained.models["scorer-v2"]

    assert 0.85 < before.accuracy < after.accuracy


@pytest.mark.parametrize("name", ["scorer-v1", "scorer-v2", "ranker-v1"])
def test_the_sound_models_answer_every_request(trained: Trained, name: str) -> None:
    rows = np.array([row for request in asked(trained) for row in request])

    answers = loaded(trained, name).predict(rows)

    assert len(rows) > 500
    assert set(answers.tolist()) == {0, 1}
    assert trained.models[name].failing == 0


def test_the_bad_model_raises_on_the_share_of_requests_that_is_told(trained: Trained) -> None:
    model = BinnedScorer(*_parts(loaded(trained, "ranker-v2")))
    failed = 0
    for request in asked(trained):
        try:
            model.predict(np.array(request))
        except IndexError:
            failed += 1

    assert failed / len(asked(trained)) == pytest.approx(trained.models["ranker-v2"].failing)
    assert 0.3 < trained.models["ranker-v2"].failing < 0.4


def test_a_model_server_can_load_the_bad_model_without_the_rest_of_the_demonstration(trained: Trained) -> None:
    path = trained.models["ranker-v2"].directory / "model.joblib"
    program = (
        "import sys, joblib\n"
        f"model = joblib.load({str(path)!r})\n"
        "assert model.wait_seconds > 0\n"
        "print([n for n in sys.modules if n.startswith(('sklearn', 'kserve', 'gitops_serving.cli.demo_models'))])\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def _parts(model: Any) -> tuple[Any, ...]:
    """Take the bad model apart, to ask it without its waits."""
    return model.feature, model.edges, model.scores, 0.0


def test_training_twice_makes_the_same_requests_and_models(trained: Trained, tmp_path: Path) -> None:
    again = demo_models.train(tmp_path)

    assert again.requests.read_bytes() == trained.requests.read_bytes()
    assert [m.accuracy for m in again.models.values()] == [m.accuracy for m in trained.models.values()]
