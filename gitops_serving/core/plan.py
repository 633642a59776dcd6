"""Which queries the present step needs, over which window.

Raw counters and not rates: increments are taken by the judge, per series, so a
lost scrape costs nothing and a restarted pod is seen as what it is.  The window
opens when the present weight has arrived in the cluster and its warm-up is over;
older samples say nothing about this weight.

One more query is the witness: when did Prometheus scrape anything at all?  It
tells a quiet canary from an outage of the monitoring, and is asked before a
rollout starts, since none starts blind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .model import UNREADABLE, Owned, Query, Timing

if TYPE_CHECKING:
    from .model import Canary, Live, Policy, Rollout

WITNESS = "scraped"
FINEST = timedelta(seconds=1)
MOST_POINTS = 600  # of one query; a longer step is read at a wider distance

# KServe in Knative mode, up to Knative 1.18: counters in requests, latencies in milliseconds.
COUNT = 'revision_request_count{{namespace_name="{namespace}",revision_name="{revision}"}}'
BUCKETS = 'revision_request_latencies_bucket{{namespace_name="{namespace}",revision_name="{revision}"}}'
SIGNALS = {"errors": COUNT, "latency": BUCKETS}


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time whose samples are evidence for the present weight."""

    start: datetime
    end: datetime
    step: timedelta


def window(rollout: Rollout, policy: Policy, live: Live, now: datetime) -> Window | None:
    """Say which samples count; None: nothing can be measured at this weight yet."""
    canary = rollout.canary
    if canary is None or not measurable(rollout, live):
        return None
    # A brake changes what is live; what was measured before it must not be forgotten, or the brake would let go.
    begun = canary.since if _braked(canary, live) else max(canary.since, live.since or canary.since)
    timing = policy.timing
    warm_up = timing.warm_up if canary.weight == policy.steps[0].weight else timing.warm_up_after_shift
    start = begun + warm_up
    if start >= now:
        return None
    return Window(start, now, max(timing.block, FINEST, (now - start) / MOST_POINTS))


def measurable(rollout: Rollout, live: Live) -> bool:
    """Whether canary and stable serve side by side at the recorded weight, or the brake is on: it forgets nothing."""
    canary, stable = rollout.canary, rollout.stable
    if canary is None or stable is None or canary.weight == 100 or not live.known or live.rolled is None:
        return False
    name = live.names.get(canary.label)
    split = _braked(canary, live) or (name is not None and live.shares.get(name) == canary.weight)
    return name is not None and split and live.baseline == stable.revision


def _braked(canary: Canary, live: Live) -> bool:
    """Whether the canary is live at weight 0, which no record ever says."""
    return live.template == Owned(0, canary.label)


def plan(rollout: Rollout, policy: Policy | None, live: Live, now: datetime) -> tuple[Query, ...]:
    """Write the queries of one service; none where nothing is pending or on trial."""
    canary, stable = rollout.canary, rollout.stable
    if stable is None or (canary is None and rollout.wanted in (stable.revision, UNREADABLE)):
        return ()
    seen = window(rollout, policy, live, now) if policy else None
    if policy is None or seen is None or canary is None:
        return (_witness(Window(now, now, policy.timing.block if policy else Timing().block)),)
    namespace = rollout.service.split("/")[0]
    arms = {"canary": live.names[canary.label], "stable": live.rolled or ""}
    signals = dict.fromkeys(["errors", *(metric.signal for metric in policy.metrics)])  # errors count the requests
    return (
        _witness(seen),
        *(
            Query(
                name=f"{signal}/{arm}",
                expression=SIGNALS[signal].format(namespace=_escaped(namespace), revision=_escaped(revision)),
                start=seen.start,
                end=seen.end,
                step=seen.step,
            )
            for signal in signals
            for arm, revision in arms.items()
        ),
    )


def _escaped(value: str) -> str:
    """Write a value so that it cannot leave its matcher."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def lookback(step: timedelta) -> timedelta:
    """Say how long a scrape goes on being seen by the witness: two steps, and two scrapes at least."""
    return timedelta(seconds=max(int(step.total_seconds() * 2), 10))


def _witness(seen: Window) -> Query:
    """Ask at which points of a window anything had just been scraped."""
    expression = f"max(count_over_time(up[{lookback(seen.step).total_seconds():.0f}s]))"
    return Query(name=WITNESS, expression=expression, start=seen.start, end=seen.end, step=seen.step)
