from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gitops_serving.local import template
from gitops_serving.local.reconcile import Revision
from gitops_serving.local.replica import SourceError
from gitops_serving.local.revisions import launch, model_directory, new, replicas
from tests.local.objects import NOW, Json, service


def revision(**predictor: Any) -> Json:
    body = service(**predictor)
    body["metadata"]["uid"] = "u"
    return new(body, Revision("scorer-predictor-00001", 1), "scorer-predictor", template.template(body), NOW)


def test_a_replica_runs_the_runtime_of_its_format_with_the_services_name_as_model(tmp_path: Path) -> None:
    env = [{"name": "PREDICT_PROBA", "value": "true"}]
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": str(tmp_path), "env": env}
    start = launch(revision(model=model), 0, run_dir=tmp_path, log_dir=tmp_path)
    command = start.command(start.locate(), Path("/run/a.sock"))
    assert list(command[1:]) == [
        *("-m", "gitops_serving.local.runtimes.sklearn"),
        *("--model_name", "scorer", "--model_dir", str(tmp_path), "--uds", "/run/a.sock"),
    ]
    assert start.env["PREDICT_PROBA"] == "true"
    assert start.model == "scorer"


def test_nothing_of_the_supervisors_environment_reaches_a_model_but_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_CREDENTIAL", "hush")
    env = launch(revision(), 0, run_dir=tmp_path, log_dir=tmp_path).env
    assert "A_CREDENTIAL" not in env
    assert "PATH" in env


def test_one_replica_runs_even_where_none_is_asked_for() -> None:
    assert replicas(revision(minReplicas=0)) == 1
    assert replicas(revision()) == 1
    assert replicas(revision(minReplicas=3)) == 3


@pytest.mark.parametrize("address", ["file://{}", "{}"])
def test_a_model_is_found_by_file_address_or_by_path(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "a model"
    folder.mkdir()
    place = str(folder).replace(" ", "%20") if address.startswith("file") else str(folder)
    assert model_directory(address.format(place)) == folder


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "no storageUri"),
        ("s3://bucket/model", "not on this machine"),
        ("https://example.com/model", "not on this machine"),
        ("file://host/model", "not on this machine"),
        ("models/v1", "relative path"),
        ("file:///nowhere/at/all", "there is no /nowhere/at/all"),
        ("file:///etc/passwd", "is a file"),
    ],
)
def test_a_model_that_cannot_be_found_is_told_with_what_to_do(uri: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        model_directory(uri)
