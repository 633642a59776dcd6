from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.fleet import POLICY
from tests.cli.test_get import stepping, terminal

if TYPE_CHECKING:
    import pytest

    from tests.cli.fleet import Fleet


def heads(text: str) -> list[str]:
    """Keep the lines of the first two levels."""
    return [line for line in text.splitlines() if not line.startswith("    ")]


def test_a_dwelling_canary_is_explained_with_every_query_and_limit(fleet: Fleet) -> None:
    stepping(fleet)
    commit = fleet.git.head[:12]
    ended = fleet.run("explain", "scorer")

    assert ended.code == 0
    assert (
        ended.out
        == f"""\
fraud/scorer in demo: Stepping
  now: Healthy, dwelling.
  next: the weight rises to 50% at 2026-01-01T12:01:30Z, 10 s from now, if the verdict is pass then
  stable 6274500b7907 (scorer-predictor-00001)
  canary 1380e3f160b2: weight 10% by the record, 10% live, step 1/2, since 2026-01-01T12:00:30Z
  traffic: scorer-predictor-00002 10%, scorer-predictor-00001 90%
  requests judged at this weight: canary 20, stable 180
  verdict pass
    pass: errors 0% of 20 requests, stable 0% of 180 (up to 5.00% is allowed); evidence 0.57
    pass: latency p99 50 ms of 20 requests, stable 50 ms of 180 (up to 174 ms is allowed); evidence 0.87
    evidence altogether 0.62; 20 ends a rollout
  queries, up to 2026-01-01T12:01:09Z
    scraped gave 1 series, 14 samples
      max(count_over_time(up[90s])) (from 12:00:30 every 3 s)
    knative/errors/total/canary gave 2 series, 20 samples: +40
      revision_request_count{{namespace_name="fraud",revision_name="scorer-predictor-00002"}} (from 12:00:30 every 3 s)
    knative/errors/total/stable gave 2 series, 28 samples: +540
      revision_request_count{{namespace_name="fraud",revision_name="scorer-predictor-00001"}} (from 12:00:30 every 3 s)
    knative/errors/bad/canary gave 1 series, 10 samples: +0
      revision_request_count{{namespace_name="fraud",revision_name="scorer-predictor-00002",response_code_class="5xx"}}\
 (from 12:00:30 every 3 s)
    knative/errors/bad/stable gave 1 series, 14 samples: +0
      revision_request_count{{namespace_name="fraud",revision_name="scorer-predictor-00001",response_code_class="5xx"}}\
 (from 12:00:30 every 3 s)
    knative/latency/buckets/canary gave 4 series, 40 samples: +40
      revision_request_latencies_bucket{{namespace_name="fraud",revision_name="scorer-predictor-00002"}}\
 (from 12:00:30 every 3 s)
    knative/latency/buckets/stable gave 4 series, 56 samples: +540
      revision_request_latencies_bucket{{namespace_name="fraud",revision_name="scorer-predictor-00001"}}\
 (from 12:00:30 every 3 s)
  seen at 2026-01-01T12:01:20Z, at commit {commit}
"""
    )


def test_what_the_cluster_has_not_got_yet_is_told_and_where_a_refusal_would_be(fleet: Fleet) -> None:
    """A first apply that was refused looked like a revision that is starting, for ever."""
    fleet.cluster.refuses = lambda _: "denied by webhook"
    fleet.once()
    ended = fleet.run("explain", "scorer")

    assert heads(ended.out)[:4] == [
        "fraud/scorer in demo: New",
        "  now: There is no object yet; the next tick of the controller creates it, or its log says why not.",
        "  next: it is adopted when the cluster runs what Git holds, and is at rest",
        "  owed: the next tick of the controller gives the cluster what Git holds; its log says what is refused",
    ]


def test_a_terminal_gets_a_tree(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.adopt()
    screen = terminal(monkeypatch)
    fleet.run("explain", "scorer")

    lines = screen.getvalue().splitlines()
    assert lines[0] == "\x1b[1mfraud/scorer in demo: Stable\x1b[0m"
    assert "├── " in lines[1]
    assert "Nothing to roll out." in lines[1]
    assert "└── " in lines[-1]


def test_an_idle_service_waits_for_a_push(fleet: Fleet) -> None:
    fleet.adopt()

    assert heads(fleet.run("explain", "fraud/scorer").out)[:3] == [
        "fraud/scorer in demo: Stable",
        "  now: Nothing to roll out.",
        "  next: nothing until a new revision is pushed",
    ]


def test_the_next_tick_is_named_where_it_does_something(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.pass_time(10)

    assert "  next: the next tick of the controller sets weight 50%" in heads(fleet.run("explain", "scorer").out)


def test_a_service_without_evidence_says_how_long_it_may_stay_so(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.push("fraud/scorer", "2")
    fleet.pass_time(30)
    fleet.once()
    for _ in range(9):
        fleet.clock.advance(10)
        fleet.metrics.scrape(fleet.clock())

    lines = heads(fleet.run("explain", "scorer").out)

    assert (
        "  now: Errors: 0 of 20 requests needed of the canary at this weight; "
        "latency: 0 of 20 requests needed of the canary at this weight." in lines
    )
    assert "  next: the weight rises to 50% as soon as the verdict is pass; " in "\n".join(lines)
    assert "of the 360 s until an abort" in "\n".join(lines)


def unserved(fleet: Fleet, policy: str) -> None:
    """Put a revision on trial under a policy, let nobody ask it anything, and let time pass under a Prometheus."""
    fleet.git.push({"policies/brisk.yaml": POLICY.replace(b"  patience: 6m\n", policy.encode())})
    fleet.adopt()
    fleet.push("fraud/scorer", "2")
    fleet.pass_time(30)
    fleet.once()
    for _ in range(18):
        fleet.clock.advance(10)
        fleet.metrics.scrape(fleet.clock())


def test_silence_that_holds_is_said_never_to_abort(fleet: Fleet) -> None:
    unserved(fleet, "  patience: 60s\n  onSilence: hold\n  onTimeout: hold\n")

    lines = heads(fleet.run("explain", "scorer").out)

    assert lines[1] == (
        "  now: No evidence in time (patience is 1m); the policy holds until there is, or somebody promotes or aborts."
    )
    assert lines[2].endswith("as soon as the verdict is pass; under this policy silence never aborts")


def test_the_end_of_a_rollout_s_time_is_named_when_it_comes_first(fleet: Fleet) -> None:
    unserved(fleet, "  patience: 6m\n  maxDuration: 5m\n")

    assert heads(fleet.run("explain", "scorer").out)[2] == (
        "  next: the weight rises to 50% as soon as the verdict is pass; "
        "it is aborted at 2026-01-01T12:05:30Z at the latest: a rollout is given 5m"
    )


def test_a_rollout_that_is_held_by_time_waits_for_a_person(fleet: Fleet) -> None:
    unserved(fleet, "  patience: 6m\n  maxDuration: 150s\n  onTimeout: hold\n")

    lines = heads(fleet.run("explain", "scorer").out)
    said = "The rollout took longer than its policy allows (2m30s); the policy holds until somebody promotes or aborts."

    assert lines[1] == f"  now: {said}"
    assert lines[2] == "  next: nothing until somebody promotes or aborts; a failing verdict still aborts"


def test_a_blind_controller_says_that_it_never_aborts_for_it(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.clock.advance(60)
    fleet.metrics.blind = "Prometheus did not answer"

    lines = heads(fleet.run("explain", "scorer").out)

    assert lines[1] == "  now: Prometheus did not answer."
    assert lines[2].endswith("when Prometheus can be read again and the verdict is pass; blindness never aborts")


def test_a_hold_is_shown_with_its_words(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.run("hold", "scorer", "--author", "Ada <ada@example.invalid>", "--reason", "tea", "--until", "2h")

    lines = heads(fleet.run("explain", "scorer").out)

    assert lines[1] == "  now: Held."
    assert "  held by Ada <ada@example.invalid> since 2026-01-01T12:01:20Z until 2026-01-01T14:01:20Z: tea" in lines


def test_machines_get_the_same_as_values(fleet: Fleet) -> None:
    stepping(fleet)
    told = json.loads(fleet.run("explain", "scorer", "-o", "json").out)

    assert (told["kind"], told["decision"], told["nextChange"]) == ("Rollout", "wait", "2026-01-01T12:01:30Z")
    assert told["verdict"]["requests"] == {"canary": 20.0, "stable": 180.0}
    assert [m["limit"] for m in told["verdict"]["measurements"]] == [0.05, 0.1744]


def test_every_complaint_about_a_file_is_listed(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.git.push({"policies/brisk.yaml": b"apiVersion: gitops-serving.dev/v1alpha1\nkind: RolloutPolicy\n"})

    ended = fleet.run("explain", "scorer")

    assert ended.code == 1
    assert "  invalid: policies/brisk.yaml:1: " in ended.out
    assert "fraud/scorer in demo: Invalid" in ended.out
