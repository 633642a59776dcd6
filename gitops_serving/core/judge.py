"""Evidence to a verdict, with every number that it rests on.

Four outcomes.  FAIL: all evidence together has reached the bound that the policy's
budget of false aborts sets; that is final.  BLIND: Prometheus did not answer, or has
scraped nothing of late, which is our fault and never the canary's.  SILENT: it answers,
and there is too little to judge, or what there is smells.  PASS: every enforced metric
was measured at this weight, and nothing speaks against the canary.  A failure that was
measured stands even while Prometheus is blind.

Nothing here counts or bets: that is `evidence`.  What follows from a verdict is for
`decide` to say.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from .describe import described, proof, short
from .evidence import NOT_SEEN, SMELLS, lacking
from .foresee import foreseen
from .measure import Outcome, Verdict
from .plan import WITNESS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .evidence import Evidence
    from .measure import Reading
    from .model import Policy
    from .plan import Plan
    from .samples import Folded

STALE_AFTER = timedelta(seconds=15)  # beyond what the grid may be behind; a guess that forgives one slow answer


def judge(
    policy: Policy | None,
    plan: Plan,
    readings: Mapping[str, Reading],
    folded: Folded | None,
    *,
    now: datetime,
    since: datetime | None = None,
    held: timedelta = timedelta(),
) -> Verdict:
    """Say what the evidence means.

    ``held`` is taken off the time that counts as silent; and before ``since``, when the weight arrived, nobody was.
    """
    if WITNESS not in readings:
        return Verdict(Outcome.SILENT, "nothing is measured now")
    evidence = folded.evidence if folded is not None else None
    blind = _blindness(plan, readings, evidence, now)
    if evidence is not None and evidence.failed is not None and policy is not None and folded is not None:
        return replace(assess(policy, evidence.failed, folded.wrong), blind=blind or "")
    if blind:
        return Verdict(Outcome.BLIND, blind)
    if policy is None or folded is None or evidence is None:
        return Verdict(Outcome.SILENT, "nothing to measure at this weight yet")
    if not plan.steps:
        return Verdict(Outcome.SILENT, "nothing is on trial yet", foresight=foreseen(policy, evidence))
    if plan.behind:
        left = plan.step * plan.behind
        because = f"catching up with the evidence; {left.total_seconds():.0f} s of it are left"
        drifting = timedelta(seconds=evidence.drifting) + left  # what is not read yet may have been that
        return Verdict(Outcome.SILENT, because, drifting=drifting)
    return assess(policy, evidence, folded.wrong, silence(evidence, now=now, since=since, held=held))


def silence(evidence: Evidence, *, now: datetime, since: datetime | None, held: timedelta) -> timedelta:
    """Say for how long there has been too little to judge; time before the weight arrived and held time never count."""
    there = timedelta.max if since is None else max(now - since, timedelta())
    return min(max(timedelta(seconds=evidence.quiet) - held, timedelta()), there)


def assess(
    policy: Policy, evidence: Evidence, wrong: Mapping[str, str], silent_for: timedelta = timedelta()
) -> Verdict:
    """Turn evidence into a verdict; ``wrong`` says by metric why it cannot be read at all."""
    total, bound = evidence.total, evidence.terms.bound
    failing = total >= bound
    measurements = described(policy, evidence, wrong, failing=failing)
    told = next((tally.requests for tally in evidence.tallies.values() if any(tally.requests)), (0.0, 0.0))
    if failing:
        return Verdict(Outcome.FAIL, proof(evidence, measurements), timedelta(), measurements, told, total, bound)
    lacks, drifting = lacking(evidence), timedelta(seconds=evidence.drifting)
    enforced = [m for m in measurements if m.enforced]
    unread = [name for name in wrong if any(m.metric == name for m in enforced)]
    if not lacks and not unread:
        because = "; ".join(m.because for m in enforced)
        return Verdict(Outcome.PASS, because, timedelta(), measurements, told, total, bound, drifting=drifting)
    because = "; ".join(m.because for m in enforced if m.outcome is Outcome.SILENT)
    if total >= SMELLS:
        because = "; ".join(
            filter(None, (because, f"it smells: evidence {short(total)} of all metrics, and {short(bound)} is proof"))
        )
    if unread:  # a wrong query is no silence
        silent_for = timedelta()
    return Verdict(Outcome.SILENT, because, silent_for, measurements, told, total, bound, drifting=drifting)


def _blindness(plan: Plan, readings: Mapping[str, Reading], evidence: Evidence | None, now: datetime) -> str | None:
    """Say why nothing can be seen; None: Prometheus scrapes and answers."""
    if (blind := plan.blinding(readings)) or plan.behind:  # of what is long past nobody knows yet
        return blind or None
    witness = readings[WITNESS]
    seen = [t for series in witness.series for t, _ in series.samples]
    if evidence is not None and plan.origin is not None:  # a look asks about new instants alone
        seen.append(plan.origin.timestamp() + evidence.scraped)
    newest = max(seen, default=NOT_SEEN)
    if newest == NOT_SEEN:
        return witness.cause or "Prometheus answers, and has scraped nothing lately"
    behind = now.timestamp() - newest
    if behind > (2 * plan.step + plan.lag + STALE_AFTER).total_seconds():
        return f"Prometheus has scraped nothing for {behind:.0f} s, or its clock is not ours"
    return None
