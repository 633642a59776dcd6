"""What a metric of a policy may say, and what it means."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.policy import read_policy
from gitops_serving.core.template import OF_COUNTERS as OF_MATCHERS

from .situations import quick

if TYPE_CHECKING:
    from gitops_serving.core.model import Policy

PATH = "policies/standard.yaml"
GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
POLICY = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {{name: standard}}
spec:
  steps:
    - {{setWeight: 10, dwell: 5m}}
  onSilence: {on_silence}
  analysis:
    metrics:
      - {{name: it, {rest}}}
{more}"""
BESIDE = "      - {name: beside, pack: errors, limit: {max: 1%}}\n"  # one that decides, where the other does not
QUERY = 'scored{revision="{{ revision }}"}'
OWN = f"query: '{QUERY}'"


def read(rest: str, more: str = "", on_silence: str = "abort") -> Policy:
    return read_policy(POLICY.format(rest=rest, more=more, on_silence=on_silence).encode(), PATH)


def metric(rest: str, more: str = "", on_silence: str = "abort") -> Metric:
    return read(rest, more, on_silence).metrics[0]


def refused(rest: str, more: str = "") -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(rest, more)
    return caught.value


def own(kind: Kind, unit: str = "", **parts: str) -> tuple[Source, ...]:
    return (Source(kind=kind, parts=parts, unit=unit),)


PACKED = {
    "pack: errors, limit: {max: 1%}": Metric(name="it", pack="errors", maximum=0.01, unit="ratio"),
    "pack: istio/errors, limit: {max: 0.01}": Metric(name="it", pack="istio/errors", maximum=0.01, unit="ratio"),
    "pack: latency, compare: {tolerance: 10%, atLeast: 5ms}": Metric(
        name="it", pack="latency", tolerance=0.1, at_least=0.005, unit="seconds"
    ),
    "pack: vllm/time-to-first-token, limit: {max: 250ms}": Metric(
        name="it", pack="vllm/time-to-first-token", maximum=0.25, unit="seconds"
    ),
    "pack: queue-length, compare: {tolerance: 50%, atLeast: 3}": Metric(
        name="it", pack="queue-length", tolerance=0.5, at_least=3.0
    ),
    "pack: mine/accepted, compare: {tolerance: 2%, direction: higherIsBetter}, limit: {min: 80%}": Metric(
        name="it", pack="mine/accepted", tolerance=0.02, minimum=0.8, unit="ratio", higher_is_better=True
    ),
    "pack: errors, limit: {max: 1%}, delay: 5m": Metric(
        name="it", pack="errors", maximum=0.01, unit="ratio", delay=timedelta(minutes=5)
    ),
}


@pytest.mark.parametrize("rest", PACKED)
def test_a_signal_of_a_pack_is_read_in_the_unit_that_is_written(rest: str) -> None:
    assert metric(rest) == PACKED[rest]


GAUGE = own(Kind.GAUGE, value=QUERY)
RATIO = own(Kind.GAUGE, "ratio", value=QUERY)
TIME = own(Kind.HISTOGRAM, "seconds", buckets=QUERY)
COUNTED = own(Kind.COUNTER, "ratio", total=QUERY, bad=QUERY)
OWNED = {
    f"{OWN}, limit: {{max: 7}}": Metric(name="it", sources=GAUGE, maximum=7.0),
    f"{OWN}, limit: {{max: -0.5}}": Metric(name="it", sources=GAUGE, maximum=-0.5),
    f"{OWN}, limit: {{min: 7}}": Metric(name="it", sources=GAUGE, minimum=7.0, higher_is_better=True),
    f"{OWN}, kind: gauge, compare: {{tolerance: 2%}}": Metric(name="it", sources=GAUGE, tolerance=0.02),
    f"{OWN}, unit: none, limit: {{max: 7}}": Metric(name="it", sources=GAUGE, maximum=7.0),
    f"{OWN}, unit: ratio, limit: {{max: 0.5}}": Metric(name="it", sources=RATIO, maximum=0.5, unit="ratio"),
    f"{OWN}, limit: {{max: 120%}}": Metric(name="it", sources=RATIO, maximum=1.2, unit="ratio"),
    f"{OWN}, unit: ratio, compare: {{tolerance: 5%}}": Metric(name="it", sources=RATIO, tolerance=0.05),
    f"{OWN}, kind: histogram, limit: {{max: 250ms}}": Metric(name="it", sources=TIME, maximum=0.25, unit="seconds"),
    f"{OWN}, kind: histogram, unit: seconds, limit: {{max: 2}}": Metric(
        name="it", sources=TIME, maximum=2.0, unit="seconds"
    ),
    f"{OWN}, kind: histogram, limit: {{max: 3h}}": Metric(name="it", sources=TIME, maximum=10800.0, unit="seconds"),
    f"{OWN}, kind: histogram, limit: {{max: 512}}": Metric(
        name="it", sources=own(Kind.HISTOGRAM, buckets=QUERY), maximum=512.0
    ),
    f"{OWN}, kind: counter, total: '{QUERY}', limit: {{max: 1%}}": Metric(
        name="it", sources=COUNTED, maximum=0.01, unit="ratio"
    ),
    f"{OWN}, kind: counter, total: '{QUERY}', compare: {{tolerance: 1%, atLeast: 0.001}}": Metric(
        name="it", sources=COUNTED, tolerance=0.01, at_least=0.001, unit="ratio"
    ),
}


@pytest.mark.parametrize("rest", OWNED)
def test_a_query_of_the_policy_s_own_says_its_kind(rest: str) -> None:
    assert metric(rest) == OWNED[rest]


def test_the_metric_in_the_guide_can_be_read() -> None:
    text = GUIDE.read_text()
    shown = text[text.index("      - name: accepted-share\n") :].partition("```")[0]
    found = read("pack: errors, limit: {max: 1%}", shown).metrics[1]
    shares = 'sum(rate({}{{revision_name="{{{{ revision }}}}"}}[{{{{ window }}}}]))'
    query = f"{shares.format('loan_accepted_total')} / {shares.format('loan_scored_total')}"
    assert found == Metric(
        name="accepted-share",
        sources=own(Kind.GAUGE, value=query),
        tolerance=0.02,
        higher_is_better=True,
        delay=timedelta(minutes=15),
        enforced=False,
    )


@pytest.mark.parametrize(("said", "enforced"), [("", False), (", enforce: false", False), (", enforce: true", True)])
def test_a_drift_only_warns_unless_it_is_enforced(said: str, *, enforced: bool) -> None:
    drifting = own(Kind.DRIFT, buckets=QUERY)
    found = metric(f"{OWN}, kind: drift{said}", BESIDE)
    assert found == Metric(name="it", sources=drifting, enforced=enforced)


@pytest.mark.parametrize(
    "rest",
    [
        "pack: errors, limit: {max: 1%}, enforce: false",
        f"{OWN}, kind: drift",
        f"{OWN}, kind: drift, enforce: true",
    ],
)
def test_nothing_passes_without_a_metric_that_decides(rest: str) -> None:
    found = refused(rest)
    assert (found.code, found.line, found.others) == ("dry", 9, ())
    assert found.message == "no metric is enforced against a comparison or a limit, so anything would pass"
    assert read(rest, BESIDE).metrics[1].enforced


def test_a_metric_that_is_never_waited_for_may_be_as_late_as_it_likes() -> None:
    late = "pack: errors, limit: {max: 1%}, delay: 30m"
    assert refused(late).code == "conflict"
    assert metric(f"{late}, enforce: false", BESIDE).delay == timedelta(minutes=30)
    assert metric(late, on_silence="hold").delay == timedelta(minutes=30)


def test_late_labels_count_for_how_long_a_rollout_takes() -> None:
    late = "pack: errors, limit: {max: 1%}, delay: 7h"
    with pytest.raises(Invalid, match="the steps take 7h, and maxDuration is 6h"):
        read(late, on_silence="hold")


LIMIT = "limit: {max: 1}"
RULES = {
    LIMIT: ("missing", "pack is missing; add pack: errors, pack: latency, or a query of your own"),
    f"pack: '', {LIMIT}": ("range", "pack cannot be ''; write NAME/SIGNAL, or SIGNAL for whichever pack is there"),
    "pack: [a], limit: {max: 1%}": ("type", "pack is a list, not a text; write NAME/SIGNAL"),
    f"pack: a/b/c, {LIMIT}": ("range", "pack cannot be 'a/b/c'; write NAME/SIGNAL"),
    f"pack: A/b, {LIMIT}": ("range", "pack cannot be 'A/b'"),
    f"pack: /errors, {LIMIT}": ("range", "pack cannot be '/errors'"),
    f"pack: errors, {OWN}, {LIMIT}": ("conflict", "metrics[0] has both a pack and a query; keep one of them"),
    "pack: errors, kind: counter, limit: {max: 1%}": ("conflict", "kind goes with a query, and a pack knows its own"),
    "pack: errors, unit: ratio, limit: {max: 1%}": ("conflict", "unit goes with a query"),
    f"pack: errors, total: '{QUERY}', limit: {{max: 1%}}": ("conflict", "total goes with a query"),
    "pack: errors": ("missing", "is held against nothing; add compare: {tolerance: 20%} or limit: {max: ...}"),
    "pack: x, limit: {}": ("missing", "limit.max is missing; add the highest value that may pass"),
    "pack: x, compare: {}": ("missing", "compare.tolerance is missing; add one, such as tolerance: 20%"),
    "pack: x, compare: {tolerance: 2%, direction: up}": ("range", "'up'; write lowerIsBetter or higherIsBetter"),
    "pack: x, compare: {tolerance: 2%, direction: higher}": ("range", "'higher'; write higherIsBetter"),
    "pack: x, compare: {tolerance: 120%, direction: higherIsBetter}": ("range", "choose from 0% to 100%"),
    "pack: x, compare: {tolerance: 2%, direction: higherIsBetter}, limit: {}": ("missing", "limit.min is missing"),
    "pack: x, compare: {tolerance: 2%, direction: higherIsBetter}, limit: {max: 3}": (
        "conflict",
        "limit.max is for what should be low, and here more is better; write min",
    ),
    "pack: x, compare: {tolerance: 2%}, limit: {min: 3}": (
        "conflict",
        "limit.min is for gauges of which more is better; add direction: higherIsBetter to compare, or write max",
    ),
    "pack: x, limit: {min: 1, max: 2}": ("conflict", "limit.max is for what should be low"),
    "pack: errors, limit: {min: 3%}": ("conflict", "limit.min is for gauges of which more is better; write max"),
    "pack: latency, compare: {tolerance: 2%, direction: lowerIsBetter}": (
        "conflict",
        "direction is for gauges; remove it; of anything else less is better",
    ),
    f"{OWN}, kind: histogram, compare: {{tolerance: 2%, direction: higherIsBetter}}": ("conflict", "is for gauges"),
    f"{OWN}, kind: gage, {LIMIT}": ("range", "kind cannot be 'gage'; write gauge"),
    f"{OWN}, kind: summary, {LIMIT}": ("range", "write gauge, histogram, counter or drift"),
    f"{OWN}, kind: , {LIMIT}": ("empty", "kind has no value"),
    f"{OWN}, total: '{QUERY}', {LIMIT}": ("conflict", "total goes with kind: counter; write that, or remove it"),
    f"{OWN}, kind: counter, limit: {{max: 1%}}": ("missing", "total is missing; add the query that counts all events"),
    f"{OWN}, kind: counter, total: '{QUERY}', limit: {{max: 120%}}": ("range", "choose from 0% to 100%"),
    f"{OWN}, kind: counter, total: '{QUERY}', unit: ratio, limit: {{max: 1%}}": (
        "conflict",
        "unit is for gauges and histograms; remove it",
    ),
    f"{OWN}, kind: drift, enforce: true, limit: {{max: 1}}": ("conflict", "limit says nothing of a drift"),
    f"{OWN}, kind: drift, compare: {{tolerance: 1%}}": ("conflict", "compare says nothing of a drift"),
    f"{OWN}, unit: ms, {LIMIT}": ("range", "unit cannot be 'ms'; write ratio, seconds or none"),
    f"{OWN}, unit: none, limit: {{max: 1%}}": ("type", "limit.max is '1%', not a number; write a bare number"),
    f"{OWN}, unit: ratio, limit: {{max: 250ms}}": ("type", "limit.max is '250ms', not a percentage"),
    f"{OWN}, unit: ratio, limit: {{max: 5}}": ("range", "limit.max is 5 without a percent sign; write 5%"),
    f"{OWN}, unit: seconds, limit: {{max: 1%}}": ("type", "limit.max is '1%', not a time"),
    f"{OWN}, limit: {{max: much}}": ("type", "limit.max is 'much', not a number; write it like 1%, 250ms or 0.25"),
    f"{OWN}, limit: {{max: .nan}}": ("type", "not a number"),
    f"{OWN}, limit: {{max: true}}": ("type", "is true, not a number"),
    f"{OWN}, compare: {{tolerance: 1%, atLeast: -1}}": ("range", "atLeast is -1; choose 0 or more"),
    f"{OWN}, compare: {{tolerance: 1%, atLeast: 1%}}, limit: {{max: 250ms}}": (
        "unit",
        "limit.max is a time, and compare.atLeast is a share; write both in the same unit",
    ),
    f"{OWN}, compare: {{tolerance: 1%, atLeast: 3}}, limit: {{max: 5%}}": ("unit", "compare.atLeast is a bare number"),
    "pack: x, compare: {tolerance: 1%, atLeast: 3}, limit: {max: 5s}": ("unit", "limit.max is a time, and compare"),
    f"query: '', {LIMIT}": ("range", "query cannot be ''; write one PromQL expression"),
    f"query: [a], {LIMIT}": ("type", "query is a list, not a text"),
    f"query: up, {LIMIT}": ("template", 'query: no label tells revisions apart; match one of them with "{{ revision'),
    f"query: '{QUERY} + {{{{ revison }}}}', {LIMIT}": (
        "template",
        "query: {{ revison }} is unknown; write {{ revision",
    ),
    f"query: '{QUERY} {{{{ window', {LIMIT}": ("template", "query: a placeholder is not closed; write it like"),
    f"query: 'sum({QUERY})', kind: histogram, {LIMIT}": ("template", "query: counters are put together, so that a"),
    f"{OWN}, kind: counter, total: up, limit: {{max: 1%}}": ("template", "total: no label tells revisions apart"),
    "pack: x, limit: {max: 1}, enforce: 'no'": ("type", "enforce is 'no'; write true or false"),
    "pack: x, limit: {max: 1}, delay: 5": ("type", "delay is 5, not a duration"),
    "pack: x, limit: {max: 1}, delay: 30m": (
        "conflict",
        "delay is '30m', and silence aborts after 30m; raise spec.patience above it, or add enforce: false",
    ),
    "pack: x, limit: {max: 1}, interval: 5m": ("unknown-field", "known here: name, pack, query, total, kind"),
}


@pytest.mark.parametrize("rest", RULES)
def test_each_rule_has_its_code_and_its_words(rest: str) -> None:
    code, words = RULES[rest]
    found = refused(rest, BESIDE)
    assert [str(found)] == str(found).splitlines()
    assert words in str(found)
    assert (found.code, found.path, found.line) == (code, PATH, 10)
    assert found.remedy


def test_a_metric_with_several_mistakes_hears_of_all_of_them() -> None:
    found = refused("query: up, kind: gauges, delay: 5, enforce: 1, limit: {mx: 3}", BESIDE)
    assert len([found, *found.others]) == 6


@quick
@given(st.lists(st.sampled_from(OF_MATCHERS), max_size=4), st.sampled_from(["{{%s}}", "{{ %s }}"]))
def test_known_placeholders_may_stand_anywhere_as_often_as_one_likes(names: list[str], written: str) -> None:
    query = " + ".join([QUERY, *(f'up{{a="{written % name}"}}' for name in names)])
    assert metric(f"query: '{query}', {LIMIT}").sources[0].parts == {"value": query}
