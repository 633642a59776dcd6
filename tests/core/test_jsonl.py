"""The judge on samples that somebody else took."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid
from gitops_serving.core.jsonl import Judging
from gitops_serving.core.policy import read_policy

from .situations import quick

POLICY = read_policy(shipped.policy("standard"), "policies/standard.yaml")
LE = [0.05, 0.1, 0.25]
Message = dict[str, Any]


def counters(requests: float, bad: float = 0.0, slow: float = 0.01) -> Message:
    """Counters of a revision of which this share is bad, and this share slower than the first edge."""
    beyond = [requests * slow / (2**row) for row in range(len(LE))]
    return {
        "requests": requests,
        "errors": requests * bad,
        "buckets": [*(requests - each for each in beyond), requests],
    }


def sample(at: float, *, bad: float = 0.0, slow: float = 0.01, answer: bool = True, **fields: Any) -> Message:
    """One look at steady traffic: stable's 18 requests a second since ten minutes before, and the canary's 2."""
    told: Message = {"t": at, "step": 0 if at >= 0 else -1, "weight": 10, "le": LE}
    told["canary"] = counters(2.0 * at, bad, slow) if at >= 0 else None
    told["baseline"] = counters(18.0 * (at + 600), 0.001)
    return {"type": "sample", "answer": answer, "sample": {**told, **fields}}


def run(judging: Judging, until: int, **canary: Any) -> list[Message]:
    """Play a run, with an answer at each look."""
    judging.take({"type": "start", "run": 1})
    answers = [judging.take(sample(float(t), **canary)) for t in range(-600, until + 1, 10)]
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def refused(*messages: Message) -> Invalid:
    *before, last = messages
    judging = Judging(POLICY)
    for message in before:
        judging.take(message)
    with pytest.raises(Invalid) as caught:
        judging.take(last)
    return caught.value


# -- verdicts --------------------------------------------------------------------------------------------------------


def test_a_good_run_passes_and_a_bad_one_fails_for_good() -> None:
    judging = Judging(POLICY)
    good = run(judging, 600)
    assert [good[0]["verdict"], good[-1]["verdict"]] == ["inconclusive", "pass"]
    bad = run(judging, 600, bad=0.4)
    first = next(number for number, answer in enumerate(bad) if answer["verdict"] == "fail")
    assert {answer["verdict"] for answer in bad[first:]} == {"fail"}
    assert {answer["because"] for answer in bad[first:]} == {bad[first]["because"]}
    assert bad[-1]["e"] >= 20


def test_a_slow_run_fails_too() -> None:
    assert run(Judging(POLICY), 600, slow=0.4)[-1]["verdict"] == "fail"


def test_a_start_begins_afresh() -> None:
    judging = Judging(POLICY)
    once = run(judging, 300)
    run(judging, 300, bad=0.4)
    assert run(judging, 300) == once


def test_only_who_asks_for_an_answer_gets_one() -> None:
    judging = Judging(POLICY)
    assert judging.take({"type": "start", "run": 1}) is None
    assert judging.take(sample(0.0, answer=False)) is None
    assert judging.take({"type": "sample", "sample": sample(10.0)["sample"]}) is None
    answer = judging.take(sample(20.0))
    assert answer is not None
    assert set(answer) == {"verdict", "because", "e"}


def test_before_a_canary_there_is_nothing_to_judge() -> None:
    answer = run(Judging(POLICY), -300)[-1]
    assert answer["verdict"] == "inconclusive"


@quick
@given(st.lists(st.integers(0, 59), unique=True), st.sampled_from(["canary", "baseline"]))
def test_lost_scrapes_change_no_totals(lost: list[int], arm: str) -> None:
    whole, holed = Judging(POLICY), Judging(POLICY)
    for t in range(-600, 601, 10):
        whole.take(sample(float(t), bad=0.01))
        told = sample(float(t), bad=0.01)
        if t // 10 in lost and t < 600:
            told["sample"][arm] = None
        holed.take(told)
    assert whole._evidence.cutters["errors"].canary == holed._evidence.cutters["errors"].canary
    assert whole._evidence.cutters["errors"].stable == holed._evidence.cutters["errors"].stable


def test_a_sample_without_buckets_is_a_lost_one_and_no_restart() -> None:
    judging, bare = Judging(POLICY), Judging(POLICY)
    for t in range(-600, 601, 10):
        judging.take(sample(float(t)))
        told = sample(float(t))
        if t == 100:
            told["sample"]["baseline"] = {"requests": 1.0, "errors": 0.0}
        bare.take(told)
    assert bare._evidence.cutters["latency"].seen == judging._evidence.cutters["latency"].seen


def test_edges_at_zero_and_below_are_left_out() -> None:
    def take(le: list[float], buckets: list[float]) -> Judging:
        judging = Judging(POLICY)
        told = {"requests": 10, "errors": 0, "buckets": buckets}
        judging.take(sample(-10.0, le=le, baseline=told))
        return judging

    judging = take([-1, 0, 0.5], [0, 0, 6, 10])
    assert judging._evidence.tracks["latency"].edges == (0.5,)  # type: ignore[union-attr]
    assert judging._evidence == take([0.5], [6, 10])._evidence


# -- what is left out ------------------------------------------------------------------------------------------------


def test_metrics_that_samples_do_not_tell_of_are_left_out() -> None:
    other = replace(POLICY.metrics[0], name="score", pack="mine/score")
    judging = Judging(replace(POLICY, metrics=(*POLICY.metrics, other)))
    assert judging.left_out == ("score",)
    assert run(judging, 600) == run(Judging(POLICY), 600)


@pytest.mark.parametrize("kept", [(), (replace(POLICY.metrics[0], enforced=False),)])
def test_a_policy_of_which_nothing_would_decide_is_refused(kept: tuple[Any, ...]) -> None:
    other = replace(POLICY.metrics[0], name="score", pack="mine/score")
    with pytest.raises(Invalid, match="policy standard enforces nothing about errors or latency"):
        Judging(replace(POLICY, metrics=(*kept, other)))


# -- what is refused -------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Message, str]] = {
    "no type": ({}, "neither a start nor a sample"),
    "another type": ({"type": "stop"}, "neither a start nor a sample"),
    "no sample": ({"type": "sample", "answer": True}, "neither a start nor a sample"),
    "a sample that is a list": ({"type": "sample", "sample": []}, "neither a start nor a sample"),
    "no t": ({"type": "sample", "sample": {}}, "t is no number"),
    "a t that is a text": (sample(0.0, t="0"), "t is no number"),
    "a t that is true": (sample(0.0, t=True), "t is no number"),
    "a t that is NaN": (sample(0.0, t=math.nan), "t is no number"),
    "a t that is endless": (sample(0.0, t=math.inf), "t is no number"),
    "a t beyond any float": (sample(0.0, t=10**400), "t is no number"),
    "a step that is a fraction": (sample(0.0, step=0.5), "step is no whole number from -1 on"),
    "a step that is true": (sample(0.0, step=True), "step is no whole number from -1 on"),
    "a step before the first": (sample(0.0, step=-2), "from -1 on"),
    "no step once there is a canary": ({"type": "sample", "sample": {"t": 0, "canary": None}}, "step is missing"),
    "a step before there is a canary": (sample(-10.0, step=0), "step is 0 at t -10; before 0 stable is alone"),
    "no step of a canary": (sample(10.0, step=-1), "step is -1 at t 10; from 0 on the canary has a step"),
    "a weight that is a text": (sample(0.0, weight="x"), "weight is no number"),
    "a weight below nothing": (sample(0.0, weight=-4), "weight is -4, which is no percentage"),
    "a weight beyond all": (sample(0.0, weight=101), "weight is 101, which is no percentage"),
    "more errors than requests": (
        sample(0.0, canary={"requests": 2, "errors": 2.5}),
        "canary has 2.5 errors of 2 requests",
    ),
    "requests beyond all counting": (
        sample(0.0, baseline={"requests": 1.1e15, "errors": 0}),
        "requests of baseline is 1.1e+15, which is more than can be counted exactly",
    ),
    "a bucket beyond all counting": (
        sample(0.0, canary={"requests": 9, "errors": 0, "buckets": [0, 0, 0, 2e15]}),
        "a bucket of canary is 2e+15",
    ),
    "a revision that is a number": (sample(0.0, canary=7), "canary is neither counters nor null"),
    "requests that are missing": (sample(0.0, canary={"errors": 0}), "requests of canary is no number"),
    "requests that are NaN": (sample(0.0, baseline={"requests": math.nan, "errors": 0}), "requests of baseline is no"),
    "errors that are null": (sample(0.0, canary={"requests": 0, "errors": None}), "errors of canary is no number"),
    "errors below nothing": (sample(0.0, canary={"requests": 0, "errors": -1}), "errors of canary is below 0"),
    "buckets that are a mapping": (
        sample(0.0, canary={"requests": 0, "errors": 0, "buckets": {}}),
        "canary needs one bucket more than there are edges in le, the last being +Inf",
    ),
    "too few buckets": (sample(0.0, canary={"requests": 0, "errors": 0, "buckets": [1, 2, 3]}), "one bucket more"),
    "buckets without le": (sample(0.0, le=[]), "one bucket more than there are edges"),
    "a bucket that is NaN": (
        sample(0.0, canary={"requests": 0, "errors": 0, "buckets": [1, math.nan, 3, 4]}),
        "a bucket of canary is no number",
    ),
    "buckets that fall": (
        sample(0.0, canary={"requests": 0, "errors": 0, "buckets": [1, 3, 2, 4]}),
        "the buckets of canary fall, and each counts what is in the ones before it too",
    ),
    "an le that is a text": (sample(0.0, le="0.1"), "le is no list of edges"),
    "an le without end": (sample(0.0, le=[0.0] * 1001), "le is no list of edges"),
    "edges that do not rise": (sample(0.0, le=[0.1, 0.1, 0.2]), "the edges in le do not rise"),
    "an edge that is endless": (sample(0.0, le=[0.1, 0.2, math.inf]), "an edge is no number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_message_that_cannot_be_meant_is_refused(case: str) -> None:
    message, words = WRONG[case]
    found = refused(message)
    assert words in str(found)
    assert (found.code, bool(found.remedy)) == ("message", True)


@pytest.mark.parametrize("arm", ["canary", "baseline"])
def test_a_revision_that_is_missing_is_refused_and_a_lost_scrape_is_not(arm: str) -> None:
    told = sample(0.0)
    del told["sample"][arm]
    assert f"{arm} is missing; write null for a scrape that was lost" in str(refused(told))
    told["sample"][arm] = None
    Judging(POLICY).take(told)


def test_before_its_first_step_neither_step_nor_canary_need_be_there() -> None:
    told = sample(-10.0)
    del told["sample"]["step"], told["sample"]["canary"], told["sample"]["weight"]
    Judging(POLICY).take(told)


def test_steps_do_not_fall_until_the_next_start() -> None:
    assert "step is 0 after 1, and steps never fall within a run" in str(refused(sample(0.0, step=1), sample(10.0)))
    judging = Judging(POLICY)
    judging.take(sample(0.0, step=1))
    judging.take({"type": "start", "run": 2})
    judging.take(sample(10.0))


def test_requests_and_the_last_bucket_may_differ_and_it_is_said_once_a_run() -> None:
    judging, odd = Judging(POLICY), {"requests": 10, "errors": 0, "buckets": [7, 7, 7, 8]}
    for run in (1, 2):
        judging.take({"type": "start", "run": run})
        judging.take(sample(0.0, canary={**odd, "requests": 8 + 1e-9}))
        assert judging.doubt == ""
        judging.take(sample(10.0, canary=odd))
        assert judging.doubt.startswith("canary has 10 requests, and 8 in the bucket +Inf")
        judging.take(sample(20.0, canary=odd))
        assert judging.doubt == ""


@pytest.mark.parametrize(("before", "after"), [(10.0, 10.0), (10.0, 9.0), (0.0, -5.0)])
def test_time_does_not_go_back(before: float, after: float) -> None:
    assert f"t is {after:g}, which is not after {before:g}" in str(refused(sample(before), sample(after)))


def test_other_buckets_than_before_are_refused_until_the_next_start() -> None:
    other = sample(10.0, le=[0.1, 0.2, 0.3])
    assert "le is not what it was before in this run" in str(refused(sample(0.0), other))
    judging = Judging(POLICY)
    judging.take(sample(0.0))
    judging.take({"type": "start", "run": 2})
    judging.take(other)


@quick
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "sample", "t", "step", "le", "canary", "baseline", "requests", "errors", "buckets"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_comes_is_taken_or_refused(value: Any) -> None:
    judging = Judging(POLICY)
    for message in (value if isinstance(value, dict) else {}, {"type": "sample", "sample": value, "answer": True}):
        try:
            judging.take(message)
        except Invalid:
            continue
