"""One service's evidence, from Prometheus to a verdict: survey, plan, read, fold, judge.

What was folded is kept from look to look, so that only what is new has to be asked for.
It is a cache and nothing else: without it the same samples are read again, in one
bounded range of queries, and give the same verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.core.judge import judge
from gitops_serving.core.measure import Outcome, Reading, Verdict
from gitops_serving.core.plan import MOST_POINTS, Plan, Survey, plan, survey_queries, surveyed
from gitops_serving.core.samples import gather

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from gitops_serving.core.model import Live, Policy, Rollout
    from gitops_serving.core.samples import Folded
    from gitops_serving.ports import Metrics

FRESH = timedelta(minutes=2)  # a survey; what is scraped changes seldom, and a rollout can wait for it
PORTIONS = 30  # of what is to be caught up with, read in one look: hours of it
SKEW = timedelta(seconds=20)  # of two clocks, that is forgiven: no more than the warm-up after a shift covers


@dataclass(frozen=True, slots=True)
class Memory:
    """What a look may leave to the next one."""

    folded: dict[str, Folded] = field(default_factory=dict)  # by service
    surveys: dict[str, Surveyed] = field(default_factory=dict)  # by service

    def keep(self, services: Collection[str]) -> None:
        """Forget services that are not watched any more."""
        for kept in (self.folded, self.surveys):
            for gone in kept.keys() - set(services):
                kept.pop(gone, None)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What was found, when, and about what."""

    about: tuple[str, datetime | None]  # the policy, and the rollout's start; None: it has none yet
    at: datetime
    survey: Survey


@dataclass(frozen=True, slots=True)
class Weighed:
    """What was asked, answered and made of it."""

    plan: Plan
    readings: Mapping[str, Reading]
    folded: Folded | None
    verdict: Verdict


def weigh(
    metrics: Metrics, memory: Memory, *, rollout: Rollout, policy: Policy | None, live: Live, now: datetime
) -> Weighed:
    """Gather the evidence about one service and judge it; what is far behind is read in several portions."""
    survey = _surveyed(metrics, memory, rollout, policy, now)
    if isinstance(survey, Reading):
        asked = Plan(queries=survey_queries(policy, rollout.service, now, now) if policy else ())
        silence = {query.name: survey for query in asked.queries}
        return Weighed(asked, silence, None, Verdict(Outcome.BLIND, survey.cause))
    folded, most, hopeless = memory.folded.get(rollout.service), MOST_POINTS, False
    for _ in range(PORTIONS):
        planned = plan(rollout, policy, live, survey, now=now, folded=folded, most=most)
        readings = on_our_clock(metrics.read(planned.queries)) if planned.queries else {}
        if any(reading.heavy for reading in readings.values()):
            if len(planned.instants) > 1 and not hopeless:
                most = len(planned.instants) // 2  # nothing is passed over: less of it is asked for
                continue
            hopeless, most = True, MOST_POINTS  # even one instant is too much
        before, folded = folded, gather(planned, readings, folded)
        if not planned.behind or folded is None or folded is before:
            break
    if rollout.canary is None:
        memory.folded.pop(rollout.service, None)  # it is over
    elif folded is not None:
        memory.folded[rollout.service] = folded
    verdict = judge(policy, planned, readings, folded, now=now, since=live.since, held=rollout.held_for)
    return Weighed(planned, readings, folded, verdict)


def on_our_clock(readings: Mapping[str, Reading]) -> Mapping[str, Reading]:
    """Take as blind what was answered by a clock that is not ours: its instants are not those of the rollout."""
    return {name: _on_our_clock(reading) for name, reading in readings.items()}


def _on_our_clock(reading: Reading) -> Reading:
    if reading.skew is None or abs(reading.skew) <= SKEW:
        return reading
    ahead = reading.skew.total_seconds()
    cause = f"Prometheus's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours; set both by NTP"
    return Reading(cause=cause, blind=True, skew=reading.skew)


def _surveyed(
    metrics: Metrics, memory: Memory, rollout: Rollout, policy: Policy | None, now: datetime
) -> Survey | Reading:
    """Find out what is in Prometheus, once in a while, and only where something is to be measured.

    Where nobody answers and nothing is known from before, the silence itself is returned.
    """
    measured = rollout.stable is not None and (rollout.canary is not None or rollout.wanted != rollout.stable.revision)
    if policy is None or not measured:
        memory.surveys.pop(rollout.service, None)
        return Survey()
    start = rollout.canary.started if rollout.canary is not None else None
    known = memory.surveys.get(rollout.service)
    if known is not None and known.about != (policy.digest, start):
        known = None
    if known is not None and known.at <= now < known.at + FRESH:
        return known.survey
    readings = on_our_clock(metrics.read(survey_queries(policy, rollout.service, min(start or now, now), now)))
    blind = next((reading for reading in readings.values() if reading.blind), None)
    if blind is not None:
        return known.survey if known is not None else blind
    survey = surveyed(readings)
    memory.surveys[rollout.service] = Surveyed((policy.digest, start), now, survey)
    return survey
