from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from typer.testing import CliRunner, Result

from gitops_serving.cli.local import app
from tests.local.apiserver import kubectl
from tests.local.objects import service

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kserve" else found(name))
    result = run("up", "--state", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert result.stderr == (
        "the local cluster needs packages that are not installed: kserve; run: pip install 'gitops-serving[local]'\n"
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import gitops_serving.cli.local; "
        "print(sorted({'aiohttp', 'asyncio', 'kserve', 'kubernetes', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_what_is_not_running_is_told_and_left_alone(tmp_path: Path) -> None:
    state = str(tmp_path / "s")
    told = run("status", "--state", state)
    assert told.exit_code == 1
    assert "gitops-serving local up" in told.stdout
    assert json.loads(run("status", "--state", state, "-o", "json").stdout) == {"running": False, "services": []}
    assert run("down", "--state", state).exit_code == 0
    assert not Path(state).exists()


def test_the_place_may_be_named_once_for_all_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`get` looked for the cluster where the variable said, and `local up` started it elsewhere."""
    monkeypatch.setenv("GITOPS_SERVING_LOCAL_STATE", str(tmp_path / "there"))
    for command in (["status"], ["down"]):
        assert f"no local cluster runs in {tmp_path / 'there'}" in run(*command).stdout
    assert str(tmp_path / "there" / "logs") in run("logs", "nobody").stderr
    assert str(tmp_path / "here") in run("status", "--state", str(tmp_path / "here")).stdout
    monkeypatch.setenv("GITOPS_SERVING_LOCAL_STATE", str(tmp_path / ("s" * 100)))
    assert "choose a shorter one" in run("up").stderr


def test_logs_of_something_unknown_say_where_they_would_be(tmp_path: Path) -> None:
    result = run("logs", "nobody", "-n", "fraud", "--state", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert "fraud/nobody" in result.stderr


def test_a_state_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    result = run("up", "--state", str(tmp_path / ("s" * 100)))
    assert result.exit_code == 1
    assert "choose a shorter one" in result.stderr


def test_logs_print_every_line_with_its_revision(tmp_path: Path) -> None:
    for revision in ("scorer-predictor-00001", "scorer-predictor-00002", "scorer-x-predictor-00001"):
        log = tmp_path / "logs" / "fraud" / revision / "0.log"
        log.parent.mkdir(parents=True)
        log.write_text("one\ntwo\n", encoding="utf-8")
    of_service = run("logs", "scorer", "-n", "fraud", "--state", str(tmp_path)).stdout.splitlines()
    assert of_service == [f"scorer-predictor-0000{n}/0 {word}" for n in (1, 2) for word in ("one", "two")]
    of_revision = run("logs", "scorer-predictor-00002", "-n", "fraud", "--state", str(tmp_path)).stdout
    assert of_revision == "scorer-predictor-00002/0 one\nscorer-predictor-00002/0 two\n"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "s"
    run("down", "--state", str(tmp_path / "s"))


@pytest.mark.slow
def test_up_status_logs_and_down_tell_one_story(state: Path, tmp_path: Path) -> None:
    up = run("up", "--state", str(state))
    assert up.exit_code == 0, up.stderr
    assert f"kubectl --kubeconfig {state}/kubeconfig get isvc -A" in up.stdout
    assert run("up", "--state", str(state)).stdout == up.stdout
    model = tmp_path / "model"
    model.mkdir()
    joblib.dump(DummyClassifier(strategy="constant", constant=1).fit(np.zeros((2, 2)), [1, 2]), model / "m.joblib")
    body = service(model={"modelFormat": {"name": "sklearn"}, "storageUri": str(model)})
    kubectl(state / "kubeconfig", "apply", "--server-side", "-f", "-", stdin=json.dumps(body))
    waited = kubectl(state / "kubeconfig", "wait", "--for=condition=Ready", "isvc/scorer", "-n", "fraud")
    assert waited.returncode == 0, waited.stderr
    told = run("status", "--state", str(state), "-o", "json")
    shown = json.loads(told.stdout)
    assert told.exit_code == 0
    assert shown["services"] == [
        {"service": "fraud/scorer", "ready": "True", "traffic": "scorer-predictor-00001=100%", "reason": ""}
    ]
    secret = json.loads((state / "secret").read_text(encoding="utf-8"))
    text = run("status", "--state", str(state)).stdout
    assert "fraud/scorer" in text
    assert secret not in told.stdout + text + up.stdout + up.stderr
    assert run("logs", "scorer", "-n", "fraud", "--state", str(state)).exit_code == 0
    assert "stopped" in run("down", "--state", str(state)).stdout
    assert run("status", "--state", str(state)).exit_code == 1
