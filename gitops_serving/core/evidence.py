"""The evidence of one rollout: moments in time, folded one after the other into wealth.

All metrics share one budget.  Each has an e-value, their weighted mean is the
rollout's, and the chance that a revision as good as its margins allow ever lifts it to
``1 / false_abort`` is at most ``false_abort``, over all metrics, steps and looks
together.  Reaching it once is final.

Folding is a pure function of the moments: the same moments give the same evidence,
whenever and in however many portions they are folded.  So evidence may be kept from
look to look, and thrown away at any time.  Where moments come from, and what follows
from evidence, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import TYPE_CHECKING

from .blocks import HISTORY, Counts, Cutter, Timings
from .gauges import FEWEST, Gauge
from .measure import Kind
from .tracks import Drift, Errors, Gross, Latency, Limit, Margin, chosen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .blocks import Block

    Track = Errors | Latency | Gauge | Drift
    Pair = tuple[Counts | None, Counts | None]

SMELLS = 4.0  # evidence at which nothing rises any more, though it proves nothing yet
SMELLS_ALONE = 3.9  # likewise of one metric, which others must not outweigh; a first block of 20 requests can reach it
GROSS_SHARE = 0.2  # of the budget, for plain breakage, where errors are compared
NOT_SEEN = float("-inf")
NO_SILENCE = {"edges", "beyond", "few"}  # lacks that no patience ends: time does not change them, or more is coming
FRESH = 120.0  # seconds for which what came in last speaks of now, whatever the distances
BLOCKS_MISSED, WINDOWS_MISSED = 4, 2  # usual distances after which it does no longer
LENGTHS = 9  # distances, by whose middle the usual one is known
WINDOW = 3  # blocks are a window of a gauge
LOOKS = 3  # looks of a block at plain breakage, and four of them can never be proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one metric asks of the canary."""

    name: str
    kind: Kind
    margin: Margin
    sign: float = 1.0  # of a gauge: -1 where higher is better
    delay: float = 0.0  # seconds for which the signal speaks of what was before
    enforced: bool = True

    @property
    def decides(self) -> bool:
        """Whether it may end a rollout."""
        return self.enforced and self.kind is not Kind.DRIFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All questions of a policy, and the terms on which they are answered."""

    questions: tuple[Question, ...]
    timings: Timings = field(default_factory=Timings)
    bound: float = 20.0  # one over the budget of false aborts
    min_requests: int = 20  # of the canary, in a step, before anything may rise

    @property
    def breakage(self) -> str | None:
        """Name the question in whose counters plain breakage is looked for; None: errors are not compared."""
        compared = (q for q in self.questions if q.kind is Kind.COUNTER and q.decides)
        return next((q.name for q in compared if q.margin.tolerance is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What could be seen at one instant; the instants rise."""

    t: float  # seconds since the rollout began
    step: int  # of the policy, from 0; HISTORY: stable alone
    pairs: dict[str, Pair] = field(default_factory=dict)  # by question: canary's and stable's counters; None: lost
    edges: dict[str, tuple[float, ...]] = field(default_factory=dict)  # by question: those of its histogram
    gauges: dict[str, tuple[float, float]] = field(default_factory=dict)  # by question: canary's and stable's
    scraped: bool = True  # whether Prometheus scraped anything then


@dataclass(frozen=True, slots=True)
class Tally:
    """What a question has been answered with, warm-ups left out."""

    blocks: int = 0  # in the present step
    requests: tuple[float, float] = (0.0, 0.0)  # in the present step, canary's and stable's
    last: float = NOT_SEEN  # when the last block or window ended
    lengths: tuple[float, ...] = ()  # of the newest in the present step: from the end of one to that of the next
    canary: Counts | None = None  # since the rollout began
    stable: Counts | None = None

    def after(self, block: Block) -> Tally:
        """Count a block."""
        requests = (self.requests[0] + block.canary.requests, self.requests[1] + block.stable.requests)
        canary = block.canary if self.canary is None else self.canary + block.canary
        stable = block.stable if self.stable is None else self.stable + block.stable
        return replace(self.seen(block.end, block.end - block.start), requests=requests, canary=canary, stable=stable)

    def seen(self, t: float, length: float | None) -> Tally:
        """Take note of a block or a window that ended, so long after the one before; None: it is the first."""
        lengths = self.lengths if length is None else (*self.lengths, length)[-LENGTHS:]
        return replace(self, blocks=self.blocks + 1, last=t, lengths=lengths)

    @property
    def stepped(self) -> Tally:
        """What is left of it in another step."""
        return replace(self, blocks=0, requests=(0.0, 0.0), lengths=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where the folding has got to."""

    terms: Terms
    t: float = NOT_SEEN  # the last moment
    step: int = HISTORY
    opens: float = float("inf")  # when the present step's warm-up is over
    served: float | None = None  # the first moment at which the canary had been asked anything
    scraped: float = NOT_SEEN  # the last moment at which Prometheus had scraped
    quiet: float = 0.0  # seconds of scraped time, since this step could last have been passed
    drifting: float = 0.0  # seconds of scraped time, in all, in which drift was all that held
    cutters: Mapping[str, Cutter] = field(default_factory=dict)
    tracks: Mapping[str, Track] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    gross: Gross | None = None
    looked: Pair = (None, None)  # the counters behind `gross`, as last looked at
    looked_at: float = NOT_SEEN
    failed: Evidence | None = None  # as it stood when it first reached the bound; final

    @property
    def total(self) -> float:
        """The e-value of everything that may end the rollout."""
        return sum(share * value for _, share, value in shares(self))


def begun(terms: Terms) -> Evidence:
    """Start without any evidence."""
    return Evidence(
        terms=terms,
        cutters={
            q.name: Cutter(timings=terms.timings.later(q.delay)) for q in terms.questions if q.kind is not Kind.GAUGE
        },
        tracks={q.name: _track(q) for q in terms.questions},
        tallies={q.name: Tally() for q in terms.questions},
        gross=None if terms.breakage is None else Gross(),
    )


def _track(question: Question) -> Track:
    margin = question.margin
    limit = None if margin.limit is None else Limit(rate=margin.limit)
    match question.kind:
        case Kind.COUNTER:
            wealth = None if margin.tolerance is None else Errors(margin=margin).wealth
            return Errors(margin=margin, wealth=wealth, limit=limit)
        case Kind.HISTOGRAM:
            return Latency(margin=margin)
        case Kind.GAUGE:
            return Gauge(margin=margin, sign=question.sign)
        case Kind.DRIFT:
            return Drift()


def shares(evidence: Evidence) -> list[tuple[str, float, float]]:
    """List what may end the rollout: name, share of the budget, e-value; the shares add up to 1."""
    deciding = [q for q in evidence.terms.questions if q.decides]
    rest = 1.0 if evidence.gross is None else 1 - GROSS_SHARE
    found = [(q.name, rest / len(deciding), value(evidence, q.name)) for q in deciding]
    if evidence.gross is not None:
        found.append(("breakage", GROSS_SHARE, evidence.gross.wealth.value))
    return found


def value(evidence: Evidence, name: str) -> float:
    """The e-value of one metric: the mean over what it asks."""
    values = evidence.tracks[name].values
    return sum(values) / len(values) if values else 1.0


def fold(evidence: Evidence, moments: Sequence[Moment]) -> Evidence:
    """Fold moments into evidence, in their order."""
    for moment in moments:
        evidence = _after(evidence, moment)
    return evidence


def _after(evidence: Evidence, moment: Moment) -> Evidence:
    """Fold one moment."""
    passed = moment.t - evidence.t if evidence.t != NOT_SEEN else 0.0
    if moment.step != evidence.step:
        evidence = _stepped(evidence, moment)
    served = evidence.served
    if served is None and moment.step != HISTORY and _answered(moment):
        served = moment.t  # until now it was starting, which is no silence
        evidence = replace(evidence, opens=served + evidence.terms.timings.warm_up, quiet=0.0)
    gross, looked, looked_at = _looked(evidence, moment, served)
    cut = _cut(evidence, moment, HISTORY if served is None else moment.step)
    news = cut.news or gross is not evidence.gross
    if moment.gauges and served is not None and moment.t >= evidence.opens:
        news = _gauged(evidence, moment, cut) or news
    after = Evidence(
        terms=evidence.terms,
        t=moment.t,
        step=evidence.step,
        opens=evidence.opens,
        served=served,
        scraped=moment.t if moment.scraped else evidence.scraped,
        quiet=evidence.quiet,
        drifting=evidence.drifting,
        cutters=cut.cutters,
        tracks=cut.tracks,
        tallies=cut.tallies,
        gross=gross,
        looked=looked,
        looked_at=looked_at,
        failed=evidence.failed,
    )
    failed, quiet, drifting = after.failed, after.quiet, after.drifting
    if failed is None and news and after.total >= after.terms.bound:
        failed = after
    if moment.step != HISTORY and moment.t >= after.opens:
        lacks, scraped = lacking(after), passed if moment.scraped else 0.0
        quiet = quiet + scraped if _silent(after, lacks) else 0.0
        drifting += scraped if lacks and _holds(after) >= lacks.keys() else 0.0
    same = failed is after.failed and quiet == after.quiet and drifting == after.drifting
    return after if same else replace(after, failed=failed, quiet=quiet, drifting=drifting)


def _answered(moment: Moment) -> bool:
    """Whether the canary has been asked anything by now."""
    return bool(moment.gauges) or any(c is not None and c.requests > 0 for c, _ in moment.pairs.values())


def _stepped(evidence: Evidence, moment: Moment) -> Evidence:
    """Begin a step: what was counted in the one before says nothing about it."""
    timings = evidence.terms.timings
    warm_up = timings.warm_up if moment.step == 0 else timings.warm_up_after_shift
    tallies = {name: tally.stepped for name, tally in evidence.tallies.items()}
    return replace(evidence, step=moment.step, opens=moment.t + warm_up, quiet=0.0, tallies=tallies)


def _looked(evidence: Evidence, moment: Moment, served: float | None) -> tuple[Gross | None, Pair, float]:
    """Bet on plain breakage, between two looks at which both answered.

    The looks are a third of a block apart at least, however often Prometheus scrapes: what happens within the time of
    one block falls into four of them at most, and may multiply the lane's evidence by less than what is proof.
    """
    gross, before = evidence.gross, (evidence.looked, evidence.looked_at)
    canary, stable = moment.pairs.get(evidence.terms.breakage or "", (None, None))
    if gross is None or stable is None or (canary is None and served is not None):
        return gross, *before
    if moment.t - evidence.looked_at < evidence.terms.timings.block // LOOKS:
        return gross, *before
    before_canary, before_stable = evidence.looked
    if before_stable is not None:
        gained = stable.since(before_stable)
        if canary is None:
            gross = replace(gross, memory=gross.memory.after(gained.sane))
        else:
            gross = gross.after(canary if before_canary is None else canary.since(before_canary), gained)
    return gross, (canary, stable), moment.t


@dataclass(slots=True)
class _Cut:
    """What a moment makes of cutters, tracks and tallies; put together while it is folded, and then left alone."""

    cutters: dict[str, Cutter]
    tracks: dict[str, Track]
    tallies: dict[str, Tally]
    news: bool = False  # whether anything was bet


def _cut(evidence: Evidence, moment: Moment, step: int) -> _Cut:
    """Cut counters into blocks, and bet on those that closed."""
    cut = _Cut(dict(evidence.cutters), dict(evidence.tracks), dict(evidence.tallies))
    for name, edges in moment.edges.items():
        track = cut.tracks[name]
        if isinstance(track, Latency) and not track.edges:
            cut.tracks[name] = track.over(edges)
    for name, cutter in evidence.cutters.items():
        canary, stable = moment.pairs.get(name, (None, None))
        cut.cutters[name], blocks = cutter.take(moment.t, step, canary, stable)
        for block in blocks:
            track = cut.tracks[name]
            assert not isinstance(track, Gauge)
            cut.tracks[name] = track.after(block)
            if block.step != HISTORY:
                cut.news = True
                after = cut.tallies[name].after(block)
                cut.tallies[name] = after if block.step == step else after.stepped
    return cut


def _gauged(evidence: Evidence, moment: Moment, cut: _Cut) -> bool:
    """Look at gauges, those whose labels arrive late only when they do; tells whether any was looked at."""
    news = False
    for question in evidence.terms.questions:
        pair = moment.gauges.get(question.name)
        if pair is None or moment.t < evidence.opens + question.delay:  # until then it speaks of the weight before
            continue
        track, tally = cut.tracks[question.name], cut.tallies[question.name]
        assert isinstance(track, Gauge)
        cut.tracks[question.name] = track.after(*pair)
        cut.tallies[question.name] = tally.seen(moment.t, moment.t - tally.last if tally.blocks else None)
        news = True
    return news


def lacking(evidence: Evidence) -> Mapping[str, str]:
    """Say what each enforced metric still lacks before anything may rise; empty: nothing."""
    terms = evidence.terms
    found: dict[str, str] = {}
    for question in terms.questions:
        if question.enforced and (lack := _lack(evidence, question)):
            found[question.name] = lack
    if evidence.total >= SMELLS:
        found[""] = "smells"
    return found


def _silent(evidence: Evidence, lacks: Mapping[str, str]) -> bool:
    """Whether what is lacking is silence, which patience ends; of a drift it never is."""
    return any(lack not in NO_SILENCE for name, lack in lacks.items() if name not in _holds(evidence))


def _holds(evidence: Evidence) -> set[str]:
    """Name the questions that hold a rollout at most, and never end one."""
    return {question.name for question in evidence.terms.questions if question.kind is Kind.DRIFT}


def _lack(evidence: Evidence, question: Question) -> str:
    """Say what one metric lacks, in a word; empty: nothing."""
    tally, track, terms = evidence.tallies[question.name], evidence.tracks[question.name], evidence.terms
    if question.decides and value(evidence, question.name) >= SMELLS_ALONE:
        return "smells"
    if question.kind is Kind.DRIFT and value(evidence, question.name) >= terms.bound:
        return "drift"
    if question.kind in (Kind.GAUGE, Kind.DRIFT) and not tally.blocks:
        return "windows"
    if question.kind not in (Kind.GAUGE, Kind.DRIFT) and (tally.requests[0] < terms.min_requests or not tally.blocks):
        return "requests"
    if evidence.t - tally.last > fresh_for(evidence, question):
        return "stale"
    if isinstance(track, Gauge) and track.windows < FEWEST:  # they say nothing yet, however far apart the two are
        return "few"
    if isinstance(track, Latency) and track.margin.tolerance is not None and not track.rows:
        return "requests" if chosen(track.exceeding) else "edges"
    if isinstance(track, Latency) and track.margin.limit is not None and track.limit is None:
        return "beyond"
    limit = track if isinstance(track, Gauge) else None if isinstance(track, Drift) else track.limit
    return "limit" if limit is not None and limit.over else ""


def fresh_for(evidence: Evidence, question: Question) -> float:
    """Say for how many seconds what was counted last of a metric still speaks of now.

    Where requests are few, blocks are long, and it takes as much longer to see that no more come.  By the middle of
    the newest lengths, since an outage that is over makes one long block too.
    """
    block, lengths = evidence.terms.timings.block, evidence.tallies[question.name].lengths
    usual = median_low(lengths) if lengths else 0.0
    if question.kind is Kind.GAUGE:
        return max(WINDOWS_MISSED * max(WINDOW * block, usual), FRESH)
    return max(BLOCKS_MISSED * max(block, usual), FRESH)
