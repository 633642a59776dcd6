"""Generated rollouts: what Prometheus would have scraped, as the lines that `judge --jsonl` reads.

A world says what is true (traffic, noise, what is wrong with the canary); a seed says what chance makes of it.
`samples` plays both as one ``start`` and 181 ``sample`` messages: ten minutes of the baseline alone, then the steps.
The counters are cumulative, restart now and then, and a scrape in fifty is lost.  A sample's step is the one that its
increment was served in: the last sample of a step holds all of it.

Time moves in bins of one scrape.  In a bin an arm serves a Poisson number of requests; their errors come in clusters
of geometric size (calm: each alone); their latencies are log-normal.  Both arms share a slow drift of latency and
incidents; an arm has moods of its own only in the severe noise, either arm alike.  The canary is slow at first after
each new weight.

Free parameters.  The published analysis, whose table this package measures anew, gave the shape of these worlds and
what the peers did in them, but not every constant.  `INCIDENTS`, `MOODS`, `COLD` and `DRIFT_SPREAD` were fitted, by
hand, to the peers' false rollbacks in the twelve healthy worlds (mean and worst of flagger5, flagger10 and kayenta);
four other settings came no nearer.  `RESTARTS` and `DRIFT_SECONDS` are guesses.  No judge of ours took part in the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]

SCRAPE = 10.0
HISTORY = 600.0
STEP = 300.0
LOST = 0.02  # of the scrapes, of each arm by itself
RESTARTS = 0.001  # of an arm's counters, per scrape: one rollout in six sees one
SERVED_BEFORE = 3600.0  # seconds of traffic in the baseline's counters when the history begins
MEDIAN, SPREAD = 0.32 / math.exp(2.3263 * 0.5), 0.5  # log-normal with a p99 of 320 ms
SLOW_TAIL, TAIL_MEDIAN = 0.02, 0.64  # p99 x2 only: of one request in fifty, half exceed twice the old p99
TIMED_OUT, TIMEOUT_MEDIAN = 0.005, 12.0
DRIFT_SPREAD, DRIFT_SECONDS = 0.05, 150.0  # of log-latency, both arms together: an AR(1)

PROMETHEUS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
KNATIVE = tuple(
    each / 1000
    for each in (
        *(5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000),
        *(2000, 5000, 10000, 20000, 50000, 100000),
    )
)


class Noise(StrEnum):
    """How far requests of one arm resemble each other."""

    CALM = "calm"
    MODERATE = "moderate"
    SEVERE = "severe"


CLUSTER = {Noise.CALM: 1.0, Noise.MODERATE: 3.0, Noise.SEVERE: 8.0}  # mean number of errors that come together


class Traffic(StrEnum):
    """How requests arrive over minutes."""

    STEADY = "steady"
    BURSTS = "bursts"
    GROWTH = "growth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with the canary; harmless is what every sensible margin tolerates."""

    name: str
    errors_times: float = 1.0
    errors_plus: float = 0.0
    latency_times: float = 1.0
    tail: float = 0.0  # this share of the requests ...
    tail_median: float = TAIL_MEDIAN  # ... has this median latency instead
    from_step: int = 0
    harmless: bool = False


HEALTHY = Trouble(name="healthy", harmless=True)
TROUBLES = {
    each.name: each
    for each in (
        HEALTHY,
        Trouble(name="errors x2", errors_times=2),
        Trouble(name="errors x5", errors_times=5),
        Trouble(name="errors +1 pt", errors_plus=0.01),
        Trouble(name="latency +20 %", latency_times=1.2),
        Trouble(name="latency +50 %", latency_times=1.5),
        Trouble(name="p99 x2 only", tail=SLOW_TAIL),
        Trouble(name="half of the requests fail", errors_plus=0.5),
        Trouble(name="timeouts", tail=TIMED_OUT, tail_median=TIMEOUT_MEDIAN),
        Trouble(name="errors x5 from step 2", errors_times=5, from_step=2),
        Trouble(name="latency +50 % from step 2", latency_times=1.5, from_step=2),
        Trouble(name="latency +5 %, tolerable", latency_times=1.05, harmless=True),
        Trouble(name="errors x1.1, tolerable", errors_times=1.1, harmless=True),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true of a service, its traffic and its canary."""

    rps: float  # of both arms together
    noise: Noise = Noise.CALM
    trouble: Trouble = HEALTHY
    weights: tuple[int, ...] = (5, 10, 25, 50)
    baseline_errors: float = 0.002
    edges: tuple[float, ...] = PROMETHEUS
    traffic: Traffic = Traffic.STEADY

    @property
    def name(self) -> str:
        """What tells it from the world that has nothing special."""
        special = [
            *([] if self.weights == (5, 10, 25, 50) else ["weights " + "/".join(map(str, self.weights))]),
            *([] if self.baseline_errors == 0.002 else [f"{self.baseline_errors:.1%} errors before"]),
            *([] if self.edges == PROMETHEUS else [f"{len(self.edges)} buckets"]),
            *([] if self.traffic is Traffic.STEADY else [self.traffic.value]),
        ]
        return ", ".join((self.trouble.name, f"{self.rps:g} rps", self.noise.value, *special))

    @property
    def end(self) -> float:
        """When the last step is over."""
        return STEP * len(self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spells:
    """Times when something is worse than usual; heights are drawn anew for each."""

    every: float  # mean seconds between two
    shortest: float
    mean: float  # length; exponential beyond the shortest
    errors: tuple[float, float]  # added, log-uniform between
    latency: tuple[float, float]  # factor, uniform between


INCIDENTS = Spells(every=600, shortest=20, mean=80, errors=(0.02, 0.2), latency=(1.0, 1.6))
MOODS = Spells(every=400, shortest=30, mean=30, errors=(0.01, 0.1), latency=(1.0, 1.5))
COLD = (1.8, 1.3)  # factor of latency at the first request, and at each new weight; gone after 20 to 40 s


def samples(world: World, seed: int) -> Iterator[dict[str, Any]]:
    """Play a world once: the messages of one run of `judge --jsonl`."""
    rng = np.random.default_rng(seed)
    ends = np.arange(-HISTORY + SCRAPE, world.end + SCRAPE / 2, SCRAPE)
    steps = np.where(ends > 0, np.ceil(ends / STEP).astype(int) - 1, -1)
    canary, baseline = _arms(world, rng, ends, steps)
    yield {"type": "start", "run": seed}
    for at, t in enumerate([-HISTORY, *ends.tolist()]):
        step = -1 if t < 0 else max(0, int(steps[at - 1]))
        yield {
            "type": "sample",
            "answer": True,
            "sample": {
                "t": t,
                "step": step,
                "weight": 0 if step < 0 else world.weights[step],
                "le": list(world.edges),
                "canary": canary[at] if t >= 0 else None,
                "baseline": baseline[at],
            },
        }


def _arms(world: World, rng: np.random.Generator, ends: Floats, steps: Whole) -> tuple[list[Any], list[Any]]:
    """Draw what both arms served and turn it into scraped counters; the first axis below is the arm, canary first."""
    weight = np.where(steps >= 0, np.array(world.weights)[np.maximum(steps, 0)], 0) / 100
    rate = world.rps * SCRAPE * _traffic(world.traffic, rng, ends)
    requests = rng.poisson(rate * np.stack([weight, 1 - weight]))
    more_errors, slower = _weather(world.noise, rng, ends)
    slower[0] += _cold(world, rng, ends)
    sick = steps >= world.trouble.from_step
    slower[0] += math.log(world.trouble.latency_times) * sick
    p = np.full(requests.shape, world.baseline_errors)
    p[0, sick] = p[0, sick] * world.trouble.errors_times + world.trouble.errors_plus
    errors = _clustered(rng, requests, np.minimum(p + more_errors, 1.0), CLUSTER[world.noise])
    tail = np.stack([world.trouble.tail * sick, np.zeros(len(ends))])
    cells = rng.multinomial(requests, _cells(world, slower, tail))
    counts = np.concatenate([requests[..., None], errors[..., None], np.cumsum(cells, axis=2)], axis=2)
    usual = np.cumsum(_cells(world, np.zeros((1, 1)), np.zeros((1, 1)))[0, 0])
    before = world.rps * SERVED_BEFORE * np.array([1.0, world.baseline_errors, *usual])
    return _scraped(rng, counts[0], np.zeros_like(before)), _scraped(rng, counts[1], before)


def _traffic(kind: Traffic, rng: np.random.Generator, ends: Floats) -> Floats:
    """By what the mean rate is multiplied in each bin."""
    match kind:
        case Traffic.STEADY:
            return np.ones(len(ends))
        case Traffic.BURSTS:  # a third of the mean mostly, and every tenth bin seven times the mean
            return np.where(rng.random(len(ends)) < 0.1, 7.0, 1 / 3)
        case Traffic.GROWTH:
            return np.linspace(0.4, 1.6, len(ends))


def _weather(noise: Noise, rng: np.random.Generator, ends: Floats) -> tuple[Floats, Floats]:
    """What is nobody's fault: added error rates and added log-latency, (arm, bin) each."""
    keep = math.exp(-SCRAPE / DRIFT_SECONDS)
    shocks = rng.normal(size=len(ends)) * DRIFT_SPREAD
    shocks[1:] *= math.sqrt(1 - keep * keep)
    drift = np.array(list(accumulate(shocks.tolist(), lambda old, shock: old * keep + shock)))
    errors, latency = _spells(INCIDENTS, rng, ends)
    errors, latency = np.stack([errors] * 2), np.stack([latency + drift] * 2)
    if noise is Noise.SEVERE:
        for arm in (0, 1):
            more, slower = _spells(MOODS, rng, ends)
            errors[arm] += more
            latency[arm] += slower
    return errors, latency


def _spells(kind: Spells, rng: np.random.Generator, ends: Floats) -> tuple[Floats, Floats]:
    """Draw spells over the whole time: what they add to the error rate and to log-latency, bin by bin."""
    span = float(ends[-1] - ends[0]) + SCRAPE
    number = int(rng.poisson(span / kind.every))
    starts = ends[0] - SCRAPE + rng.random(number) * span
    lengths = kind.shortest + rng.exponential(max(kind.mean - kind.shortest, 1e-9), number)
    low, high = np.log(kind.errors)
    errors = np.exp(rng.uniform(low, high, number))
    latency = np.log(rng.uniform(*kind.latency, number))
    begun = np.minimum(ends - starts[:, None], starts[:, None] + lengths[:, None] - (ends - SCRAPE))
    covered = np.clip(begun / SCRAPE, 0, 1)
    return (errors[:, None] * covered).sum(0), (latency[:, None] * covered).sum(0)


def _cold(world: World, rng: np.random.Generator, ends: Floats) -> Floats:
    """Log-latency that the canary has more after each new weight, falling to nothing in 20 to 40 seconds."""
    into = ends - SCRAPE / 2
    total = np.zeros(len(ends))
    for step in range(len(world.weights)):
        since = into - step * STEP
        lasts = rng.uniform(20, 40)
        left = np.where(since > 0, np.clip(1 - since / lasts, 0, 1), 0)
        total += math.log(COLD[min(step, 1)]) * left
    return total


def _clustered(rng: np.random.Generator, requests: Whole, p: Floats, size: float) -> Whole:
    """Draw errors at rate ``p`` in clusters of geometric size; what a bin has no room for spills into the next."""
    if size == 1:
        return rng.binomial(requests, p)
    clusters = rng.poisson(requests * p / size)
    drawn = clusters + np.where(clusters > 0, rng.negative_binomial(np.maximum(clusters, 1), 1 / size), 0)
    errors = np.empty_like(requests)
    for arm, (of_arm, room) in enumerate(zip(drawn.tolist(), requests.tolist(), strict=True)):
        due = 0
        for at, (new, most) in enumerate(zip(of_arm, room, strict=True)):
            due += new
            errors[arm, at] = min(due, most)
            due -= min(due, most)
    return errors


def _cells(world: World, slower: Floats, tail: Floats) -> Floats:
    """Find the chance of each bucket, not cumulative: (..., bucket)."""
    edges = np.log(world.edges)
    usual = _normal((edges - math.log(MEDIAN) - slower[..., None]) / SPREAD)
    rare = _normal((edges - math.log(world.trouble.tail_median)) / SPREAD)
    below = usual + tail[..., None] * (rare - usual)
    ends = np.ones((*slower.shape, 1))
    return np.maximum(np.diff(np.concatenate([0 * ends, below, ends], axis=-1)), 0.0)


def _normal(z: Floats) -> Floats:
    error: Floats = _erf(z / math.sqrt(2))
    return 0.5 * (1 + error)


_erf = np.vectorize(math.erf, otypes=[float])


def _scraped(rng: np.random.Generator, counts: Whole, before: Floats) -> list[dict[str, Any] | None]:
    """Add up what was counted since the last restart, and lose some scrapes: one arm at every sample's time."""
    total = np.concatenate([np.round(before)[None].astype(np.int64), counts]).cumsum(axis=0)
    bins = np.arange(1, len(total))
    restarted = np.concatenate([[0], np.where(rng.random(len(counts)) < RESTARTS, bins, 0)])
    last = np.maximum.accumulate(restarted)
    total -= np.where(last[:, None] > 0, total[np.maximum(last - 1, 0)], 0)
    lost = rng.random(len(total)) < LOST
    return [
        None if gone else {"requests": row[0], "errors": row[1], "buckets": row[2:]}
        for gone, row in zip(lost.tolist(), total.tolist(), strict=True)
    ]
