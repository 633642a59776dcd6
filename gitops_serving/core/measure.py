"""What is measured, and what came of it: signals and their sources, queries and answers, verdicts.

Frozen values, as those in `model`; nothing in this file acts.  A rate is a share of 1, a
latency is in seconds, a duration is a ``timedelta``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Outcome(Enum):
    """What the measurements of one rollout say now."""

    PASS = "pass"  # noqa: S105 -- an outcome, no password
    SILENT = "silent"  # Prometheus answers, and there is too little to judge
    BLIND = "blind"  # Prometheus does not answer: our fault, never the canary's
    FAIL = "fail"


class Kind(Enum):
    """What a signal is, and so how it is judged."""

    COUNTER = "counter"  # requests, and those among them that were bad
    HISTOGRAM = "histogram"  # requests by the bucket they fell into
    GAUGE = "gauge"  # a number at any instant
    DRIFT = "drift"  # a histogram of predictions: that it changes is worth a look, and never an abort


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One way to read a signal: PromQL templates of raw counters, or of a gauge, for one revision."""

    kind: Kind
    parts: Mapping[str, str]  # counter: total with bad or good; histogram and drift: buckets; gauge: value
    pack: str = ""  # empty: the policy's own query
    name: str = ""  # for people: "Knative up to 1.18"
    unit: str = ""  # of what is measured, once scaled: "ratio", "seconds" or empty
    scale: float = 1.0  # of the source's own unit: 0.001 where its buckets are milliseconds
    revision_label: str = ""  # the label that tells revisions apart, for people
    detect: str = ""  # template of a query that returns something where this source is there; empty: it always is


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One signal of a policy, with what it is held against."""

    name: str
    pack: str = ""  # NAME/SIGNAL, or SIGNAL alone: whichever pack is there; empty: the policy's own query
    sources: tuple[Source, ...] = ()  # tried in order; empty until its pack is looked up
    tolerance: float | None = None  # relative to stable; None: not compared
    at_least: float = 0.0  # an absolute margin on top, in the signal's unit
    maximum: float | None = None  # an absolute limit in the signal's unit; None: none
    minimum: float | None = None  # likewise, where higher is better
    unit: str = ""  # in which its margins and limits were written: "ratio", "seconds"; empty: bare numbers, or none
    higher_is_better: bool = False
    delay: timedelta = timedelta()  # labels arrive late: for so long the signal speaks of older predictions
    enforced: bool = True  # False: a dry run

    @property
    def kind(self) -> Kind:
        """What the signal is; all its sources are of one kind."""
        return self.sources[0].kind if self.sources else Kind.GAUGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one metric says of the canary, beside stable and against its limit."""

    metric: str
    outcome: Outcome
    because: str  # the whole line: values, requests, margin, e-value, and the rule that decided
    canary: float | None = None  # None: nothing to read
    stable: float | None = None
    limit: float | None = None  # the highest value that would not count against the canary; None: could not be formed
    unit: str = ""  # "ratio", "seconds", or empty for a bare number
    requests: tuple[float, float] | None = None  # canary's and stable's behind the values
    e: float = 1.0  # evidence that the canary breaks its margin or limit
    enforced: bool = True  # False: a dry run, reported and never obeyed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all measurements say together."""

    outcome: Outcome
    because: str
    silent_for: timedelta = timedelta()  # scraped time with too little to judge; blind and held time never count
    measurements: tuple[Measurement, ...] = ()
    requests: tuple[float, float] | None = None  # canary's and stable's, since the weight arrived
    e: float = 1.0  # all enforced evidence together
    bound: float = 20.0  # what it takes to abort: one over the budget of false aborts
    blind: str = ""  # why nothing new can be seen, of a failure that stands all the same
    foresight: str = ""  # what a rollout can see at the present traffic; empty: not known
    drifting: timedelta = timedelta()  # scraped time, in all, in which nothing but a drift held it


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression over raw counters, read at ``start``, ``start + step``, ... up to ``end``."""

    name: str
    expression: str
    start: datetime
    end: datetime
    step: timedelta


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels and its samples as (Unix seconds, value), in time order."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a query returned: series, or silence with a cause; blind: Prometheus itself did not answer."""

    series: tuple[Series, ...] = ()
    cause: str = ""  # empty where there are series
    blind: bool = False
    wrong: bool = False  # the query cannot be answered as it stands: asking again will not help
    heavy: bool = False  # nor at this length: what is asked of fewer instants may be answered
    warnings: tuple[str, ...] = ()
    skew: timedelta | None = field(default=None, compare=False)  # its clock ahead of ours as it answered; None: unknown
