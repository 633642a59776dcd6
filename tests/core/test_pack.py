from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.model import Exhausted, Policy, Step
from gitops_serving.core.pack import PREFERRED, Pack, chosen, detections, lookup, read_pack, render, resolve

PATH = "policies/metrics/mine.yaml"
SMALL = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: MetricPack
metadata: {name: mine}
spec:
  sources:
    - name: Old
      revisionLabel: rev
      detect: count(old_total{ns="{{ namespace }}"})
      signals:
        errors:
          kind: counter
          total: old_total{ns="{{ namespace }}",rev="{{ revision }}"}
          bad: old_total{ns="{{ namespace }}",rev="{{ revision }}",code=~"5.."}
        latency:
          kind: histogram
          unit: ms
          buckets: old_ms_bucket{rev="{{ revision }}"}
    - name: New
      revisionLabel: rev
      detect: count(new_total{ns="{{ namespace }}",svc="{{ service }}"})
      signals:
        errors:
          kind: counter
          total: new_total{rev="{{ revision }}"}
          good: new_good_total{rev="{{ revision }}"}
        queue:
          kind: gauge
          unit: none
          value: avg_over_time(new_queue{rev="{{ revision }}"}[{{ window }}])
"""


def read(text: str = SMALL, path: str = PATH) -> Pack:
    return read_pack(text.encode(), path)


def changed(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def complaints(text: str, path: str = PATH) -> list[Invalid]:
    with pytest.raises(Invalid) as caught:
        read(text, path)
    found = [caught.value, *caught.value.others]
    assert all(each.path == path and each.line and each.remedy for each in found)
    return found


def only(text: str) -> Invalid:
    (found,) = complaints(text)
    return found


def shipped_packs() -> dict[str, Pack | Invalid]:
    packs = [read_pack(source, path) for path, source in shipped.packs().items()]
    return {pack.name: pack for pack in packs}


def policy(*metrics: Metric) -> Policy:
    minute = timedelta(minutes=1)
    return Policy(name="p", steps=(Step(10, minute),), ready_within=minute, patience=2 * minute, metrics=metrics)


SHIPPED = shipped_packs()
SOURCES = [
    (f"{pack.name}/{signal}/{source.name}", signal, source)
    for pack in SHIPPED.values()
    if isinstance(pack, Pack)
    for signal, sources in pack.signals.items()
    for source in sources
]


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_pack_gives_the_sources_of_each_signal_in_order() -> None:
    pack = read()
    assert (pack.name, {signal: [each.name for each in found] for signal, found in pack.signals.items()}) == (
        "mine",
        {"errors": ["Old", "New"], "latency": ["Old"], "queue": ["New"]},
    )
    assert pack.signals["latency"] == (
        Source(
            kind=Kind.HISTOGRAM,
            parts={"buckets": 'old_ms_bucket{rev="{{ revision }}"}'},
            pack="mine",
            name="Old",
            unit="seconds",
            scale=0.001,
            revision_label="rev",
            detect='count(old_total{ns="{{ namespace }}"})',
        ),
    )
    errors, queue = pack.signals["errors"], pack.signals["queue"][0]
    assert [(each.kind, each.unit, each.scale, list(each.parts)) for each in errors] == [
        (Kind.COUNTER, "ratio", 1.0, ["total", "bad"]),
        (Kind.COUNTER, "ratio", 1.0, ["total", "good"]),
    ]
    assert (queue.kind, queue.unit, list(queue.parts)) == (Kind.GAUGE, "", ["value"])


@pytest.mark.parametrize(("said", "unit", "scale"), [("s", "seconds", 1.0), ("us", "seconds", 1e-6), ("none", "", 1.0)])
def test_every_unit_has_its_scale(said: str, unit: str, scale: float) -> None:
    (source,) = read(changed(("unit: ms", f"unit: {said}"))).signals["latency"]
    assert (source.unit, source.scale) == (unit, scale)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metadata: {name: mine}", "metadata: {name: other}", "metadata.name is 'other' in a file named 'mine'"),
        ("      revisionLabel: rev\n      detect: count(old", "      detect: count(old", "revisionLabel is missing"),
        ("- name: Old", "- name: New", "spec.sources[1].name is 'New', as spec.sources[0].name is"),
        ('detect: count(old_total{ns="{{ namespace }}"})\n', "detekt: x\n", "unknown field"),
        ("kind: histogram", "kind: histogramm", "kind cannot be 'histogramm'"),
        ("unit: ms\n", "unit: minutes\n", "unit cannot be 'minutes'"),
        ("          unit: ms\n", "", "unit is missing"),
        ("unit: ms\n", "unit: ratio\n", "is a histogram of ratios"),
        ("buckets: old", "bucket: old", "unknown field"),
        ("        latency:", "        La tency:", "is no name of a signal"),
        ('good: new_good_total{rev="{{ revision }}"}', 'good: new_total{rev="{{ revision }}"}', "are the same query"),
        ('          good: new_good_total{rev="{{ revision }}"}\n', "", "errors has total"),
        ("good: new_good", "unit: s\n          good: new_good", "unit is for gauges and histograms"),
        ("old_ms_bucket{rev=", "old_ms_bucket{pod=", "matches {{ revision }} by pod, not by rev"),
        ('old_ms_bucket{rev="{{ revision }}"}', "old_ms_bucket", "no label tells revisions apart"),
        ('old_ms_bucket{rev="{{ revision }}"}', 'x{rev!="{{ revision }}"}', "no label tells revisions apart"),
        ("old_ms_bucket{rev=", "old_ms_bucket{ns=~'{{ window }}',rev=", "{{ window }} stands in quotes"),
        ('old_ms_bucket{rev="{{ revision }}"}', "7", "buckets is 7, not a text"),
        ('_ms_bucket{rev="{{ revision }}"}', '{rev="{{ revision }}"} offset {{ window }}', "{{ window }} has no value"),
        ("old_ms_bucket", "rate(x[1m]) * x", "a counter is read over a range"),
        ('old_ms_bucket{rev="{{ revision }}"}', 'sum by (le) (x{rev="{{ revision }}"})', "counters are put together"),
        ('svc="{{ service }}"', 'svc="{{ revision }}"', "{{ revision }} has no value here"),
        ('svc="{{ service }}"', 'svc="{{ service }}', 'a " is never closed'),
        ("kind: gauge", "kind: drift", "value"),
    ],
)
def test_what_is_wrong_with_a_pack_is_said(old: str, new: str, message: str) -> None:
    assert old in SMALL
    found = [each.message for each in complaints(SMALL.replace(old, new, 1))]
    assert any(message in each for each in found), found


def test_all_complaints_come_at_once_in_the_order_of_their_lines() -> None:
    text = changed(("kind: histogram", "kind: histo"), ("unit: none", "unit: days"), ("{name: mine}", "{name: x y}"))
    lines = [each.line for each in complaints(text)]
    assert len(lines) >= 3
    assert lines == sorted(lines, key=lambda line: line or 0)


@pytest.mark.parametrize(
    "text",
    [
        SMALL[: SMALL.index("  sources:")] + "  sources: []\n",
        SMALL[: SMALL.index("  sources:")] + "  sources:\n    - {name: a, revisionLabel: b, detect: c, signals: {}}\n",
        SMALL[: SMALL.index("  sources:")]
        + "  sources:\n    - {name: a, revisionLabel: b, detect: c, signals: {d: e}}\n",
        SMALL[: SMALL.index("  sources:")] + "  sources:\n    - {name: a, revisionLabel: b, detect: c, signals: [d]}\n",
    ],
)
def test_an_empty_or_shapeless_part_is_one_complaint(text: str) -> None:
    assert only(text).remedy


def test_a_source_that_is_never_chosen_is_a_mistake() -> None:
    same = 'count(old_total{ns="{{ namespace }}"})'
    found = only(changed(('count(new_total{ns="{{ namespace }}",svc="{{ service }}"})', same)))
    assert found.message == "spec.sources[1].errors is never chosen, since Old is detected by the same query"


def test_two_meanings_of_one_signal_are_a_mistake() -> None:
    found = only(changed(("        queue:", "        latency:")))
    assert found.message == "spec.sources[1].latency is a gauge of bare numbers, and a histogram of times in Old"
    assert found.code == "meaning"


def test_a_very_long_query_is_refused() -> None:
    assert "characters long" in only(changed(("old_ms_bucket{", "x{y='" + "z" * 4000 + "',"))).message


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["total: ", "buckets: ", "detect: ", "revisionLabel: ", "errors:\n"]))
def test_whatever_stands_in_a_pack_it_is_read_or_refused(garbage: str, where: str) -> None:
    text = SMALL.replace(where, f"{where}{garbage}", 1)
    found: Pack | Invalid
    try:
        found = read(text)
    except Invalid as error:
        found = error
    assert isinstance(found, Pack) or found.path == PATH


# -- the shipped packs -----------------------------------------------------------------------------------------------


def test_every_shipped_pack_is_valid_and_has_a_place_in_the_order() -> None:
    assert sorted(SHIPPED) == sorted(PREFERRED)
    assert not any(isinstance(pack, Invalid) for pack in SHIPPED.values())


@pytest.mark.parametrize(("name", "signal", "source"), SOURCES, ids=[name for name, *_ in SOURCES])
def test_every_shipped_query_is_promql(name: str, signal: str, source: Source) -> None:
    values = {"revision": "a-predictor-00001", "namespace": "n", "service": "a", "baseline": "b", "window": "90s"}
    for query in (*source.parts.values(), source.detect):
        assert promql_parser.parse(render(query, values)).prettify()
    assert name.endswith(source.name)
    assert source.revision_label
    assert source.unit == ("ratio" if signal == "errors" else "seconds")


def test_the_promised_signals_of_vllm_are_there() -> None:
    vllm = SHIPPED["vllm"]
    assert isinstance(vllm, Pack)
    assert set(vllm.signals) == {"ttft", "inter-token", "latency", "queue", "errors"}


# -- giving metrics their sources ------------------------------------------------------------------------------------


def test_a_signal_of_a_named_pack_has_that_packs_sources() -> None:
    found = lookup(Metric(name="e", pack="knative/errors"), SHIPPED)
    assert [each.pack for each in found] == ["knative"] * 5
    assert found[0].name == "Knative up to 1.18"


def test_a_signal_alone_has_the_sources_of_all_packs_in_the_order_of_preference() -> None:
    found = lookup(Metric(name="e", pack="errors"), {**SHIPPED, "mine": read()})
    order = list(dict.fromkeys(each.pack for each in found))
    assert order == ["mine", *PREFERRED]


def test_a_query_of_the_policys_own_stays_as_it_is() -> None:
    own = Metric(name="own", sources=(Source(kind=Kind.GAUGE, parts={"value": "x"}),), unit="seconds")
    assert resolve(policy(own), {}) == policy(own)


@pytest.mark.parametrize(
    ("pack", "message", "remedy"),
    [
        ("knativ/errors", "metric e: there is no pack knativ", "there are: istio, knative, kourier, kserve"),
        ("knative/error", "metric e: pack knative has no signal error", "it has: errors, latency"),
        ("error", "metric e: no pack has a signal error", "there are: errors, inter-token, latency, mean-latency"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(pack: str, message: str, remedy: str) -> None:
    with pytest.raises(Invalid) as caught:
        lookup(Metric(name="e", pack=pack), SHIPPED)
    assert caught.value.message == message
    assert caught.value.remedy.startswith(remedy)


def test_a_broken_pack_is_the_complaint_of_those_who_need_it() -> None:
    broken: dict[str, Pack | Invalid] = {**SHIPPED, "kserve": Invalid("broken", code="x", path="there")}
    assert lookup(Metric(name="e", pack="knative/errors"), broken)
    for pack in ("kserve/errors", "errors"):
        with pytest.raises(Invalid, match="broken"):
            lookup(Metric(name="e", pack=pack), broken)
    with pytest.raises(Invalid) as caught:
        resolve(policy(Metric(name="e", pack="errors"), Metric(name="l", pack="latency")), broken)
    assert caught.value.others == ()


def wrong(metric: Metric, packs: Any = None) -> list[str]:
    try:
        resolve(policy(metric), {**SHIPPED, "mine": read()} if packs is None else packs)
    except Invalid as error:
        return [f"{each.message}; {each.remedy}" for each in (error, *error.others)]
    return []


def test_margins_must_be_in_the_unit_of_the_signal() -> None:
    assert wrong(Metric(name="t", pack="vllm/ttft", maximum=2.0, unit="seconds")) == []
    assert wrong(Metric(name="t", pack="vllm/ttft", maximum=0.02, unit="ratio")) == [
        "metric t: its numbers are shares, and vllm/ttft is a histogram of times; write them like 250ms or 0.25"
    ]
    assert wrong(Metric(name="e", pack="knative/errors", at_least=0.1, unit="seconds")) == [
        "metric e: its numbers are times, and knative/errors is a counter of shares; write them like 1% or 0.01"
    ]
    assert wrong(Metric(name="q", pack="mine/queue", maximum=0.25, unit="seconds"))[0].endswith("write bare numbers")


def test_a_bare_number_is_taken_in_the_unit_of_the_signal() -> None:
    assert wrong(Metric(name="t", pack="vllm/ttft", maximum=2.0)) == []
    assert wrong(Metric(name="e", pack="knative/errors", maximum=0.01)) == []
    assert wrong(Metric(name="e", pack="knative/errors", maximum=5.0)) == ["metric e: 5 is no share; write 5%"]


def test_more_is_better_only_of_gauges() -> None:
    better = Metric(name="m", pack="mine/queue", minimum=3.0, higher_is_better=True)
    assert wrong(better) == []
    assert "more is better only of gauges" in wrong(replace(better, pack="vllm/ttft"))[0]


def test_a_signal_that_means_different_things_in_two_packs_needs_its_packs_name() -> None:
    means = read(SMALL.replace("unit: none", "unit: s").replace("        queue:", "        ttft:"))
    packs = {**SHIPPED, "mine": means}
    assert wrong(Metric(name="t", pack="vllm/ttft"), packs) == []
    (found,) = wrong(Metric(name="t", pack="ttft"), packs)
    assert found.startswith("metric t: ttft is a gauge of times in pack mine, and a histogram of times in pack vllm")
    assert found.endswith("name the pack: mine/ttft")


def test_all_that_does_not_fit_is_said_at_once() -> None:
    metrics = (Metric(name="a", pack="no/errors"), Metric(name="b", pack="vllm/ttft", maximum=0.1, unit="ratio"))
    with pytest.raises(Invalid) as caught:
        resolve(policy(*metrics), SHIPPED)
    assert [each.code for each in (caught.value, *caught.value.others)] == ["pack", "unit"]


def test_a_gauge_of_a_pack_needs_patience_for_a_window_of_three_blocks() -> None:
    score = Metric(name="mean", pack="mlserver/mean-latency", tolerance=0.1)
    short = replace(policy(score), patience=timedelta(seconds=100))
    with pytest.raises(Invalid, match="the first evidence of metric mean may take 1m40s: three blocks of 30s and 10s"):
        resolve(short, SHIPPED)
    resolve(replace(short, on_silence=Exhausted.HOLD), SHIPPED)
    resolve(replace(short, metrics=(replace(score, enforced=False),)), SHIPPED)


# -- detection -------------------------------------------------------------------------------------------------------


def test_each_detection_is_asked_once_and_the_first_source_that_answers_is_chosen() -> None:
    found = resolve(
        policy(Metric(name="e", pack="mine/errors"), Metric(name="l", pack="mine/latency")), {"mine": read()}
    )
    old, new = 'count(old_total{ns="fraud"})', 'count(new_total{ns="fraud",svc="scorer"})'
    assert detections(found, "fraud", "scorer") == (old, new)
    errors, latency = found.metrics
    named = [
        source.name if (source := chosen(errors, present, "fraud", "scorer")) else None
        for present in ((old, new), (new,), ())
    ]
    assert named == ["Old", "New", None]
    assert chosen(latency, (new,), "fraud", "scorer") is None


def test_a_query_of_the_policys_own_is_always_there() -> None:
    own = Metric(name="own", sources=(Source(kind=Kind.GAUGE, parts={"value": "x"}),))
    assert detections(policy(own), "fraud", "scorer") == ()
    assert chosen(own, (), "fraud", "scorer") == own.sources[0]


def test_the_pack_in_the_guide_is_one() -> None:
    guide = (Path(__file__).parents[2] / "docs/guide.md").read_text()
    (example,) = (block for block in guide.split("```") if "kind: MetricPack" in block)
    assert list(read(example.removeprefix("yaml\n"), "policies/metrics/loans.yaml").signals) == ["refused-by-rules"]
