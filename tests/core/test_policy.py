from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gitops_serving.core.errors import Invalid
from gitops_serving.core.fields import MOST_COMPLAINTS
from gitops_serving.core.measure import Metric
from gitops_serving.core.model import Exhausted, Policy, Step, Timing
from gitops_serving.core.policy import read_policy

SHIPPED = Path(__file__).parents[2] / "policies"
PATH = "policies/standard.yaml"

HEAD = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: standard}
"""
SMALL = (
    HEAD
    + """\
spec:
  steps:
    - {setWeight: 10, dwell: 5m}
  analysis:
    metrics:
      - {name: errors, pack: knative/errors, limit: {max: 1%}}
"""
)


def read(text: str) -> Policy:
    return read_policy(text.encode(), PATH)


def refused(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(text)
    return caught.value


def every(complaint: Invalid) -> list[Invalid]:
    return [complaint, *(further for other in complaint.others for further in every(other))]


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


def metric(rest: str) -> str:
    return changed("{name: errors, pack: knative/errors, limit: {max: 1%}}", f"{{name: it, {rest}}}")


def test_the_shipped_standard_policy_is_what_it_says() -> None:
    source = (SHIPPED / "standard.yaml").read_bytes()
    assert read_policy(source, PATH) == Policy(
        name="standard",
        path=PATH,
        digest=hashlib.sha256(source).hexdigest()[:8],
        steps=(
            Step(10, timedelta(minutes=5)),
            Step(25, timedelta(minutes=5)),
            Step(50, timedelta(minutes=10)),
        ),
        ready_within=timedelta(minutes=10),
        patience=timedelta(minutes=30),
        on_silence=Exhausted.ABORT,
        max_duration=timedelta(hours=6),
        on_timeout=Exhausted.ABORT,
        false_abort=0.05,
        min_requests=20,
        timing=Timing(
            block=timedelta(seconds=30), warm_up=timedelta(seconds=60), warm_up_after_shift=timedelta(seconds=30)
        ),
        metrics=(
            Metric(name="errors", pack="knative/errors", tolerance=0.2, at_least=0.0005, unit="ratio"),
            Metric(name="latency", pack="knative/latency", tolerance=0.1),
        ),
    )


def test_the_shipped_cautious_policy_is_what_it_says() -> None:
    source = (SHIPPED / "cautious.yaml").read_bytes()
    minutes = {2: 30, 5: 30, 10: 60, 25: 60, 50: 120}
    assert read_policy(source, "policies/cautious.yaml") == Policy(
        name="cautious",
        path="policies/cautious.yaml",
        digest=hashlib.sha256(source).hexdigest()[:8],
        steps=tuple(Step(weight, timedelta(minutes=dwell)) for weight, dwell in minutes.items()),
        ready_within=timedelta(minutes=20),
        patience=timedelta(hours=2),
        on_silence=Exhausted.HOLD,
        max_duration=timedelta(hours=24),
        on_timeout=Exhausted.ABORT,
        false_abort=0.01,
        min_requests=100,
        timing=Timing(
            block=timedelta(seconds=30), warm_up=timedelta(minutes=2), warm_up_after_shift=timedelta(seconds=60)
        ),
        metrics=(
            Metric(name="errors", pack="knative/errors", tolerance=0.1, at_least=0.0002, unit="ratio"),
            Metric(name="latency", pack="knative/latency", tolerance=0.05),
            Metric(name="slo", pack="knative/errors", maximum=0.005, unit="ratio"),
        ),
    )


def test_the_shipped_eager_policy_is_what_it_says() -> None:
    source = (SHIPPED / "eager.yaml").read_bytes()
    assert read_policy(source, "policies/eager.yaml") == Policy(
        name="eager",
        path="policies/eager.yaml",
        digest=hashlib.sha256(source).hexdigest()[:8],
        steps=tuple(Step(weight, timedelta(seconds=20)) for weight in (10, 25, 50)),
        ready_within=timedelta(seconds=60),
        patience=timedelta(seconds=60),
        max_duration=timedelta(minutes=10),
        min_requests=20,
        timing=Timing(
            block=timedelta(seconds=5), warm_up=timedelta(seconds=5), warm_up_after_shift=timedelta(seconds=3)
        ),
        metrics=(
            Metric(name="errors", pack="knative/errors", tolerance=0.2, at_least=0.02, maximum=0.1, unit="ratio"),
            Metric(name="latency", pack="knative/latency", tolerance=0.5, at_least=0.05, unit="seconds"),
        ),
    )


def test_every_policy_that_we_ship_bears_the_name_of_its_file() -> None:
    found = {path.stem: read_policy(path.read_bytes(), str(path)).name for path in SHIPPED.glob("*.yaml")}
    assert found == {name: name for name in ("cautious", "eager", "standard")}


def test_what_a_policy_leaves_out_has_the_documented_default() -> None:
    policy = read(SMALL)
    assert (policy.ready_within, policy.patience) == (timedelta(minutes=10), timedelta(minutes=30))
    assert (policy.max_duration, policy.false_abort, policy.min_requests) == (timedelta(hours=6), 0.05, 20)
    assert (policy.on_silence, policy.on_timeout) == (Exhausted.ABORT, Exhausted.ABORT)
    assert policy.timing == Timing(
        block=timedelta(seconds=30), warm_up=timedelta(seconds=60), warm_up_after_shift=timedelta(seconds=30)
    )


def test_a_comment_changes_the_digest_since_it_is_that_of_the_bytes() -> None:
    assert read(SMALL).digest != read(SMALL + "# reviewed\n").digest
    assert len(read(SMALL).digest) == 8


def test_labels_and_annotations_are_left_to_other_tools() -> None:
    text = changed("{name: standard}", "{name: standard, labels: {team: ml}, annotations: {a.example/b: 'true'}}")
    assert read(text) == Policy(**{**_as_dict(read(SMALL)), "digest": hashlib.sha256(text.encode()).hexdigest()[:8]})


def _as_dict(policy: Policy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in Policy.__dataclass_fields__}


def test_silence_and_time_out_may_hold_a_rollout() -> None:
    policy = read(changed(MIN, "  onSilence: hold\n  maxDuration: 1h30m\n  onTimeout: hold\n" + MIN))
    assert (policy.on_silence, policy.on_timeout) == (Exhausted.HOLD, Exhausted.HOLD)
    assert policy.max_duration == timedelta(minutes=90)


@pytest.mark.parametrize(("said", "share"), [("0.1%", 0.001), ("1%", 0.01), ("0.05", 0.05), ("50%", 0.5)])
def test_the_share_of_false_aborts_may_be_chosen(said: str, share: float) -> None:
    assert read(changed(MIN, MIN + f"    falseAbort: {said}\n")).false_abort == share


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            "pack: knative/errors, limit: {max: 0.01}",
            Metric(name="it", pack="knative/errors", maximum=0.01, unit="ratio"),
        ),
        ("pack: knative/errors, limit: {max: 0}", Metric(name="it", pack="knative/errors", maximum=0.0, unit="ratio")),
        (
            "pack: knative/errors, limit: {max: 100%}",
            Metric(name="it", pack="knative/errors", maximum=1.0, unit="ratio"),
        ),
        ("pack: knative/errors, compare: {tolerance: 0%}", Metric(name="it", pack="knative/errors", tolerance=0.0)),
        (
            "pack: knative/latency, limit: {max: 250ms}",
            Metric(name="it", pack="knative/latency", maximum=0.25, unit="seconds"),
        ),
        (
            "pack: knative/latency, limit: {max: 1s500ms}",
            Metric(name="it", pack="knative/latency", maximum=1.5, unit="seconds"),
        ),
        (
            "pack: knative/latency, limit: {max: 2}",
            Metric(name="it", pack="knative/latency", maximum=2.0, unit="seconds"),
        ),
        (
            "pack: knative/latency, compare: {tolerance: 150%, atLeast: 0.05}, limit: {max: 1m}",
            Metric(name="it", pack="knative/latency", tolerance=1.5, at_least=0.05, maximum=60.0, unit="seconds"),
        ),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_signal(rest: str, expected: Metric) -> None:
    assert read(metric(rest)).metrics == (expected,)


GOLDEN = HEAD.replace("metadata: {name: standard}", "metadata: {name: standard, label: {}}") + (
    """\
spec:
  readyWithin: 90
  patience: 31d
  onSilence: promote
  approval: {before: start}
  steps:
    - {setWeight: 10, dwell: 5m}
    - {setWeight: 50, dwell: 5m}
    - setWeight: 25
      dwell: 5m
    - {setWeight: 100}
  analysis:
    falseAborts: 1%
    timing: {block: 1h, warmUp: 0s}
    metrics:
      - {name: errors, pack: knative/errors, compare: {tolerance: 20, atLeast: 250ms}}
      - {name: errors, pack: knative/errors}
      - {name: slow, pack: knative/latency, limit: {max: 1%}}
      - {name: shares, query: "rate(accepted[5m])", kind: gauge, compare: {direction: higher, tolerance: 1%}}
"""
)


GOLDEN_COMPLAINTS = """
3: unknown field metadata.label; write labels, or remove it
5: spec.readyWithin is 90, not a duration; write it like 90s, 5m, 2h or 1h30m
6: spec.patience is '31d', not a duration; write it like 90s, 5m, 2h or 1h30m
7: spec.onSilence cannot be 'promote'; write abort or hold
8: unknown field spec.approval; remove it, this version does not read it yet
12: step weights must rise (25 after 50); sort the steps or remove one
14: spec.steps[3].dwell is missing; add how long to stay at this weight, such as 5m
14: spec.steps[3].setWeight is 100; write a whole number from 1 to 99
16: unknown field spec.analysis.falseAborts; write falseAbort, or remove it
17: spec.analysis.timing.block is '1h'; choose from 1s to 10m
17: spec.analysis.timing.warmUp is '0s'; choose from 1s to 720h
19: spec.analysis.metrics[0].compare.atLeast is '250ms', not a percentage; write it like 1% or 0.01
19: spec.analysis.metrics[0].compare.tolerance is 20 without a percent sign; write 20%
20: spec.analysis.metrics[1].name is 'errors', as spec.analysis.metrics[0].name is; rename or remove one of them
20: spec.analysis.metrics[1] is held against nothing; add compare: {tolerance: 20%} or limit: {max: ...}
21: spec.analysis.metrics[2].limit.max is '1%', not a time; write it like 250ms or 0.25
22: spec.analysis.metrics[3].compare.direction cannot be 'higher'; write higherIsBetter
22: spec.analysis.metrics[3].query: no label tells revisions apart; match one of them with "{{ revision }}"
"""


def test_all_complaints_about_a_file_come_at_once_in_the_order_of_its_lines() -> None:
    assert str(refused(GOLDEN)).replace(f"{PATH}:", "") == GOLDEN_COMPLAINTS.strip()


def test_weights_that_fall_are_refused_in_the_documented_words() -> None:
    text = changed(
        "    - {setWeight: 10, dwell: 5m}\n", "    - {setWeight: 50, dwell: 5m}\n    - {setWeight: 25, dwell: 5m}\n"
    )
    found = refused(text)
    assert str(found) == "policies/standard.yaml:7: step weights must rise (25 after 50); sort the steps or remove one"
    assert (found.code, found.path, found.line, found.others) == ("order", PATH, 7, ())


def test_a_weight_given_twice_does_not_rise() -> None:
    found = refused(changed(STEPS, STEPS + STEPS))
    assert str(found) == "policies/standard.yaml:7: step weights must rise (10 after 10); sort the steps or remove one"


STEPS = "    - {setWeight: 10, dwell: 5m}\n"
METRICS = "      - {name: errors, pack: knative/errors, limit: {max: 1%}}\n"
MIN = "  analysis:\n"


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("", "empty", 1, "empty"),
        ("# nothing\n", "empty", 1, "empty"),
        ("just a text\n", "type", 1, "not a mapping"),
        ("- a\n- b\n", "type", 1, "the document is a list"),
        (SMALL + "---\n" + SMALL, "duplicate", 11, "second document"),
        (SMALL.replace("RolloutPolicy", "Environment"), "kind", 2, "kind is 'Environment', not RolloutPolicy"),
        (SMALL.replace("v1alpha1", "v1"), "kind", 1, "apiVersion is 'gitops-serving.dev/v1', not"),
        (SMALL.replace("kind: RolloutPolicy\n", ""), "missing", 1, "kind is missing"),
        (HEAD, "missing", 1, "spec is missing"),
        (SMALL + "sepc: {}\n", "unknown-field", 10, "sepc; write spec, or remove it"),
        (SMALL.replace("metadata: {name: standard}\n", ""), "missing", 1, "metadata is missing"),
        (changed("{name: standard}", "{}"), "missing", 3, "metadata.name is missing"),
        (changed("{name: standard}", "{name: }"), "empty", 3, "metadata.name has no value"),
        (changed("{name: standard}", "{name: Standard}"), "range", 3, "cannot be 'Standard'; use at most 63"),
        (changed("{name: standard}", "{name: 7}"), "type", 3, "metadata.name is 7, not a text"),
        (changed("{name: standard}", "{name: a, labels: {b: true}}"), "type", 3, "labels.b is true, not a text"),
        (changed("{name: standard}", "{name: a, annotations: []}"), "type", 3, "annotations is a list"),
        (changed(STEPS, "      []\n"), "empty", 5, "spec.steps is an empty list; add at least one step"),
        (changed("  steps:\n" + STEPS, ""), "missing", 4, "spec.steps is missing; add at least one step"),
        (changed("  steps:\n" + STEPS, "  steps:\n"), "empty", 5, "spec.steps has no value"),
        (changed("  steps:\n" + STEPS, "  steps: {a: b}\n"), "type", 5, "spec.steps is a mapping, not a list"),
        (changed(STEPS, "    - 10\n"), "type", 6, "spec.steps[0] is 10, not a mapping; known in it: setWeight, dwell"),
        (changed("setWeight: 10", "setWeight: 0"), "range", 6, "setWeight is 0; write a whole number from 1 to 99"),
        (changed("setWeight: 10", "setWeight: 10%"), "type", 6, "setWeight is '10%', not a whole number"),
        (changed("setWeight: 10", "setWeight: 9.5"), "type", 6, "setWeight is 9.5, not a whole number"),
        (changed("setWeight: 10", "setWeight: true"), "type", 6, "setWeight is true, not a whole number"),
        (changed("dwell: 5m", "dwell: 5m, dwel: 1m"), "unknown-field", 6, "spec.steps[0].dwel; write dwell, or"),
        (changed("dwell: 5m", "dwell: 5 m"), "type", 6, "dwell is '5 m', not a duration; write it like"),
        (changed("dwell: 5m", "dwell: 721h"), "range", 6, "dwell is '721h'; choose from 1s to 720h"),
        (changed("dwell: 5m", "dwell: 250ms"), "type", 6, "dwell is '250ms', not a duration"),
        (changed(MIN, "  approval: {}\n" + MIN), "unknown-field", 7, "this version does not read it yet"),
        (changed(MIN, "  onSilence: promote\n" + MIN), "range", 7, "cannot be 'promote'; write abort or hold"),
        (changed(MIN, "  onTimeout: true\n" + MIN), "range", 7, "cannot be true; write abort or hold"),
        (changed(MIN, "  maxDuration: 31d\n" + MIN), "type", 7, "maxDuration is '31d', not a duration"),
        (changed(MIN, "  maxDuration: 5m\n" + MIN), "conflict", 7, "the steps take 5m, and maxDuration is 5m; raise"),
        (changed("dwell: 5m", "dwell: 7h"), "conflict", 5, "the steps take 7h, and maxDuration is 6h; raise"),
        (changed(MIN, "  pateince: 5m\n" + MIN), "unknown-field", 7, "spec.pateince; write patience, or remove it"),
        (changed(MIN, "  zzz: 5m\n" + MIN), "unknown-field", 7, "remove it; known here: steps, readyWithin, patience"),
        (changed(MIN, MIN + "    minRequests: 0\n"), "range", 8, "minRequests is 0; write a whole number from 1"),
        (changed(MIN, MIN + "    falseAbort: 0.05%\n"), "range", 8, "is '0.05%'; choose from 0.1% to 50%"),
        (changed(MIN, MIN + "    falseAbort: 60%\n"), "range", 8, "is '60%'; choose from 0.1% to 50%"),
        (changed(MIN, MIN + "    falseAbort: 5\n"), "range", 8, "is 5 without a percent sign; write 5%"),
        (changed(MIN, MIN + "    timing: 5s\n"), "type", 8, "timing is '5s', not a mapping"),
        (changed(METRICS, "      []\n"), "empty", 8, "metrics is an empty list; add at least one metric"),
        (metric("pack: knative/errors"), "missing", 9, "is held against nothing"),
        (metric("pack: knative/errors, limit: {}"), "missing", 9, "limit.max is missing"),
        (metric("pack: knative/errors, limit: {max: }"), "empty", 9, "limit.max has no value"),
        (metric("pack: knative/errors, limit: {max: 101%}"), "range", 9, "choose from 0% to 100%"),
        (metric("pack: knative/errors, limit: {max: 5}"), "range", 9, "is 5 without a percent sign; write 5%"),
        (metric("pack: knative/errors, limit: {max: -1}"), "range", 9, "is -1; choose from 0% to 100%"),
        (metric("pack: knative/errors, limit: {max: .inf}"), "type", 9, "not a percentage"),
        (metric("pack: knative/errors, limit: {max: .nan}"), "type", 9, "not a percentage"),
        (metric("pack: knative/errors, limit: {max: true}"), "type", 9, "is true, not a percentage"),
        (metric("pack: knative/errors, compare: {atLeast: 1%}"), "missing", 9, "compare.tolerance is missing"),
        (metric("pack: knative/errors, compare: {tolerance: 1001%}"), "range", 9, "choose from 0% to 1000%"),
        (metric("pack: knative/latency, limit: {max: 0ms}"), "range", 9, "choose from 1ms to 1h"),
        (metric("pack: knative/latency, limit: {max: 2h}"), "range", 9, "choose from 1ms to 1h"),
    ],
)
def test_each_rule_has_its_code_its_line_and_its_words(text: str, code: str, line: int, words: str) -> None:
    found = refused(text)
    assert [str(found)] == str(found).splitlines()
    assert words in str(found)
    assert (found.code, found.path, found.line) == (code, PATH, line)
    assert found.remedy


def test_documents_with_nothing_in_them_do_not_count() -> None:
    assert read("# licence\n---\n" + SMALL + "---\n").steps == read(SMALL).steps


def test_a_misspelt_field_that_must_be_there_is_named_twice() -> None:
    assert str(refused(changed("setWeight", "weight"))) == (
        "policies/standard.yaml:6: unknown field spec.steps[0].weight; write setWeight, or remove it\n"
        "policies/standard.yaml:6: spec.steps[0].setWeight is missing; add one from 1 to 99"
    )


def test_yaml_that_cannot_be_read_is_refused_with_the_path() -> None:
    found = refused(SMALL + "\t: [")
    assert found.path == PATH
    assert str(found).startswith(PATH)


def test_a_wrong_kind_is_one_complaint_and_not_one_for_each_of_its_fields() -> None:
    found = refused("apiVersion: gitops-serving.dev/v1alpha1\nkind: MetricPack\nqueries: {}\nname: 5\n")
    assert [complaint.code for complaint in every(found)] == ["kind"]


def test_a_file_of_nothing_but_mistakes_costs_a_bounded_number_of_complaints() -> None:
    found = refused(HEAD + "spec:\n" + "".join(f"  wrong{number}: 1\n" for number in range(1000)))
    assert len(every(found)) == MOST_COMPLAINTS


def test_a_message_repeats_no_more_than_a_line_of_what_was_written() -> None:
    found = refused(changed("name: errors", f"name: {'x' * 5000}, {'y' * 900}: 1"))
    assert max(map(len, str(found).splitlines())) < 250
