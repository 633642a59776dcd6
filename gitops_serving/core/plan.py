"""Which queries one look needs, over which instants.

Raw counters and not rates, at instants of a grid that is anchored at the rollout's
start, from the last instant that was folded on: increments are taken per series, so a
lost scrape costs nothing, a restarted pod is seen as what it is, and the same samples
are read whenever and however often anybody looks.  The grid is as fine as Prometheus
scrapes, and its last instant lies far enough back that no scrape can still be missing.

One more query is the witness: when did Prometheus scrape anything at all?  It tells a
quiet canary from an outage of the monitoring, and is asked before a rollout starts too,
since none starts blind.  A survey finds out beforehand which packs' series are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Protocol

from . import pack
from .accounts import ARMS
from .blocks import HISTORY, Timings
from .evidence import Question, Terms
from .measure import Kind, Query
from .model import UNREADABLE
from .tracks import Margin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .measure import Metric, Reading, Source
    from .model import Live, Policy, Rollout, Timing

WITNESS = "scraped"
HISTORY_OF_STABLE = timedelta(minutes=10)  # before the rollout: what stable is like
MOST_POINTS = 100  # of one query: an answer about a thousand series still fits; what is left is asked after it
LATEST = timedelta(seconds=10)  # Prometheus's usual time-out: until then a scrape may still arrive
USUAL = timedelta(seconds=15)  # between two scrapes, where nothing tells
INTERVALS = tuple(timedelta(seconds=s) for s in (1, 2, 5, 10, 15, 20, 30, 60))  # that people choose
WINDOWS = (  # in which scrapes are counted, with how many are enough to tell: a young Prometheus has no long past
    (timedelta(seconds=10), 3),
    (timedelta(minutes=1), 3),
    (timedelta(minutes=5), 1),
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is in Prometheus, found out beforehand."""

    present: frozenset[str] = frozenset()  # expressions of detection that were answered
    interval: timedelta = USUAL  # between two scrapes of what is scraped most often
    slowest: timedelta = USUAL  # likewise, of what is scraped least often: it may be what is measured
    refused: Mapping[str, str] = field(default_factory=dict)  # by detection that cannot be evaluated: why


def survey_queries(policy: Policy, service: str, start: datetime, now: datetime) -> tuple[Query, ...]:
    """Ask which sources are there, and how often Prometheus scrapes.

    Both are asked of the rollout's start, where no scrape can be missing any more, so that the answer is the same
    whoever asks and when; a source may also have come since.
    """
    start = min(start, now) - LATEST  # a damaged record may hold any instant
    counted = (
        Query(
            name=_interval(most, window),
            expression=f"{most}(count_over_time(up[{_seconds(window)}]))",
            start=start,
            end=start,
            step=USUAL,
        )
        for window, _ in WINDOWS
        for most in ("max", "min")
    )
    return (
        *counted,
        *(
            Query(name=each, expression=each, start=start, end=now, step=max(now - start, INTERVALS[0]))  # both ends
            for each in pack.detections(policy, *service.split("/"))
        ),
    )


def surveyed(readings: Mapping[str, Reading]) -> Survey:
    """Read a survey; where scrapes are lost or few, the interval is the one that people had in mind."""
    counts = {window: _told(readings, "max", window) for window, _ in WINDOWS}
    asked = {_interval(most, window) for window in counts for most in ("max", "min")}
    found = {name: reading for name, reading in readings.items() if name not in asked}
    window = next((window for window, enough in WINDOWS if counts[window] >= enough), None)
    fastest = window / counts[window] if window else USUAL
    fewest = _told(readings, "min", window) if window else 0.0
    return Survey(
        present=frozenset(name for name, reading in found.items() if reading.series),
        interval=_usual(fastest),
        slowest=_usual(window / fewest if window and fewest else fastest),
        refused={name: reading.cause for name, reading in found.items() if reading.wrong},
    )


def _usual(between: timedelta) -> timedelta:
    """Find the interval that people had in mind."""
    return min(INTERVALS, key=lambda usual: abs(usual - between))


def _told(readings: Mapping[str, Reading], most: str, window: timedelta) -> float:
    reading = readings.get(_interval(most, window))
    return max((value for series in reading.series for _, value in series.samples), default=0.0) if reading else 0.0


def _interval(most: str, window: timedelta) -> str:
    return f"interval/{most}/{_seconds(window)}"


class Progress(Protocol):
    """How far evidence has been gathered, and what it is of."""

    @property
    def key(self) -> tuple[object, ...]:
        """What it is of."""
        ...

    @property
    def until(self) -> int:
        """The last instant of the grid that is in it."""
        ...


@dataclass(frozen=True, slots=True)
class Signal:
    """What a metric is read from: one source, and the name under which its queries go."""

    key: str
    source: Source

    @property
    def asked(self) -> dict[tuple[str, str], str]:
        """The names of its queries, by part and revision."""
        return {(part, arm): f"{self.key}/{part}/{arm}" for part in self.source.parts for arm in ARMS}


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a metric has no signal."""

    cause: str
    refused: bool = False  # Prometheus rejects the detection, which somebody must correct


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one look asks, and how to read the answers."""

    queries: tuple[Query, ...] = ()
    origin: datetime | None = None  # the rollout's start, or of the history before it; None: nothing is measured
    step: timedelta = INTERVALS[0]  # of the grid
    lag: timedelta = LATEST  # how far back the last instant is, so that no scrape can still be missing there
    first: int = 0  # instant of the grid, counted from the origin, that is not folded yet
    last: int = -1  # the last one that can be read
    every: int = 1  # how many instants from one that is read to the next
    behind: int = 0  # how many more there are than one look may read
    steps: tuple[float, ...] = ()  # seconds after the origin at which each weight was given
    signals: Mapping[str, Signal] = field(default_factory=dict)  # by metric
    wrong: Mapping[str, str] = field(default_factory=dict)  # by metric: why it cannot be read
    absent: frozenset[str] = frozenset()  # metrics of those whose sources are not there, and may yet come
    terms: Terms | None = None
    key: tuple[object, ...] = ()  # what the evidence is of; another key, other evidence

    def blinding(self, readings: Mapping[str, Reading]) -> str:
        """Say why nothing can be seen; empty: all was answered but for dry runs, which keep nobody else waiting."""
        obeyed = {question.name for question in self.terms.questions if question.enforced} if self.terms else set()
        needed, dry = set[str](), set[str]()
        for name, signal in self.signals.items():
            (needed if name in obeyed else dry).update(signal.asked.values())
        causes = (reading.cause for name, reading in readings.items() if reading.blind and name not in dry - needed)
        return next(causes, "")

    @property
    def instants(self) -> range:
        """The instants at which counters are read, which are the same in however many portions."""
        return range(_up(self.first, self.every), self.last + 1, self.every)


def plan(
    rollout: Rollout,
    policy: Policy | None,
    live: Live,
    survey: Survey,
    *,
    now: datetime,
    folded: Progress | None,
    most: int = MOST_POINTS,
) -> Plan:
    """Write the queries of one service, of at most so many instants; none where nothing is pending or on trial."""
    canary, stable = rollout.canary, rollout.stable
    if stable is None or (canary is None and rollout.wanted in (stable.revision, UNREADABLE)):
        return Plan()
    if policy is None or live.rolled is None or live.baseline != stable.revision:
        return Plan(queries=(_witness(now, now, USUAL, survey),))
    if canary is None:
        scene = Scene(service=rollout.service, policy=policy, survey=survey, stable=live.rolled)
        origin = now - lag(survey) + grid(policy, survey)  # as if it began just now
        return written(scene, origin, (), now=now, folded=folded, most=most)
    name = live.names.get(canary.label)
    if name is None or canary.weight == 100:
        return Plan(queries=(_witness(now, now, USUAL, survey),))
    scene = Scene(service=rollout.service, policy=policy, survey=survey, stable=live.rolled, canary=name)
    given = (*(past.since for past in canary.past), canary.since)
    steps = tuple((since - canary.started).total_seconds() for since in given)
    return written(scene, canary.started, steps, now=now, folded=folded, most=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who is measured, by which policy, in which Prometheus."""

    service: str  # namespace/name
    policy: Policy
    survey: Survey
    stable: str  # the cluster's name of its revision
    canary: str = ""  # likewise; empty: there is none yet

    @property
    def signals(self) -> dict[str, Signal | Missing]:
        """By metric: its signal, or why there is none."""
        return {metric.name: self._signal(metric) for metric in self.policy.metrics}

    def _signal(self, metric: Metric) -> Signal | Missing:
        namespace, name = self.service.split("/")
        source = pack.chosen(metric, self.survey.present, namespace, name)
        if source is None:
            detections = pack.detections(replace(self.policy, metrics=(metric,)), namespace, name)
            if refused := next((self.survey.refused[each] for each in detections if each in self.survey.refused), ""):
                return Missing(f"whether its sources are there cannot be found out: {refused}", refused=True)
            tried = "; ".join(dict.fromkeys(f"{each.pack} ({each.name})" for each in metric.sources))
            return Missing(f"none of its sources is in Prometheus for namespace {namespace}: {tried}")
        return Signal(f"{source.pack}/{metric.pack.rsplit('/')[-1]}" if source.pack else metric.name, source)

    def query(self, template: str, arm: str, window: timedelta) -> str:
        """Fill in a template for one revision."""
        namespace, name = self.service.split("/")
        revision = self.canary if arm == "canary" else self.stable
        values = {"revision": revision, "baseline": self.stable, "namespace": namespace, "service": name}
        return _filled(template, (*values.items(), ("window", _seconds(window))))


@lru_cache(maxsize=4096)
def _filled(template: str, values: tuple[tuple[str, str], ...]) -> str:
    """Fill in a template; the same few are asked for at every look."""
    return pack.render(template, dict(values))


def written(
    scene: Scene,
    origin: datetime,
    steps: tuple[float, ...],
    *,
    now: datetime,
    folded: Progress | None = None,
    most: int = MOST_POINTS,
) -> Plan:
    """Write the queries about one or two revisions, from where the folding has got to."""
    policy = scene.policy
    step = grid(policy, scene.survey)
    found = scene.signals
    signals = {name: each for name, each in found.items() if isinstance(each, Signal)}
    missing = {name: each for name, each in found.items() if isinstance(each, Missing)}
    key = (scene.canary, scene.stable, origin, steps[:1], policy.digest, step, tuple(signals.items()))
    block = max(ceil(policy.timing.block / step), 1)
    before = ceil(HISTORY_OF_STABLE / step / block) * block
    first = folded.until + 1 if folded is not None and folded.key == key else -before
    newest = floor((now - lag(scene.survey) - origin) / step)
    every, last = 1, min(newest, first + most - 1)
    if first < 0:  # of stable alone, one look a block will do
        every, last = block, min(newest, -1, _up(first, block) + (most - 1) * block)
    asked = Plan(
        origin=origin,
        step=step,
        lag=lag(scene.survey),
        first=first,
        last=last,
        every=every,
        behind=max(newest - last, 0),
        steps=steps,
        signals=signals,
        wrong={name: each.cause for name, each in missing.items()},
        absent=frozenset(name for name, each in missing.items() if not each.refused),
        terms=terms(policy),
        key=key,
    )
    witness = _witness(origin + step * min(first, last), origin + step * last, step, scene.survey)
    about = {query.name: query for query in _about(scene, asked)}
    return replace(asked, queries=(witness, *about.values()))


def _up(number: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-number // step) * step


def _about(scene: Scene, asked: Plan) -> list[Query]:
    """Ask about every signal once, for every revision; gauges at wider distances."""
    assert asked.origin is not None
    origin, step = asked.origin, asked.step
    arms = ARMS if scene.canary and asked.first >= 0 else ARMS[1:]
    queries: list[Query] = []
    for signal in asked.signals.values():
        wide = gauge_every(scene.policy, scene.survey, step) if signal.source.kind is Kind.GAUGE else asked.every
        begin, end = _up(asked.first, wide), asked.last // wide * wide
        if begin > end:
            continue
        queries += [
            Query(
                name=signal.asked[part, arm],
                expression=scene.query(template, arm, step * wide),
                start=origin + step * begin,
                end=origin + step * end,
                step=step * wide,
            )
            for part, template in signal.source.parts.items()
            for arm in arms
        ]
    return queries


def grid(policy: Policy, survey: Survey) -> timedelta:
    """Look as often as Prometheus scrapes, and three times a block at least."""
    third = timedelta(seconds=policy.timing.block // timedelta(seconds=3))
    return max(min(survey.interval, third), INTERVALS[0])


def gauge_every(policy: Policy, survey: Survey, step: timedelta) -> int:
    """How many instants of the grid are one window of a gauge.

    Three blocks, so that windows are nearly independent; and four scrapes of whatever is scraped, because a rate over
    fewer than two has no value, and one may be lost.
    """
    return max(ceil(max(3 * policy.timing.block, 4 * survey.slowest) / step), 1)


def terms(policy: Policy) -> Terms:
    """Put a policy's metrics as questions."""
    return Terms(
        questions=tuple(_question(metric) for metric in policy.metrics),
        timings=_timings(policy.timing),
        bound=1 / policy.false_abort,
        min_requests=policy.min_requests,
    )


def _question(metric: Metric) -> Question:
    limit = metric.minimum if metric.higher_is_better else metric.maximum
    return Question(
        name=metric.name,
        kind=metric.kind,
        margin=Margin(tolerance=metric.tolerance, at_least=metric.at_least, limit=limit),
        sign=-1.0 if metric.higher_is_better else 1.0,
        delay=metric.delay.total_seconds(),
        enforced=metric.enforced,
    )


def _timings(timing: Timing) -> Timings:
    return Timings(
        block=timing.block.total_seconds(),
        warm_up=timing.warm_up.total_seconds(),
        warm_up_after_shift=timing.warm_up_after_shift.total_seconds(),
    )


def step_at(steps: tuple[float, ...], t: float) -> int:
    """The step at an instant; HISTORY: before the first."""
    return sum(given <= t for given in steps) - 1 if steps else HISTORY


def lag(survey: Survey) -> timedelta:
    """Say for how long a scrape may still be under way: no longer than the next one takes to come, whosever it is."""
    return min(max(survey.interval, survey.slowest), LATEST)


def lookback(step: timedelta, survey: Survey) -> timedelta:
    """Say how long a scrape goes on being seen by the witness: half as long again as the next one takes to come.

    It must not be longer: what is seen after the last scrape of an outage would count as the canary's silence.
    """
    return max(step, survey.interval) * 3 / 2


def _witness(start: datetime, end: datetime, step: timedelta, survey: Survey) -> Query:
    """Ask at which instants anything had just been scraped."""
    expression = f"max(count_over_time(up[{_seconds(lookback(step, survey))}]))"
    return Query(name=WITNESS, expression=expression, start=start, end=end, step=step)


def _seconds(span: timedelta) -> str:
    return f"{ceil(span.total_seconds())}s"
