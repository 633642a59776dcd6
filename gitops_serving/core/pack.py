"""Metric packs: where in Prometheus the signals of a service are found, for each thing that reports them.

The same signal goes by other names in every layer, and in every version of one: errors
are counted by Knative's queue-proxy, by a mesh, by the gateway and by the model server.
A pack is a file that knows one of these layers.  Its *sources* are tried in order, and
the first whose detection query finds a series is used; so a policy says ``errors`` and
need not know which version of Knative a cluster runs.

Here packs are read, and a policy's metrics are given their sources.  Two configuration
errors are found before anything is asked, because no evidence would ever show them: a
query whose label does not tell revisions apart, and a signal that means one thing in one
source and another in the next.  This module refuses to know how evidence is formed, and
it asks Prometheus nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from . import fields, template
from .errors import Invalid, joined
from .fields import Field, complain, needed, opened, optional
from .measure import Kind, Source
from .model import Exhausted
from .policy_metrics import HAVE_PATIENCE, hasty
from .template import render

if TYPE_CHECKING:
    from collections.abc import Collection

    from .measure import Metric
    from .model import Policy

__all__ = ["KIND", "PREFERRED", "Pack", "chosen", "detections", "lookup", "read_pack", "render", "resolve"]

KIND = "MetricPack"
Word = Literal["counter", "histogram", "gauge", "drift"]
Unit = Literal["s", "ms", "us", "ratio", "none"]
WORDS: tuple[Word, ...] = ("counter", "histogram", "gauge", "drift")
UNITS: dict[Unit, tuple[str, float]] = {
    "s": ("seconds", 1.0),
    "ms": ("seconds", 0.001),
    "us": ("seconds", 0.000001),
    "ratio": ("ratio", 1.0),
    "none": ("", 1.0),
}
QUERIES: dict[Word, tuple[str, ...]] = {
    "counter": ("total", "bad", "good"),
    "histogram": ("buckets",),
    "drift": ("buckets",),
    "gauge": ("value",),
}
NUMBERS = {"ratio": "shares", "seconds": "times", "": "bare numbers"}
WRITE = {"ratio": "write them like 1% or 0.01", "seconds": "write them like 250ms or 0.25", "": "write bare numbers"}
# For a signal without a pack's name: what sees the whole request comes before what sees a part of it.  A pack of the
# fleet's own comes first of all, since somebody wrote it for this very fleet.
PREFERRED = ("knative", "istio", "kourier", "kserve", "vllm", "triton", "torchserve", "mlserver")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True)
class Pack:
    """What one file knows: the sources of each signal, in the order in which they are tried."""

    name: str
    signals: Mapping[str, tuple[Source, ...]]


# -- reading ---------------------------------------------------------------------------------------------------------


def read_pack(source: bytes, path: str) -> Pack:
    """Read ``.../NAME.yaml``; raise one Invalid with every complaint about it, each with its line."""
    root = fields.opening(source, path, KIND)
    opened(root, ("apiVersion", "kind", "metadata", "spec"))
    name = _name(root, path)
    spec = opened(needed(root, "spec", "add a spec with sources"), ("sources",))
    remedy = "add at least one source with name, revisionLabel, detect and signals"
    known = ("name", "revisionLabel", "detect", "signals")
    entries = [
        entry
        for each in fields.items(needed(spec, "sources", remedy), remedy)
        if (entry := opened(each, known)) is not None
    ]
    fields.unique([fields.child(entry, "name") for entry in entries if "name" in entry.value])
    signals: dict[str, tuple[Source, ...]] = {}
    for entry in entries:
        for signal, found in _source(entry, name).items():
            _reachable(entry, signal, found, signals.get(signal, ()))
            signals[signal] = (*signals.get(signal, ()), found)
    fields.finish(root)
    return Pack(name, signals)


def _name(root: Field, path: str) -> str:
    """Read the name, which the file must bear too: a fleet's pack takes the place of the shipped one of its name."""
    found = needed(fields.metadata(root), "name", "add the name of its file")
    name, file = fields.name(found), path.rpartition("/")[2].rpartition(".")[0]
    if found is not None and file and isinstance(found.value, str) and name != file:
        message = f"{found.name} is {fields.shown(name)} in a file named {fields.shown(file)}"
        complain(found, message, f"write name: {file}, or rename the file", "range")
    return name


def _source(entry: Field, pack: str) -> dict[str, Source]:
    """Read one source: what it is known by, and its signals."""
    name = fields.text(needed(entry, "name", "add a name for people"), str.strip, "write a name for people")
    label = fields.text(
        needed(entry, "revisionLabel", "name the label that tells revisions apart"),
        LABEL.fullmatch,
        "write the name of one label, such as revision_name",
    )
    remedy = "add a query that returns a series where this source is there"
    detect = template.detection(needed(entry, "detect", remedy))
    signals = needed(entry, "signals", "add signals, such as errors and latency")
    found: dict[str, Source] = {}
    for field in _named(signals):
        signal = _signal(field, label)
        if signal is not None:
            found[field.name.rpartition(".")[2]] = replace(
                signal, pack=pack, name=name, revision_label=label, detect=detect
            )
    return found


def _named(signals: Field | None) -> list[Field]:
    """Take the mapping of signals apart."""
    if signals is None:
        return []
    remedy = "write a name for each signal, such as errors, and its kind and queries below"
    if not isinstance(signals.value, Mapping) or not signals.value:
        complain(signals, f"{signals.name} is {fields.shown(signals.value)} without signals", remedy, "type")
        return []
    found = [fields.child(signals, key) for key in signals.value]
    right = [field for field, key in zip(found, signals.value, strict=True) if fields.NAME.fullmatch(key)]
    for field in found:
        if field not in right:
            complain(field, f"{field.name} is no name of a signal", fields.WRITE_NAME, "range")
    return right


def _signal(field: Field, label: str) -> Source | None:
    """Read one signal; None: it is so wrong that nothing can be made of it."""
    if not isinstance(field.value, Mapping):
        complain(field, f"{field.name} is {fields.shown(field.value)}, not a mapping", "give it a kind", "type")
        return None
    word = fields.choice(needed(field, "kind", f"add kind: {fields.listed(WORDS)}"), WORDS)
    if word is None:
        return None
    signal = opened(field, ("kind", "unit", *QUERIES[word]))
    read = template.gauge if word == "gauge" else template.counter
    parts = {key: read(optional(signal, key)) for key in QUERIES[word] if key in field.value}
    _complete(field, word, parts)
    for key, query in parts.items():
        labels = template.labels(query, template.REVISION)
        if label and labels and label not in labels:
            wrong = fields.child(field, key)
            message = f"{wrong.name} matches {{{{ revision }}}} by {fields.listed(sorted(labels))}, not by {label}"
            complain(wrong, message, "make the query and revisionLabel the same", "label")
    unit, scale = _unit(field, word)
    return Source(kind=Kind(word), parts=parts, unit=unit, scale=scale)


def _complete(field: Field, word: Word, parts: Mapping[str, str]) -> None:
    """Check that a signal has the queries of its kind, and that each means something of its own."""
    if word != "counter":
        needed(field, QUERIES[word][0], f"add the query of its {QUERIES[word][0]}")
        return
    if len(parts) != 2:
        remedy = "give two of total, bad and good"
        complain(field, f"{field.name} has {fields.listed(list(parts)) or 'no queries'}", remedy, "missing")
    elif len(set(parts.values())) < 2:
        first, second = parts
        complain(field, f"{field.name}.{first} and {second} are the same query", "correct one of them", "duplicate")


def _unit(field: Field, word: Word) -> tuple[str, float]:
    """Read the unit; of counters it is known, since what is judged is the share of the bad ones."""
    if word in ("counter", "drift"):
        if (said := optional(field, "unit")) is not None:
            complain(said, f"{said.name} is for gauges and histograms", "remove it", "conflict")
        return UNITS["ratio" if word == "counter" else "none"]
    found = fields.choice(needed(field, "unit", f"add unit: {fields.listed(tuple(UNITS))}"), tuple(UNITS))
    if found == "ratio" and word == "histogram":
        complain(field, f"{field.name} is a histogram of ratios", "write unit: none", "conflict")
    return UNITS[found or "none"]


def _reachable(entry: Field, signal: str, found: Source, before: tuple[Source, ...]) -> None:
    """Complain about what would never be chosen, and about a second meaning of one signal."""
    for other in before:
        if found.detect and found.detect == other.detect:
            message = f"{entry.name}.{signal} is never chosen, since {other.name} is detected by the same query"
            complain(entry, message, "tell them apart, or remove one", "order")
        if (found.kind, found.unit) != (other.kind, other.unit):
            message = f"{entry.name}.{signal} is {_meaning(found)}, and {_meaning(other)} in {other.name}"
            complain(entry, message, "give one of them another name", "meaning")


def _meaning(source: Source) -> str:
    """Say what a signal is, in words."""
    return f"a {source.kind.value} of {NUMBERS[source.unit]}"


# -- giving metrics their sources ------------------------------------------------------------------------------------


def resolve(policy: Policy, packs: Mapping[str, Pack | Invalid]) -> Policy:
    """Give every metric its sources; raise one Invalid with everything that does not fit."""
    metrics: list[Metric] = []
    wrong: list[Invalid] = []
    for metric in policy.metrics:
        try:
            found = replace(metric, sources=lookup(metric, packs))
        except Invalid as error:
            broken = error.with_traceback(None)
            wrong += [] if broken in wrong else [broken]
            continue
        metrics.append(found)
        if metric.pack:
            wrong += _unfit(found) or _hasty(policy, found)
    if wrong:
        raise joined(wrong)
    return replace(policy, metrics=tuple(metrics))


def _hasty(policy: Policy, metric: Metric) -> list[Invalid]:
    """Say that a policy's patience ends before a metric's first evidence: that it is a gauge is known here only."""
    message = hasty(metric, policy.patience, policy.timing.block) if policy.on_silence is Exhausted.ABORT else ""
    return [Invalid(message, code="conflict", remedy=HAVE_PATIENCE)] if message else []


def lookup(metric: Metric, packs: Mapping[str, Pack | Invalid]) -> tuple[Source, ...]:
    """Find the sources of a metric, in the order in which they are tried; raise Invalid where there is none.

    A pack that cannot be read is the complaint of whoever needs it: a signal without a pack's name needs them all.
    """
    if not metric.pack:
        return metric.sources
    name, _, signal = metric.pack.rpartition("/")
    if not name:
        order = sorted(packs, key=lambda each: (PREFERRED.index(each) if each in PREFERRED else -1, each))
        found = tuple(source for each in order for source in _readable(packs[each]).signals.get(signal, ()))
        if not found:
            known = sorted({each for pack in packs.values() for each in _readable(pack).signals})
            raise _no(metric, f"no pack has a signal {signal}", known)
        return found
    if name not in packs:
        raise _no(metric, f"there is no pack {name}", sorted(packs))
    pack = _readable(packs[name])
    if signal not in pack.signals:
        raise _no(metric, f"pack {name} has no signal {signal}", sorted(pack.signals), "it has")
    return pack.signals[signal]


def _readable(pack: Pack | Invalid) -> Pack:
    if isinstance(pack, Invalid):
        raise pack
    return pack


def _no(metric: Metric, message: str, known: list[str], have: str = "there are") -> Invalid:
    return Invalid(f"metric {metric.name}: {message}", code="pack", remedy=f"{have}: {', '.join(known) or 'none'}")


def _unfit(metric: Metric) -> list[Invalid]:
    """Say in what a metric does not fit its sources, of which all must mean the same."""
    first = metric.sources[0]
    for other in metric.sources[1:]:
        if (other.kind, other.unit) != (first.kind, first.unit):
            message = (
                f"metric {metric.name}: {metric.pack} is {_meaning(first)} in pack {first.pack}, "
                f"and {_meaning(other)} in pack {other.pack}"
            )
            return [Invalid(message, code="meaning", remedy=f"name the pack: {first.pack}/{metric.pack}")]
    wrong = []
    if metric.higher_is_better and first.kind is not Kind.GAUGE:
        message = f"metric {metric.name}: more is better only of gauges, and {metric.pack} is {_meaning(first)}"
        wrong.append(Invalid(message, code="conflict", remedy="remove direction, and write max instead of min"))
    amounts = [each for each in (metric.at_least, metric.maximum, metric.minimum) if each]
    if metric.unit and metric.unit != first.unit:
        message = (
            f"metric {metric.name}: its numbers are {NUMBERS[metric.unit]}, and {metric.pack} is {_meaning(first)}"
        )
        wrong.append(Invalid(message, code="unit", remedy=WRITE[first.unit]))
    elif not metric.unit and first.unit == "ratio" and any(each > 1 for each in amounts):
        message = f"metric {metric.name}: {max(amounts):g} is no share"
        wrong.append(Invalid(message, code="range", remedy=f"write {max(amounts):g}%"))
    return wrong


# -- detection -------------------------------------------------------------------------------------------------------


def detections(policy: Policy, namespace: str, service: str) -> tuple[str, ...]:
    """Write the queries that tell which sources of a resolved policy are there, each once."""
    sources = (source for metric in policy.metrics for source in metric.sources)
    return tuple(dict.fromkeys(_detection(source, namespace, service) for source in sources if source.detect))


def chosen(metric: Metric, present: Collection[str], namespace: str, service: str) -> Source | None:
    """Choose the first source that is there; ``present`` are the detections that returned a series; None: none is."""
    for source in metric.sources:
        if not source.detect or _detection(source, namespace, service) in present:
            return source
    return None


def _detection(source: Source, namespace: str, service: str) -> str:
    return render(source.detect, {template.NAMESPACE: namespace, template.SERVICE: service})
