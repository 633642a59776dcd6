"""Policies beyond the single rules: the documented example as it stands, approval, and patience beside its evidence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from .test_policy import changed, read, refused

WRITTEN_DOWN = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: standard}
spec:
  steps:
    - {setWeight: 10, dwell: 5m}
    - {setWeight: 25, dwell: 5m}
    - {setWeight: 50, dwell: 10m}
  readyWithin: 10m                # how long a canary may take to become ready
  patience: 30m                   # how long a step may go without evidence
  onSilence: abort                # or hold: what happens when patience is over; never promote
  maxDuration: 6h                 # of a whole rollout; then onTimeout: abort | hold
  approval: {before: none}        # none (default) | start | promote | step; given by a commit or a merged pull request
  analysis:
    falseAbort: 5%                # bound on the chance of aborting a good revision, over the whole rollout, however often one looks (measured: well below)
    minRequests: 20               # per step, before anything may pass
    timing: {block: 30s, warmUp: 60s, warmUpAfterShift: 30s}   # eager: 5s, 5s, 3s, for demos and tests
    metrics:
      - {name: errors,  pack: knative/errors,  compare: {tolerance: 20%, atLeast: 0.05%}}     # against stable, same window
      - {name: latency, pack: knative/latency, compare: {tolerance: 10%}}
      - {name: slo,     pack: knative/errors,  limit: {max: 1%}}
      - name: accepted-share                                                                    # any PromQL
        query: sum(rate(loan_accepted_total{revision_name="{{ revision }}"}[{{ window }}])) / sum(rate(loan_scored_total{revision_name="{{ revision }}"}[{{ window }}]))
        kind: gauge
        compare: {direction: higherIsBetter, tolerance: 2%}
        delay: 15m                # labels arrive late
        enforce: false            # dry run: judged and reported, never decides
"""  # noqa: E501 -- the format's own example, as it stands there


def test_the_example_of_the_format_reads_as_it_stands() -> None:
    policy = read(WRITTEN_DOWN)
    assert (policy.name, [step.weight for step in policy.steps]) == ("standard", [10, 25, 50])
    assert [metric.name for metric in policy.metrics] == ["errors", "latency", "slo", "accepted-share"]
    assert (policy.metrics[3].delay, policy.metrics[3].enforced) == (timedelta(minutes=15), False)


@pytest.mark.parametrize(
    "said", ["{before: promote}", "{before: step}", "none", "{before: none, by: [ada]}", "{before: []}"]
)
def test_an_approval_that_would_not_be_asked_for_is_refused(said: str) -> None:
    found = refused(WRITTEN_DOWN.replace("{before: none} ", f"{said} "))
    assert "unknown field spec.approval; remove it, this version does not read it yet" in str(found)


IMPATIENT = {
    "a block": ("30s", "30s", "", "may take 40s: a block of 30s and 10s until somebody looks"),
    "a long block": (
        "5m",
        "10m",
        "",
        "silence aborts after 5m, and the first evidence of metric errors may take 11m: ",
    ),
    "a delay": ("5m", "30s", ", delay: 4m50s", "may take 5m30s: a delay of 4m50s, a block of 30s and 10s until"),
    "windows of a gauge": ("90s", "30s", None, "of metric score may take 1m40s: three blocks of 30s and 10s until"),
    "exactly as long": (
        "40s",
        "30s",
        "",
        "silence aborts after 40s, and the first evidence of metric errors may take 40s",
    ),
}
GAUGE = """{name: score, query: 'score{pod="{{ revision }}"}', compare: {tolerance: 2%}}"""


def patient(patience: str, block: str, extra: str | None, silence: str = "abort") -> str:
    """Write a policy with so much patience, and a metric with extras; None: a gauge."""
    metric_ = "{name: errors, pack: knative/errors, limit: {max: 1%}}"
    return changed(
        "  analysis:\n",
        f"  patience: {patience}\n  onSilence: {silence}\n  analysis:\n    timing: {{block: {block}}}\n",
    ).replace(metric_, GAUGE if extra is None else metric_[:-1] + extra + "}")


@pytest.mark.parametrize("case", IMPATIENT)
def test_patience_that_must_always_end_before_any_evidence_is_refused(case: str) -> None:
    patience, block, extra, words = IMPATIENT[case]
    found = refused(patient(patience, block, extra))
    assert words in str(found)
    assert "raise spec.patience above that, shorten timing.block or delay, or write onSilence: hold" in found.remedy
    assert (found.code, found.line) == ("conflict", 7)
    read(patient(patience, block, extra, "hold"))


@pytest.mark.parametrize(("patience", "extra"), [("41s", ""), ("101s", None), ("5m31s", ", delay: 4m50s")])
def test_patience_a_little_longer_will_do(patience: str, extra: str | None) -> None:
    read(patient(patience, "30s", extra))


def test_a_dry_run_may_take_longer_than_patience_lasts() -> None:
    beside = "      - {name: late, pack: knative/latency, limit: {max: 1s}, delay: 20m, enforce: false}\n"
    read(patient("41s", "30s", "") + beside)
