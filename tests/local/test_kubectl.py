"""The real kubectl against the API of the local cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gitops_serving.local.kinds import INFERENCE_SERVICE
from tests.local.apiserver import Server, running_api
from tests.local.objects import Json, labelled, service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_api(tmp_path / "s") as running:
        yield running


def apply(server: Server, body: Json, *options: str) -> str:
    done = server.kubectl("apply", "--server-side", "-f", "-", *options, stdin=json.dumps(body))
    return done.stdout + done.stderr


def test_apply_then_get_in_every_form(server: Server) -> None:
    assert apply(server, labelled(service(), team="risk")) == (
        "inferenceservice.serving.kserve.io/scorer serverside-applied\n"
    )
    header, line = server.kubectl("get", "isvc", "-A").stdout.splitlines()
    shown = "NAMESPACE NAME URL READY PREV LATEST PREVROLLEDOUTREVISION LATESTREADYREVISION AGE"
    assert " ".join(header.split()) == shown
    assert line.split()[:2] == ["fraud", "scorer"]
    assert server.kubectl("get", "isvc", "-n", "fraud", "-o", "name").stdout == (
        "inferenceservice.serving.kserve.io/scorer\n"
    )
    live = json.loads(server.kubectl("get", "isvc", "scorer", "-n", "fraud", "-o", "json").stdout)
    assert live["spec"] == service()["spec"]
    assert "storageUri: file:///models/v1" in server.kubectl("get", "isvc", "-A", "-o", "yaml").stdout
    assert "NAME" in server.kubectl("get", "isvc", "-n", "fraud", "-o", "wide", "-l", "team=risk").stdout
    assert server.kubectl("get", "ns", "-o", "name").stdout == "namespace/fraud\n"


def test_describe_shows_the_object(server: Server) -> None:
    apply(server, service())
    told = server.kubectl("describe", "isvc", "scorer", "-n", "fraud")
    assert "Storage Uri:  file:///models/v1" in told.stdout
    assert told.stderr == ""


def test_a_second_manager_meets_the_conflict_and_may_force_it(server: Server) -> None:
    apply(server, service())
    changed = service(minReplicas=2)
    told = apply(server, changed, "--field-manager=other")
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec' in told
    assert "serverside-applied" in apply(server, changed, "--field-manager=other", "--force-conflicts")


def test_a_dry_run_changes_nothing(server: Server) -> None:
    assert "serverside-applied (server dry run)" in apply(server, service(), "--dry-run=server")
    assert server.call(server.store.every, INFERENCE_SERVICE) == []


def test_client_side_apply_patch_label_and_delete_work_too(server: Server) -> None:
    text = json.dumps(service())
    assert "created" in server.kubectl("apply", "-f", "-", stdin=text).stdout
    assert "unchanged" in server.kubectl("apply", "-f", "-", stdin=text).stdout
    weight = '{"spec": {"predictor": {"canaryTrafficPercent": 10}}}'
    patched = server.kubectl("patch", "isvc", "scorer", "-n", "fraud", "--type=merge", "-p", weight)
    assert "patched" in patched.stdout
    assert "labeled" in server.kubectl("label", "isvc", "scorer", "-n", "fraud", "a=b").stdout
    live = server.call(server.store.every, INFERENCE_SERVICE)[0]
    assert (live["spec"]["predictor"]["canaryTrafficPercent"], live["metadata"]["labels"]) == (10, {"a": "b"})
    assert "deleted" in server.kubectl("delete", "isvc", "scorer", "-n", "fraud").stdout
    assert "No resources found" in server.kubectl("get", "isvc", "-A").stderr


def test_watch_prints_a_line_per_change(server: Server) -> None:
    apply(server, service())
    done = server.kubectl("get", "isvc", "-n", "fraud", "-w", "--request-timeout=2s")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "scorer"]


def test_complaints_arrive_one_by_one(server: Server) -> None:
    told = apply(server, service("Scorer", minReplicas=-1))
    assert "* metadata.name: " in told
    assert "* spec.predictor.minReplicas: " in told


def test_an_unknown_top_level_field_is_refused_as_kubectl_asks(server: Server) -> None:
    assert 'unknown field "extra"' in apply(server, {**service(), "extra": 1})


def test_discovery_lists_what_is_served(server: Server) -> None:
    lines = server.kubectl("api-resources", "--no-headers").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["events", "ev"],
        ["namespaces", "ns"],
        ["revisions", "rev"],
        ["inferenceservices", "isvc"],
    ]
    assert "Server Version: v1.32.0+gitops-serving-local" in server.kubectl("version").stdout
