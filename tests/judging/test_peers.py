"""The peers on sequences made by hand, and the statistics against the published vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .peers import PEERS, Argo, Flagger, Series, quantile, success
from .reference import conditional_log_e, lindon_malek_log_e, location_shift, rank_z, slo_log_e
from .worlds import Noise, World, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .peers import Peer, Said, Sample

EDGES = [0.1, 0.25, 0.5, 1.0]
WEIGHTS = (5, 10, 25, 50)


def rollout(canary: Callable[[float], tuple[int, int, float]], *, scraped: bool = True) -> Iterator[Sample]:
    """Play counters by hand: what the canary serves in the ten seconds before t (requests, errors, seconds of each)."""
    arms: dict[str, dict[str, Any]] = {
        name: {"requests": 0, "errors": 0, "buckets": [0] * 5} for name in ("canary", "baseline")
    }
    for t in np.arange(0.0, 1201.0, 10.0).tolist():
        for arm, (requests, errors, seconds) in zip(arms.values(), (canary(t), (1000, 1, 0.2)), strict=True):
            if t > 0:
                arm["requests"] += requests
                arm["errors"] += errors
                arm["buckets"] = [
                    old + requests * (seconds <= edge)
                    for old, edge in zip(arm["buckets"], [*EDGES, math.inf], strict=True)
                ]
        step = max(0, math.ceil(t / 300) - 1)
        seen = {name: dict(arm) if scraped or name == "baseline" else None for name, arm in arms.items()}
        yield {"t": t, "step": step, "weight": WEIGHTS[step], "le": EDGES, **seen}


def fine(_: float) -> tuple[int, int, float]:
    return 100, 0, 0.2


def failing(t: float, *, until: float = math.inf) -> tuple[int, int, float]:
    return 100, 20 if t <= until else 0, 0.2


def slow(_: float) -> tuple[int, int, float]:
    return 100, 0, 0.6


def empty(_: float) -> tuple[int, int, float]:
    return 0, 0, 0.2


def verdicts(peer: Peer, seen: Iterator[Sample]) -> dict[float, Said]:
    return {sample["t"]: peer.sample(sample) for sample in seen}


def failed_at(peer: Peer, seen: Iterator[Sample]) -> float | None:
    return next((t for t, said in verdicts(peer, seen).items() if said == "fail"), None)


@pytest.mark.parametrize("name", PEERS)
def test_no_peer_rolls_back_a_canary_without_fault(name: str) -> None:
    said = verdicts(PEERS[name](), rollout(fine))

    assert "fail" not in said.values()
    assert said[1200] == "pass"


@pytest.mark.parametrize("name", ["flagger10", "argo", "argo-tuned", "kayenta", "lindon-malek"])
def test_no_careful_peer_rolls_back_a_busy_calm_and_healthy_world(name: str) -> None:
    failed = 0
    for seed in range(10):
        played = (m["sample"] for m in samples(World(rps=20, noise=Noise.CALM), seed) if m["type"] == "sample")
        failed += failed_at(PEERS[name](), played) is not None

    assert failed <= 2


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("flagger1", 60),
        ("flagger5", 300),
        ("flagger10", 600),
        ("argo", 1200),
        ("argo-default", 300),
        ("argo-tuned", 360),
    ],
)
@pytest.mark.parametrize("canary", [failing, empty])
def test_a_peer_rolls_back_at_its_last_failure_and_takes_nothing_for_a_failure(
    name: str, at: float, canary: Callable[[float], tuple[int, int, float]]
) -> None:
    assert failed_at(PEERS[name](), rollout(canary)) == at


@pytest.mark.parametrize("name", ["flagger5", "argo-default"])
def test_a_canary_that_is_not_scraped_fails_like_one_that_fails(name: str) -> None:
    assert failed_at(PEERS[name](), rollout(fine, scraped=False)) == 300


def test_flagger_never_forgets_a_failed_check() -> None:
    def now_and_then(t: float) -> tuple[int, int, float]:
        return failing(t) if t % 240 > 180 or t % 240 == 0 else fine(t)

    assert failed_at(Flagger(threshold=5), rollout(now_and_then)) == 1200
    assert failed_at(Flagger(threshold=6), rollout(now_and_then)) is None


def test_flagger_holds_the_step_after_a_failed_check_until_a_good_one() -> None:
    said = verdicts(Flagger(threshold=10), rollout(lambda t: failing(t, until=300)))

    assert (said[300], said[350], said[360], said[420]) == ("inconclusive", "inconclusive", "pass", "pass")


def test_flagger_and_a_tuned_argo_look_at_latency_and_the_example_does_not() -> None:
    assert failed_at(PEERS["flagger5"](), rollout(slow)) == 300
    assert failed_at(PEERS["argo-tuned"](), rollout(slow)) == 360
    assert failed_at(PEERS["argo"](), rollout(slow)) is None


def test_argo_sees_nothing_between_two_measurements() -> None:
    def healed(t: float) -> tuple[int, int, float]:
        return failing(t, until=280)

    assert failed_at(Argo(limit=0), rollout(healed)) is None  # irate: the last two scrapes alone
    assert failed_at(Argo(limit=0, instant=False), rollout(healed)) == 300


@pytest.mark.parametrize("canary", [failing, slow])
def test_kayenta_judges_every_five_minutes(canary: Callable[[float], tuple[int, int, float]]) -> None:
    assert failed_at(PEERS["kayenta"](), rollout(canary)) == 300


def test_kayenta_takes_no_traffic_for_no_trouble() -> None:
    assert failed_at(PEERS["kayenta"](), rollout(empty)) is None


def test_lindon_malek_needs_no_minute() -> None:
    found = failed_at(PEERS["lindon-malek"](), rollout(failing))

    assert found is not None
    assert found <= 30


def test_a_restart_and_a_lost_scrape_lose_no_sense() -> None:
    series = Series()
    for t, requests in ((0, 100), (10, 150), (20, None), (30, 10), (40, 30)):
        series.add(t, None if requests is None else {"requests": requests, "errors": 0, "buckets": [requests]})

    counts = series.increase(40, 60)
    assert counts is not None
    assert counts.tolist() == [80, 0, 80]
    assert series.increase(40, 5) is None


def test_quantiles_are_prometheus_own() -> None:
    counts = np.array([100, 0, 0, 50, 90, 99, 100], dtype=float)

    assert quantile(counts, EDGES, 0.5) == pytest.approx(0.25)
    assert quantile(counts, EDGES, 0.7) == pytest.approx(0.375)
    assert quantile(counts, EDGES, 0.999) == 1.0
    assert math.isnan(quantile(np.zeros(7), EDGES, 0.5))
    assert math.isnan(success(np.zeros(7)))


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ({"e_c": 3, "n_c": 50, "e_b": 5, "n_b": 950, "theta": 4.0, "rho": 1.2}, 2.573426),
        ({"e_c": 0, "n_c": 50, "e_b": 5, "n_b": 950, "theta": 4.0, "rho": 1.2}, -0.649058),
        ({"e_c": 10, "n_c": 500, "e_b": 10, "n_b": 500, "theta": 2.0, "rho": 1.0}, -1.17783),
    ],
)
def test_conditional_log_e(given: dict[str, float], out: float) -> None:
    assert conditional_log_e(**given) == pytest.approx(out, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ({"k_c": 10, "k_b": 10, "q": 0.5, "m": 10.0}, -0.565933),
        ({"k_c": 10, "k_b": 30, "q": 0.1, "m": 10.0}, 1.890758),
        ({"k_c": 0, "k_b": 0, "q": 0.5, "m": 10.0}, 0.0),
    ],
)
def test_lindon_malek_log_e(given: dict[str, float], out: float) -> None:
    assert lindon_malek_log_e(**given) == pytest.approx(out, abs=1e-6)


def test_slo_log_e() -> None:
    assert slo_log_e(e=5, n=100, p0=0.01, a=0.04) == pytest.approx(4.008164, abs=1e-6)


def test_the_rank_test_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, y = rng.poisson(4, 12).astype(float), rng.poisson(3, 15).astype(float)
        p = stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=True).pvalue

        assert 2 * stats.norm.sf(abs(rank_z(x, y))) == pytest.approx(p, abs=1e-9)


def test_the_shift_of_two_samples_is_the_median_difference_and_its_bound_is_lower() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(3, 1, 30), rng.normal(0, 1, 31)
    lower, estimate = location_shift(x, y, confidence=0.98)

    assert estimate == pytest.approx(float(np.median(x[:, None] - y[None])), abs=0.02)
    assert 1.5 < lower < estimate
