"""Folding: the same moments give the same evidence, a failure is final, and only what may decide decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.blocks import Counts
from gitops_serving.core.evidence import (
    NO_SILENCE,
    SMELLS,
    Evidence,
    Moment,
    begun,
    fold,
    fresh_for,
    lacking,
    shares,
    value,
)
from gitops_serving.core.gauges import Gauge
from gitops_serving.core.tracks import CAP, Margin

from .moments import DRIFT, EDGES, ERRORS, LATENCY, LIMIT, SCORE, TIMINGS, both, folded, gauges, steady, terms
from .situations import quick

BAD, GOOD = (2.0, 0.4), (18.0, 0.001)


def reached(moments: list[Moment], *questions: object) -> float | None:
    """Say when evidence first reached the bound."""
    evidence = begun(terms(*questions))  # type: ignore[arg-type]
    for moment in moments:
        evidence = fold(evidence, [moment])
        if evidence.failed is not None:
            return moment.t
    return None


# -- folding ---------------------------------------------------------------------------------------------------------

COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 200), st.floats(0, 1), st.floats(0, 0.2))
WILD = st.lists(
    st.tuples(
        st.integers(1, 40), COUNTS, st.sampled_from(["both", "canary lost", "stable lost", "unscraped", "restart"])
    ),
    max_size=40,
)


def wild(drawn: list[tuple[int, tuple[int, int, float, float], str]]) -> list[Moment]:
    """Make moments of what was drawn: counters that rise, restart and get lost, over three steps."""
    moments, t, canary, stable = [], -100.0, Counts(0.0, (0.0,)), Counts(0.0, (0.0,))
    for seconds, (more, most, bad, worse), what in drawn:
        t += seconds
        canary = canary + Counts(more, (more * bad,)) if what != "restart" else Counts(more, (more * bad,))
        stable += Counts(most, (most * worse,))
        pair = (None if what == "canary lost" or t < 0 else canary, None if what == "stable lost" else stable)
        moments.append(
            Moment(
                t=t,
                step=-1 if t < 0 else int(t // 200),
                pairs={"errors": pair, "slo": pair},
                gauges={"score": (bad, worse)} if t >= 0 else {},
                scraped=what != "unscraped",
            )
        )
    return moments


@quick
@given(WILD, st.integers(0, 40))
def test_in_whatever_portions_moments_are_folded_the_evidence_is_the_same(
    drawn: list[tuple[int, tuple[int, int, float, float], str]], at: int
) -> None:
    moments, nothing = wild(drawn), begun(terms(ERRORS, LIMIT, SCORE))
    assert fold(fold(nothing, moments[:at]), moments[at:]) == fold(nothing, moments)


@quick
@given(WILD)
def test_a_failure_is_final(drawn: list[tuple[int, tuple[int, int, float, float], str]]) -> None:
    failed = folded(steady(ERRORS, BAD, GOOD, until=300), ERRORS, LIMIT, SCORE).failed
    assert failed is not None
    later = [replace(moment, t=moment.t + 1000, step=max(moment.step, 0)) for moment in wild(drawn)]
    after = fold(folded(steady(ERRORS, BAD, GOOD, until=300), ERRORS, LIMIT, SCORE), later)

    assert after.failed == failed
    assert failed.total >= failed.terms.bound


@quick
@given(st.integers(1, 59))
def test_a_look_at_which_nothing_was_counted_is_no_evidence(at: int) -> None:
    """E is unchanged by a sample with equal counters."""
    moments = steady(ERRORS, (2.0, 0.05), GOOD)
    before = folded(moments[: at + 1], ERRORS)
    again = fold(before, [replace(moments[at], t=moments[at].t + 1)])

    assert again.total == pytest.approx(before.total)


def test_no_single_block_ends_a_rollout_and_a_few_do() -> None:
    """With one metric it takes two blocks, whatever happens in them; with two metrics three."""
    errors = steady(ERRORS, (20.0, 0.2), (180.0, 0.001), history=600)
    assert reached(errors, ERRORS) == 10 + 60 + 2 * 30
    more = both(errors, steady(LATENCY, (20.0, 0.1), (180.0, 0.1), history=600))
    assert reached(more, ERRORS, LATENCY) == 10 + 60 + 3 * 30


def test_plain_breakage_is_seen_during_the_warm_up() -> None:
    at = reached(steady(ERRORS, (20.0, 1.0), (180.0, 0.001), history=600), ERRORS)
    assert at is not None
    assert at <= 90


def moment_of_breakage(every: int, at: int, seconds: int) -> list[Moment]:
    """Look so often at two revisions of which the canary is broken for a while."""
    found = both(
        steady(ERRORS, (20.0, 0.0), (180.0, 0.001), until=at + seconds + 60, every=every),
        steady(LATENCY, (20.0, 0.1), (180.0, 0.1), until=at + seconds + 60, every=every),
    )
    for moment in found:
        canary, stable = moment.pairs["errors"]
        assert canary is not None
        bad = 20.0 * 0.9 * min(max(moment.t - at, 0), seconds)
        moment.pairs["errors"] = (Counts(canary.requests, (bad,)), stable)
    return found


@pytest.mark.parametrize("every", [1, 2, 5, 10])
def test_however_often_it_is_looked_at_no_bad_moment_of_a_block_s_time_ends_a_rollout(every: int) -> None:
    """With a scrape a second ten bad seconds were ten looks, and ten looks were proof."""
    for at in (0, 20, 47, 55, 75, 90, 300, 301, 307, 315, 322):
        for seconds in (6, 10, 20, 30):
            moments = moment_of_breakage(every, at, seconds)
            assert reached(moments, ERRORS, LATENCY) is None, (at, seconds)
            if at >= 300:  # before that a single metric has the wealth for a moment that falls into two blocks
                alone = [replace(m, pairs={"errors": m.pairs["errors"]}, edges={}) for m in moments]
                assert reached(alone, ERRORS) is None, (at, seconds)


@pytest.mark.parametrize("every", [1, 2, 5, 10, 15, 30])
def test_half_of_the_requests_failing_is_seen_in_three_minutes_however_often_it_is_looked_at(every: int) -> None:
    at = reached(steady(ERRORS, (1.0, 0.5), (19.0, 0.001), every=every), ERRORS)
    assert at is not None
    assert at <= 180


def test_what_is_as_good_as_stable_gathers_no_evidence() -> None:
    evidence = folded(steady(ERRORS, (20.0, 0.01), (180.0, 0.01), until=3000, history=600), ERRORS)
    assert evidence.total < 1
    assert not lacking(evidence)


def test_a_slower_revision_is_found_out() -> None:
    moments = steady(LATENCY, (20.0, 0.4), (180.0, 0.1), history=600)
    assert (reached(moments, LATENCY) or 1e9) <= 300


def test_answers_that_stable_never_gives_are_found_out_however_much_traffic_there_is() -> None:
    """With enough requests even the lowest edge was exceeded too rarely to be bet on, and nothing was compared."""
    evidence = folded(steady(LATENCY, (200.0, 0.0), (1800.0, 0.0), history=600), LATENCY)
    assert not lacking(evidence)
    assert reached(steady(LATENCY, (200.0, 0.4), (1800.0, 0.0), history=600), LATENCY) is not None


# -- what may decide -------------------------------------------------------------------------------------------------


def test_the_shares_of_what_may_decide_make_one() -> None:
    for questions in [(ERRORS,), (LATENCY,), (ERRORS, LATENCY, SCORE), (LIMIT, LATENCY), (ERRORS, DRIFT)]:
        assert sum(share for _, share, _ in shares(begun(terms(*questions)))) == pytest.approx(1)


@pytest.mark.parametrize("dry_first", [True, False])
def test_a_dry_run_is_measured_and_never_decides(dry_first: bool) -> None:
    """A dry run of errors, if it came first, fed the lane of plain breakage, which does decide."""
    dry = replace(ERRORS, name="dry", enforced=False)
    questions = (dry, ERRORS) if dry_first else (ERRORS, dry)
    broken = [replace(m, pairs={"dry": m.pairs["errors"]}) for m in steady(ERRORS, (20.0, 1.0), GOOD)]
    moments = both(broken, steady(ERRORS, (20.0, 0.001), GOOD))
    evidence = folded(moments, *questions)

    assert value(evidence, "dry") > 20
    assert evidence.failed is None
    assert evidence.total < 1
    assert not lacking(evidence)
    assert folded(broken, replace(dry)).failed is None


def drifting() -> list[Moment]:
    """Predictions of which ever more fall into the last bucket."""
    return steady(DRIFT, (20.0, 0.9), (180.0, 0.1), history=600)


def test_drift_holds_and_never_aborts() -> None:
    enforced = folded(both(drifting(), steady(ERRORS, (20.0, 0.001), GOOD, history=600)), DRIFT, ERRORS)
    assert value(enforced, "drift") >= 20
    assert lacking(enforced) == {"drift": "drift"}
    assert enforced.failed is None
    assert enforced.quiet == 0.0
    assert enforced.drifting > 300

    dry = folded(drifting(), replace(DRIFT, enforced=False))
    assert not lacking(dry)
    assert dry.drifting == 0.0


def test_a_drift_of_which_nothing_is_seen_holds_and_is_no_silence() -> None:
    evidence = folded(steady(ERRORS, (20.0, 0.001), GOOD, history=600), DRIFT, ERRORS)
    assert lacking(evidence) == {"drift": "windows"}
    assert (evidence.quiet, evidence.failed) == (0.0, None)
    assert evidence.drifting == 600 - 90  # since errors lack nothing


def test_holding_for_drift_is_not_counted_as_silence_once_something_else_is_missing_too() -> None:
    """Drift held a rollout for an hour; when errors smelt for one block, that hour was taken for silence."""
    calm = both(drifting(), steady(ERRORS, (20.0, 0.001), GOOD, history=600))
    evidence = folded(calm, DRIFT, ERRORS)
    t, counted = calm[-1].t, calm[-1].pairs["errors"]
    assert counted[0] is not None
    assert counted[1] is not None
    worse = [
        Moment(
            t=t + 10 * n,
            step=0,
            pairs={"errors": (counted[0] + Counts(200 * n, (40 * n,)), counted[1] + Counts(1800 * n, (0.0,)))},
        )
        for n in range(1, 7)
    ]
    after = fold(evidence, worse)

    assert "smells" in lacking(after).values()
    assert 0 < after.quiet <= 60


def test_one_metric_that_smells_holds_whatever_the_others_say() -> None:
    """Four in ten requests failed, and the other metrics outweighed it: the weight rose after one block."""
    moments = both(
        steady(ERRORS, (2.0, 0.4), GOOD, until=100, history=600),
        steady(LATENCY, (2.0, 0.1), (18.0, 0.1), until=100, history=600),
    )
    evidence = folded(moments, ERRORS, LATENCY, SCORE)
    assert evidence.total < SMELLS
    assert lacking(evidence)["errors"] == "smells"


# -- what is missing -------------------------------------------------------------------------------------------------


def test_each_step_needs_requests_of_its_own() -> None:
    first = steady(ERRORS, until=300)
    assert not lacking(folded(first, ERRORS))
    second = [*first, *steady(ERRORS, until=330, since=310, step=1)]
    assert lacking(folded(second, ERRORS)) == {"errors": "requests"}


@pytest.mark.parametrize(("requests", "lacks"), [(60, False), (61, True)])
def test_so_many_requests_are_needed_as_the_policy_says(requests: int, lacks: bool) -> None:
    evidence = folded(steady(ERRORS, until=100), ERRORS, min_requests=requests)
    assert bool(lacking(evidence)) is lacks


def test_a_histogram_that_tells_nothing_holds_and_is_no_silence() -> None:
    """Where stable's answers all lie beyond the last bucket, nothing is compared, and nothing must pass."""
    beyond = steady(LATENCY, history=600)
    for moment in beyond:
        canary, stable = moment.pairs["latency"]
        slow = [counts and Counts(counts.requests, (counts.requests,) * len(EDGES)) for counts in (canary, stable)]
        moment.pairs["latency"] = (slow[0], slow[1])
    evidence = folded(beyond, LATENCY)
    assert lacking(evidence) == {"latency": "edges"}
    assert evidence.quiet == 0.0
    assert lacking(evidence)["latency"] in NO_SILENCE


def test_a_limit_beyond_the_last_bucket_holds_and_is_no_silence() -> None:
    limited = replace(LATENCY, margin=Margin(limit=7.0))
    evidence = folded(steady(limited, history=600), limited)
    assert lacking(evidence) == {"latency": "beyond"}
    assert evidence.quiet == 0.0


def test_a_canary_above_its_limit_does_not_rise_by_chance_or_not() -> None:
    evidence = folded(steady(LIMIT, (2.0, 0.02), (18.0, 0.0), until=120), LIMIT)
    assert lacking(evidence) == {"slo": "limit"}


def test_a_limit_is_blamed_on_the_canary_only_where_stable_keeps_it() -> None:
    assert reached(steady(LIMIT, (20.0, 0.1), (180.0, 0.0)), LIMIT) is not None
    shared = folded(steady(LIMIT, (20.0, 0.1), (180.0, 0.1)), LIMIT)
    assert shared.failed is None
    assert shared.total <= 1


def test_what_was_counted_last_speaks_of_now_only_for_a_while() -> None:
    standing = steady(ERRORS, until=300)
    still = [replace(standing[-1], t=300.0 + 10 * n) for n in range(1, 30)]
    assert not lacking(folded([*standing, *still[:12]], ERRORS))
    stale = folded([*standing, *still], ERRORS)
    assert lacking(stale) == {"errors": "stale"}
    assert stale.quiet == 590 - 310 - 120
    canary, stable = standing[-1].pairs["errors"]
    assert canary is not None
    assert stable is not None
    again = [
        replace(
            standing[-1],
            t=600.0 + t,
            pairs={"errors": (canary + Counts(2.0 * t, (0.0,)), stable + Counts(18.0 * t, (0.0,)))},
        )
        for t in (0, 10)
    ]
    assert not lacking(fold(stale, again))


def test_a_long_outage_does_not_make_it_seem_usual_that_nothing_comes_in() -> None:
    """It makes one block as long as itself; the one after it must not be waited for four times as long."""
    moments = [m for m in steady(ERRORS, until=1800) if not 300 < m.t < 1200]
    evidence = folded(moments, ERRORS)
    assert max(evidence.tallies["errors"].lengths) == 30
    shortly = folded([m for m in moments if m.t <= 1300], ERRORS)
    assert max(shortly.tallies["errors"].lengths) > 900
    assert fresh_for(shortly, ERRORS) == 120


def test_silence_is_scraped_time_since_the_step_could_last_have_passed() -> None:
    quiet = [replace(m, pairs={"errors": (Counts(0.0, (0.0,)), m.pairs["errors"][1])}) for m in steady(ERRORS)]
    assert folded(quiet, ERRORS).quiet == 600 - 60 + 10  # from the end of the warm-up on
    dark = [replace(m, scraped=not 200 <= m.t < 300) for m in quiet]
    assert folded(dark, ERRORS).quiet == 600 - 60 + 10 - 100
    assert folded(steady(ERRORS), ERRORS).quiet == 0.0


def test_a_gauge_with_late_labels_is_looked_at_only_when_they_arrive() -> None:
    late = replace(SCORE, delay=300.0)

    def windows(evidence: Evidence) -> int:
        track = evidence.tracks["score"]
        assert isinstance(track, Gauge)
        return track.windows

    assert windows(folded(gauges(SCORE, 0.9, 0.9), SCORE)) == 6  # from the end of the warm-up on
    assert windows(folded(gauges(late, 0.9, 0.9), late)) == 3
    assert lacking(folded(gauges(late, 0.9, 0.9, until=270), late)) == {"score": "windows"}


def test_counters_with_late_labels_are_looked_at_only_when_they_arrive() -> None:
    late = replace(ERRORS, delay=300.0)
    assert folded(steady(late, until=390), late).tallies["errors"].canary is None
    assert folded(steady(late, until=400), late).tallies["errors"].blocks == 1


def test_a_worse_gauge_is_found_out_and_a_better_one_is_not() -> None:
    assert reached(gauges(SCORE, 0.7, 0.9, until=3000), SCORE) is not None
    assert reached(gauges(SCORE, 0.95, 0.9, until=3000), SCORE) is None
    limited = replace(SCORE, margin=Margin(limit=0.8))
    assert reached(gauges(limited, 0.7, 0.9, until=3000), limited) is not None
    assert reached(gauges(limited, 0.7, 0.7, until=3000), limited) is None


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_no_block_multiplies_a_metric_s_evidence_by_more_than_the_cap(bad: list[float]) -> None:
    evidence, canary = begun(terms(ERRORS)), Counts(0.0, (0.0,))
    for number, share in enumerate(bad):
        canary += Counts(300.0, (300.0 * share,))
        before = value(evidence, "errors")
        moment = Moment(t=60.0 + 30 * number, step=0, pairs={"errors": (canary, Counts(2700.0 * (number + 1), (2.0,)))})
        evidence = fold(evidence, [moment])
        assert value(evidence, "errors") <= CAP * max(before, 1) * (1 + 1e-9)


def test_the_time_in_which_a_canary_starts_is_no_silence() -> None:
    """On a slow machine all patience was spent before the canary had been asked anything."""
    nobody, late = Counts(0.0, (0.0,)), 400.0
    looks = [
        replace(m, pairs={"errors": (nobody if m.t < late else m.pairs["errors"][0], m.pairs["errors"][1])})
        for m in steady(ERRORS)
    ]
    started = folded([m for m in looks if m.t <= late], ERRORS)
    assert (started.served, started.quiet, started.opens) == (late, 0.0, late + TIMINGS.warm_up)
    assert folded([m for m in looks if m.t < late], ERRORS).quiet > 0  # until then it may be one that nobody asks
