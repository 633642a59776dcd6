"""A rollout that is over, read from Prometheus as ticks read it then: survey, plan, read, moment by moment.

The same queries over the same instants, history of stable included, in portions that
Prometheus can answer; only the folding is left to whoever walks the clock.  A tick keeps
nothing of it, and nothing here decides anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitops_serving.core.backtest import Samples
from gitops_serving.core.errors import Unavailable
from gitops_serving.core.plan import MOST_POINTS, Scene, survey_queries, surveyed, written
from gitops_serving.core.samples import moments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gitops_serving.core.evidence import Moment
    from gitops_serving.core.measure import Query, Reading
    from gitops_serving.core.model import Policy
    from gitops_serving.core.past import Journey
    from gitops_serving.core.samples import Folded
    from gitops_serving.ports import Metrics

PORTIONS = 1000  # a guess: months of it; what goes on longer is no rollout


def rewind(metrics: Metrics, journey: Journey, policy: Policy, now: datetime) -> Samples | str:
    """Read the samples of a rollout, up to when it was decided; or say why there is nothing to judge by.

    Raises Unavailable where Prometheus does not answer.
    """
    if not (journey.canary and journey.stable):
        return "the ledger does not say what the cluster called its revisions; it is older than that, or too young"
    start, end = journey.started, journey.decided or now
    survey = surveyed(_read(metrics, survey_queries(policy, journey.service, start, end)))
    scene = Scene(service=journey.service, policy=policy, survey=survey, stable=journey.stable, canary=journey.canary)
    steps = tuple((each.at - start).total_seconds() for each in journey.steps)
    found: list[Moment] = []
    folded: Folded | None = None
    most = MOST_POINTS
    for _ in range(PORTIONS):
        planned = written(scene, start, steps, now=end, folded=folded, most=most)
        readings = _read(metrics, planned.queries)
        if len(planned.instants) > 1 and any(reading.heavy for reading in readings.values()):
            most = len(planned.instants) // 2  # as a tick does
            continue
        told = moments(planned, readings, folded)
        if told is None or told[0] is folded:
            break
        folded, news = told
        found += news
        if not planned.behind:
            break
    samples = Samples(
        moments=found, step=planned.step, lag=planned.lag, wrong=folded.wrong if folded is not None else planned.wrong
    )
    return _nothing(samples, journey) or samples


def _read(metrics: Metrics, queries: Sequence[Query]) -> Mapping[str, Reading]:
    """Read answers; what a tick would wait for is nothing to wait for here."""
    readings = metrics.read(queries)
    blind = next((reading.cause for reading in readings.values() if reading.blind), "")
    if blind:
        raise Unavailable(blind)
    return readings


def _nothing(samples: Samples, journey: Journey) -> str:
    """Say why samples tell nothing; empty: they do.

    A canary that nobody asked anything has no series either; that is told apart by stable's, which then are there.
    """
    during = [moment for moment in samples.moments if moment.t >= 0]
    if not any(moment.scraped for moment in during):
        return "Prometheus has nothing of it any more"
    counted = any(pair != (None, None) for moment in during for pair in moment.pairs.values())
    if counted or any(moment.gauges for moment in during) or samples.wrong:
        return ""
    return f"Prometheus has no series of {journey.canary} or {journey.stable} from then"
