from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from rich.console import Console

from gitops_serving.cli import render, show
from gitops_serving.cli.listing import Row
from gitops_serving.cli.look import Sight
from gitops_serving.cli.show import Form, Shown
from gitops_serving.core.errors import Unavailable
from tests.cli import fleet as fleets
from tests.cli.fleet import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.fleet import Fleet


def stepping(fleet: Fleet) -> None:
    """Put a good revision on trial, and give it forty seconds of evidence."""
    fleet.adopt()
    fleet.push("fraud/scorer", "2")
    fleet.pass_time(30)
    assert "0% -> 10%" in fleet.once().out
    fleet.pass_time(50)


def terminal(monkeypatch: pytest.MonkeyPatch, width: int = 80) -> io.StringIO:
    """Make the output a terminal of a known width."""
    screen = io.StringIO()
    monkeypatch.setattr(render, "on_terminal", lambda: True)
    monkeypatch.setattr(
        render,
        "console",
        lambda: Console(file=screen, width=width, force_terminal=True, color_system="standard", markup=False),
    )
    return screen


def test_a_pipe_gets_a_plain_table(fleet: Fleet) -> None:
    stepping(fleet)

    assert fleet.run("get", "rollouts").out == (
        "NAMESPACE  NAME    PHASE     STEP  WEIGHT  VERDICT  MESSAGE\n"
        "fraud      scorer  Stepping  1/2   10/10   pass     Healthy, dwelling.\n"
    )


def test_a_terminal_gets_colours_and_folded_messages(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    stepping(fleet)
    fleet.pass_time(10)
    screen = terminal(monkeypatch, width=90)
    fleet.run("get", "rollouts")

    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("\x1b[1mNAMESPACE")
    assert "\x1b[36mStepping" in lines[1]
    assert "\x1b[32mpass" in lines[1]
    assert len(lines) > 2  # the message is folded, not cut


def test_no_colour_is_written_where_the_user_wants_none(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.adopt()
    monkeypatch.setattr(render, "on_terminal", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")

    said = fleet.run("get", "rollouts").out

    assert "\x1b" not in said
    assert "Stable" in said


def test_an_idle_service_has_no_step_weight_or_verdict(fleet: Fleet) -> None:
    fleet.adopt()

    assert fleet.run("get", "rollouts").out == (
        "NAMESPACE  NAME    PHASE   STEP  WEIGHT  VERDICT  MESSAGE\n"
        "fraud      scorer  Stable  -     -       -        Nothing to roll out.\n"
    )


def test_looking_changes_neither_git_nor_the_cluster(fleet: Fleet) -> None:
    before = fleet.git.head

    said = fleet.run("get", "rollouts").out

    assert "New" in said
    assert fleet.git.head == before
    assert fleet.cluster.applies == 0


def test_a_wrong_file_is_shown_with_its_place_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = fleets.make(tmp_path, monkeypatch, capsys, environment("demo", "fraud/scorer", "search/ranker"))
    fleet.adopt()
    path = "clusters/demo/fraud/scorer.yaml"
    fleet.git.push({path: fleets.manifest("fraud/scorer", "1").replace(b"namespace: fraud", b"namespace: Fraud!")})
    fleet.git.push({path: fleets.manifest("fraud/scorer", "1") + b"    minReplicas: many\n  unknown: [\n"})

    ended = fleet.run("get", "rollouts")

    head, broken, fine = ended.out.splitlines()
    assert ended.code == 1
    assert head.startswith("NAMESPACE")
    assert broken.split()[:3] == ["fraud", "scorer", "Invalid"]
    assert path in broken
    assert fine.split()[:3] == ["search", "ranker", "Stable"]


def test_a_wrong_policy_is_shown_with_file_line_and_remedy(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.git.push({"policies/brisk.yaml": fleets.POLICY.replace(b"setWeight: 50", b"setWeight: 5")})

    ended = fleet.run("get", "rollouts")

    assert ended.code == 1
    row = ended.out.splitlines()[1]
    assert row.split()[:3] == ["fraud", "scorer", "Invalid"]
    assert "policies/brisk.yaml:7: " in row


def test_a_cluster_that_does_not_answer_is_told_of_and_not_guessed(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.cluster.down = "the API server did not answer"

    row = fleet.run("get", "rollouts").out.splitlines()[1]

    assert "10/?" in row


def test_machines_get_json_and_yaml_of_the_same_values(fleet: Fleet) -> None:
    stepping(fleet)

    found = json.loads(fleet.run("get", "rollouts", "-o", "json").out)

    assert found == yaml.safe_load(fleet.run("get", "rollouts", "-o", "yaml").out)
    assert (found["apiVersion"], found["kind"]) == ("gitops-serving.dev/v1alpha1", "RolloutList")
    (item,) = found["items"]
    assert item["weight"] == {"recorded": 10, "live": 10}
    assert item["verdict"]["outcome"] == "pass"
    assert item["nextChange"] == "2026-01-01T12:01:30Z"
    assert [query["name"] for query in item["queries"]][:2] == ["scraped", "knative/errors/total/canary"]


def test_several_environments_have_a_column_and_one_that_cannot_be_reached_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**environment("demo", "fraud/scorer"), **environment("here", "fraud/scorer")}
    path = "clusters/here/cluster.yaml"
    files[path] = files[path].replace(b"kind: kubernetes", b"kind: local")
    fleet = fleets.make(tmp_path, monkeypatch, capsys, files)
    state = tmp_path / "state"

    ended = fleet.run("get", "rollouts", "--local-state", str(state))

    assert ended.code == 3
    assert ended.out == (
        "ENVIRONMENT  NAMESPACE  NAME    PHASE  STEP  WEIGHT  VERDICT  MESSAGE\n"
        "demo         fraud      scorer  New    -     -       -        "
        "There is no object yet; the next tick of the controller creates it, or its log says why not.\n"
    )
    assert ended.err == (
        f"error: the local cluster of environment here is not up in {state}; "
        f"start it with: gitops-serving local up --state {state}\n"
    )


def test_where_nothing_can_be_looked_at_there_is_no_empty_table(fleet: Fleet) -> None:
    path = "clusters/demo/cluster.yaml"
    fleet.git.push({path: (fleet.git.read(path) or b"").replace(b"kind: kubernetes", b"kind: local")})

    ended = fleet.run("get", "rollouts", "--local-state", str(fleet.path / "state"))

    assert (ended.code, ended.out) == (3, "")


def test_a_namespace_and_an_environment_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**environment("a", "fraud/scorer", "search/ranker"), **environment("b", "fraud/scorer")}
    fleet = fleets.make(tmp_path, monkeypatch, capsys, files)

    said = fleet.run("get", "rollouts", "--env", "a", "-n", "search").out

    assert [line.split()[:2] for line in said.splitlines()] == [["NAMESPACE", "NAME"], ["search", "ranker"]]


def test_an_unknown_environment_is_answered_with_those_there_are(fleet: Fleet) -> None:
    ended = fleet.run("get", "rollouts", "--env", "prod")

    assert (ended.code, ended.err) == (
        2,
        "error: there is no environment prod in the repository; there are: demo\n",
    )


def row(name: str, phase: str) -> Row:
    return Row(
        environment="demo", namespace="fraud", name=name, phase=phase, step="-", weight="-", verdict="-", message="m"
    )


@pytest.mark.parametrize(
    ("output", "printed"),
    [
        (
            "table",
            "fraud      b     Pending  -     -       -        m\nfraud      b     Stepping  -     -       -        m\n",
        ),
        ("json", '{"name": "b", "phase": "Pending"}\n{"name": "b", "phase": "Stepping"}\n'),
        ("yaml", "---\nname: b\nphase: Pending\n---\nname: b\nphase: Stepping\n"),
    ],
)
def test_watching_prints_what_changes_and_a_failure_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str, printed: str
) -> None:
    looks: Iterator[list[Row] | Unavailable] = iter(
        [
            [row("a", "Stable"), row("b", "Stable")],
            [row("a", "Stable"), row("b", "Pending")],
            Unavailable("nobody answers"),
            Unavailable("nobody answers"),
            [row("a", "Stable"), row("b", "Stepping")],
        ]
    )
    seen: list[Row] = []

    def again() -> Sight:
        found = next(looks, None)
        if found is None:
            raise KeyboardInterrupt
        if isinstance(found, Unavailable):
            raise found
        seen[:] = found
        return Sight((), ())

    def found(sight: Sight, _: str | None) -> list[Shown]:
        return [] if sight.errors else [Shown(each, {"name": each.name, "phase": each.phase}) for each in seen]

    known = [Shown(row("a", "Stable"), {}), Shown(row("b", "Stable"), {})]
    monkeypatch.setattr(show, "found", found)
    with pytest.raises(KeyboardInterrupt):
        show.follow(again, known, None, form=Form(output=output), pause_seconds=0)

    out, err = capsys.readouterr()
    assert out == printed
    assert err == "error: nobody answers\n"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_machines_may_watch_too(fleet: Fleet, form: str) -> None:
    """They were told to leave out --watch; what they get must not wait in a buffer for more."""
    fleet.adopt()
    command = [sys.executable, "-m", "gitops_serving", "get", "rollouts", "-w", "--every", "0.1", "-o", form]
    process = subprocess.Popen(
        [*command, "--kubeconfig", str(away(fleet.path))], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(1 if form == "json" else 6)]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    told = yaml.safe_load("".join(lines))
    assert (told["kind"], told["namespace"], told["name"]) == ("Rollout", "fraud", "scorer")
    assert lines[0].startswith("{" if form == "json" else "---")


def away(place: Path) -> Path:
    """Write the kubeconfig of a cluster that does not answer."""
    kubeconfig = place / "kubeconfig"
    cluster = {"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [cluster],
                "contexts": [context],
                "users": [{"name": "x", "user": {}}],
            }
        )
    )
    return kubeconfig


@pytest.mark.slow
def test_ctrl_c_ends_a_watch_without_a_traceback(fleet: Fleet) -> None:
    """Run for real on a terminal, on a cluster that does not answer."""
    kubeconfig = away(fleet.path)
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "gitops_serving", "get", "rollouts", "-w", "--every", "0.1"]
    process = subprocess.Popen(
        [*command, "--kubeconfig", str(kubeconfig)], stdout=inside, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        os.close(inside)
        said = b""
        while b"scorer" not in said and select.select([terminal], [], [], 60)[0]:
            said += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)

    assert b"scorer" in said
    assert process.returncode == 130
    assert err == b""
