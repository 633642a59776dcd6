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
from gitops_serving.core.plan import Plan, Survey, plan, survey_queries, surveyed
from gitops_serving.core.samples import gather

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from gitops_serving.core.measure import Reading, Verdict
    from gitops_serving.core.model import Live, Policy, Rollout
    from gitops_serving.core.samples import Folded
    from gitops_serving.ports import Metrics

FRESH = timedelta(minutes=2)  # a survey; what is scraped changes seldom, and a rollout can wait for it


@dataclass(frozen=True, slots=True)
class Memory:
    """What a look may leave to the next one."""

    folded: dict[str, Folded] = field(default_factory=dict)  # by service
    surveys: dict[tuple[str, str], tuple[datetime, Survey]] = field(default_factory=dict)  # by policy and service

    def keep(self, services: Collection[str], now: datetime) -> None:
        """Forget the evidence of services that are not watched any more, and surveys that are old."""
        for gone in self.folded.keys() - set(services):
            self.folded.pop(gone, None)
        for old in [key for key, (at, _) in self.surveys.items() if not at <= now < at + 2 * FRESH]:
            self.surveys.pop(old, None)


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
    """Gather the evidence about one service and judge it."""
    before = memory.folded.get(rollout.service)
    survey = _surveyed(metrics, memory, rollout, policy, now)
    planned = plan(rollout, policy, live, survey, now=now, folded=before)
    readings = metrics.read(planned.queries) if planned.queries else {}
    folded = gather(planned, readings, before)
    if folded is not None and rollout.canary is not None:
        memory.folded[rollout.service] = folded
    verdict = judge(policy, planned, readings, folded, now=now, held=rollout.held_for)
    return Weighed(planned, readings, folded, verdict)


def _surveyed(metrics: Metrics, memory: Memory, rollout: Rollout, policy: Policy | None, now: datetime) -> Survey:
    """Find out what is in Prometheus, once in a while, and only where something is to be measured."""
    measured = rollout.stable is not None and (rollout.canary is not None or rollout.wanted != rollout.stable.revision)
    if policy is None or not measured:
        return Survey()
    key = (policy.digest, rollout.service)
    at, known = memory.surveys.get(key, (None, Survey()))
    if at is not None and at <= now < at + FRESH:
        return known
    readings = metrics.read(survey_queries(policy, rollout.service, now))
    if any(reading.blind for reading in readings.values()):
        return known
    survey = surveyed(readings)
    memory.surveys[key] = (now, survey)
    return survey
