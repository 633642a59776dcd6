"""``backtest``: what the command says of rollouts that are over, with Prometheus in memory."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from gitops_serving import wiring
from tests.cli import fleet as fleets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.fleet import Fleet

STRICT = (
    fleets.POLICY.replace(b"atLeast: 5%", b"atLeast: 0.1%")
    .replace(b"minRequests: 20", b"minRequests: 20\n    falseAbort: 40%")
    .replace(b"name: brisk", b"name: strict")
)
LOOSE = re.sub(
    rb"      - {name: errors.*\n", b"", fleets.POLICY.replace(b"dwell: 60s", b"dwell: 20s")
)  # blind to errors
UNREADABLE = fleets.POLICY + b"      - {name: mean, pack: mlserver/mean-latency, limit: {max: 1}}\n"
SLOW = fleets.POLICY.replace(b"setWeight: 50, dwell: 60s", b"setWeight: 50, dwell: 20m")
SVG = "{http://www.w3.org/2000/svg}"


def rolled_out(fleet: Fleet, model: str, *, bad: float = 0.0, ticks: int = 12) -> None:
    """Push a model, and let the controller do with it what it will."""
    fleet.push("fraud/scorer", model)
    fleet.pass_time(30)
    for _ in range(ticks):
        fleet.once()
        fleet.pass_time(20, bad=bad)


@pytest.fixture
def past(fleet: Fleet) -> Fleet:
    """A fleet with a good rollout, one with some errors that was promoted, and one that was aborted."""
    fleet.adopt()
    fleet.pass_time(300)
    rolled_out(fleet, "2")
    rolled_out(fleet, "3", bad=0.09)
    rolled_out(fleet, "4", bad=0.5, ticks=8)
    return fleet


def file(path: Path, policy: bytes) -> str:
    (path / "policy.yaml").write_bytes(policy)
    return str(path / "policy.yaml")


def test_the_policy_of_then_would_have_done_what_was_done(past: Fleet) -> None:
    """To the second where it aborted, and within a look of then where it promoted."""
    ended = past.run("backtest")
    lines = ended.out.splitlines()

    assert ended.code == 0
    assert lines[0].split() == ["SERVICE", "REVISION", "STARTED", "WAS", "WOULD", "BECAUSE"]
    assert [re.split("  +", line)[1:5] for line in lines[1:4]] == [
        [
            "1380e3f160b2",
            "2026-01-01T12:05:30Z",
            "promoted after 2m",
            "promoted after 2m22s, 22 s later",
        ],
        [
            "3f8501f6ca34",
            "2026-01-01T12:10:00Z",
            "promoted after 2m20s",
            "promoted after 2m22s, 2 s later",
        ],
        [
            "4def64ee50fb",
            "2026-01-01T12:14:30Z",
            "aborted after 1m20s",
            "aborted after 1m10s, 10 s earlier",
        ],
    ]
    assert lines[4:] == ["", "Would have aborted 1 of 3, 10 s earlier; none wrongly."]


def test_no_cluster_is_asked(past: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_: object) -> None:
        raise AssertionError("a backtest looks at Git and Prometheus alone")

    monkeypatch.setattr(wiring, "connect", connect)

    assert past.run("backtest").code == 0


def test_a_stricter_policy_would_have_aborted_what_was_promoted(past: Fleet, tmp_path: Path) -> None:
    ended = past.run("backtest", "--policy", file(tmp_path, STRICT))
    second = ended.out.splitlines()[2]

    assert ended.code == 1
    assert ", wrongly  " in second
    assert ended.out.endswith("; 1 wrongly.\n")


def test_a_slower_policy_has_nothing_to_go_by_after_the_end(past: Fleet, tmp_path: Path) -> None:
    ended = past.run("backtest", "--policy", file(tmp_path, SLOW))

    assert ended.code == 0
    assert "  at 50% when its samples end: healthy, dwelling\n" in ended.out
    assert "; undecided about 2." in ended.out


def test_the_head_s_policy_is_tried_where_none_is_named(past: Fleet) -> None:
    past.git.push({"policies/brisk.yaml": STRICT.replace(b"name: strict", b"name: brisk")}, "Be stricter")

    assert past.run("backtest").code == 1


def test_a_policy_that_cannot_be_read_is_a_negative_answer(past: Fleet) -> None:
    past.git.push({"policies/brisk.yaml": b"kind: RolloutPolicy\n"}, "Break the policy")
    ended = past.run("backtest")

    assert ended.code == 1
    assert "  unknown  policies/brisk.yaml" in ended.out
    assert ended.out.endswith("\n\nThe policy of these 3 rollouts cannot be read.\n")


def test_a_picture_says_that_the_policy_cannot_be_read(past: Fleet, tmp_path: Path) -> None:
    past.git.push({"policies/brisk.yaml": b"kind: RolloutPolicy\n"}, "Break the policy")
    past.run("backtest", "--picture", str(tmp_path / "evidence.svg"))

    assert "The policy of these 3 rollouts cannot be read." in (tmp_path / "evidence.svg").read_text()


def test_a_looser_policy_that_would_have_promoted_what_was_aborted_is_a_negative_answer(
    past: Fleet, tmp_path: Path
) -> None:
    """It stood for 80 seconds at a tenth: a policy of shorter steps would have been through by then."""
    ended = past.run("backtest", "--policy", file(tmp_path, LOOSE), "--picture", str(tmp_path / "evidence.svg"))

    assert ended.code == 1
    assert "; would have promoted 1 that was aborted" in ended.out
    assert ", missed  " in ended.out.splitlines()[3]
    assert "would have promoted, missed" in (tmp_path / "evidence.svg").read_text()


def test_a_metric_that_is_enforced_and_cannot_be_read_is_a_negative_answer(past: Fleet, tmp_path: Path) -> None:
    ended = past.run("backtest", "--policy", file(tmp_path, UNREADABLE))
    dry = past.run("backtest", "--policy", file(tmp_path, UNREADABLE.replace(b"max: 1}", b"max: 1}, enforce: false")))
    told = json.loads(past.run("backtest", "--policy", file(tmp_path, UNREADABLE), "-o", "json").out)

    assert (ended.code, dry.code) == (1, 0)
    assert "; a metric of 3 cannot be read." in ended.out
    assert (told["summary"]["unread"], told["items"][0]["unread"]) == (3, ["mean"])


@pytest.mark.parametrize("name", ["evidence.png", "evidence", "evidence.svg.gz"])
def test_a_picture_that_is_no_svg_is_refused_before_anything_is_done(past: Fleet, tmp_path: Path, name: str) -> None:
    ended = past.run("backtest", "--picture", str(tmp_path / name))

    assert (ended.code, ended.out) == (2, "")
    assert f"cannot draw {tmp_path / name}: a picture is an SVG; name a file that ends with .svg" in ended.err
    assert not (tmp_path / name).exists()


def test_machines_get_values(past: Fleet) -> None:
    told = json.loads(past.run("backtest", "-o", "json").out)

    assert (told["apiVersion"], told["kind"]) == ("gitops-serving.dev/v1alpha1", "Backtest")
    assert told["summary"]["would"] == {"aborted": 1, "promoted": 2, "undecided": 0, "unknown": 0}
    first, _, last = told["items"]
    assert first["clusterRevisions"] == {"canary": "scorer-predictor-00002", "stable": "scorer-predictor-00001"}
    assert [given["weight"] for given in first["was"]["weights"]] == [10, 50, 100]
    assert (last["was"]["end"], last["would"]["end"]) == ("aborted", "aborted")
    assert last["would"]["evidence"]["most"] >= last["would"]["evidence"]["bound"]
    assert last["would"]["laterSeconds"] == (last["would"]["afterSeconds"] - last["was"]["afterSeconds"])


def test_a_picture_names_the_rollouts_their_steps_and_what_became_of_them(past: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "evidence.svg"
    past.run("backtest", "--picture", str(path))
    words = [each.text or "" for each in ET.fromstring(path.read_text()).iter(f"{SVG}text")]

    assert words[0] == "Would have aborted 1 of 3, 10 s earlier; none wrongly."
    assert sum(word.startswith("fraud/scorer ") for word in words) == 3
    assert {
        "10%",
        "50%",
        "20: proof",
        "was promoted",
        "was aborted",
        "would have promoted",
        "would have aborted",
    } <= set(words)
    assert sum(word.startswith("all together") for word in words) == 3


def test_a_picture_of_nothing_is_a_picture_too(fleet: Fleet, tmp_path: Path) -> None:
    fleet.run("backtest", "--picture", str(tmp_path / "evidence.svg"))

    assert "No rollout with a trial was found in the ledger." in (tmp_path / "evidence.svg").read_text()


def test_rollouts_can_be_chosen_by_service_and_time(past: Fleet) -> None:
    newest = past.run("backtest", "--since", "5m").out
    named = past.run("backtest", "--service", "scorer", "--since", "2026-01-01T12:00Z").out
    unknown = past.run("backtest", "--service", "nobody")

    assert newest.count("fraud/scorer") == 1
    assert named.count("fraud/scorer") == 3
    assert (unknown.code, unknown.err) == (
        2,
        "error: there is no service nobody; there are: fraud/scorer\n",
    )


@pytest.mark.parametrize("words", ["yesterday", "2026-01-01T12:00", "10000000d"])
def test_a_since_that_nobody_understands_is_refused(fleet: Fleet, words: str) -> None:
    ended = fleet.run("backtest", "--since", words)

    assert ended.code == 2
    assert "write 30d, 12h, or an instant" in ended.err


def test_what_prometheus_has_forgotten_is_no_verdict(past: Fleet) -> None:
    past.metrics._scrapes.clear()
    past.metrics._history.clear()
    ended = past.run("backtest")

    assert ended.code == 0
    assert ended.out.count("  unknown  Prometheus has nothing of it any more\n") == 3
    assert ended.out.endswith("Prometheus has nothing of these 3 rollouts any more.\n")


def test_what_has_no_series_is_no_verdict_either(past: Fleet) -> None:
    past.metrics._history.clear()

    assert "Prometheus has no series of scorer-predictor-00002 or scorer-predictor-00001 from then" in (
        past.run("backtest").out
    )


def test_a_prometheus_that_does_not_answer_is_said(past: Fleet) -> None:
    past.metrics.blind = "Prometheus at http://127.0.0.1:9 cannot be reached"
    ended = past.run("backtest")

    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "error: Prometheus at http://127.0.0.1:9 cannot be reached\n"


def test_a_picture_that_cannot_be_written_is_said(fleet: Fleet, tmp_path: Path) -> None:
    ended = fleet.run("backtest", "--picture", str(tmp_path / "nowhere" / "evidence.svg"))

    assert ended.code == 2
    assert "cannot write the picture" in ended.err
