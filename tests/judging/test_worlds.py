"""Generated worlds: what they promise to every judge."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .grids import GRIDS
from .peers import Series, quantile, success
from .worlds import KNATIVE, LOST, TROUBLES, Noise, Traffic, World, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUSY = World(rps=200, noise=Noise.CALM)


def taken(world: World, seed: int = 0) -> list[dict[str, Any]]:
    return [message["sample"] for message in samples(world, seed) if message["type"] == "sample"]


def served(world: World, arm: str, seeds: int = 8) -> NDArray[np.float64]:
    """Sum what an arm counted over some runs, the canary's first samples left out."""
    total = np.zeros(len(world.edges) + 3)
    for seed in range(seeds):
        series = Series()
        for sample in taken(world, seed):
            series.add(sample["t"], sample[arm])
        if series.total is not None:
            total += series.total
    return total


def test_a_run_is_one_start_and_a_sample_every_ten_seconds() -> None:
    messages = list(samples(BUSY, 7))

    assert messages[0] == {"type": "start", "run": 7}
    assert [m["sample"]["t"] for m in messages[1:]] == [float(t) for t in range(-600, 1201, 10)]
    assert all(m["answer"] is True for m in messages[1:])


def test_the_same_seed_plays_the_same_world_and_another_seed_another() -> None:
    assert taken(BUSY, 3) == taken(BUSY, 3)
    assert taken(BUSY, 3) != taken(BUSY, 4)


def test_the_last_sample_of_a_step_holds_all_of_it() -> None:
    at = {sample["t"]: (sample["step"], sample["weight"]) for sample in taken(BUSY)}

    assert [at[t] for t in (-10, 0, 300, 310, 600, 610, 900, 910, 1200)] == [
        (-1, 0), (0, 5), (0, 5), (1, 10), (1, 10), (2, 25), (2, 25), (3, 50), (3, 50),
    ]  # fmt: skip


def test_the_history_is_the_baselines_alone_and_the_canary_begins_at_0() -> None:
    first = next(s["canary"] for seed in range(3) for s in taken(BUSY, seed) if s["t"] == 0 and s["canary"])

    assert all(sample["canary"] is None for sample in taken(BUSY) if sample["t"] < 0)
    assert first["requests"] == first["errors"] == first["buckets"][-1] == 0


@pytest.mark.parametrize("world", [world for grid in GRIDS.values() for world in grid], ids=lambda world: world.name)
def test_counters_only_rise_save_where_they_restart_together(world: World) -> None:
    for arm in ("canary", "baseline"):
        rows = [s[arm] for s in taken(world) if s[arm]]
        counts = np.array([[row["requests"], row["errors"], *row["buckets"]] for row in rows])
        falls = (np.diff(counts, axis=0) < 0).any(axis=1)

        assert counts.min() >= 0
        assert (np.diff(counts[:, 2:], axis=1) >= 0).all()
        assert (counts[:, -1] == counts[:, 0]).all()
        assert (counts[:, 1] <= counts[:, 0]).all()
        assert counts.shape[1] == len(world.edges) + 3
        assert (np.diff(counts[:, 0])[falls] <= 0).all()
        assert falls.sum() <= 3


def test_counters_restart_now_and_then() -> None:
    falls = 0
    for seed in range(40):
        requests = [s["baseline"]["requests"] for s in taken(BUSY, seed) if s["baseline"]]
        falls += sum(late < early for early, late in itertools.pairwise(requests))

    assert 1 <= falls <= 25


def test_one_scrape_in_fifty_is_lost_of_either_arm() -> None:
    for arm in ("canary", "baseline"):
        lost = [s[arm] is None for seed in range(30) for s in taken(BUSY, seed) if s["t"] >= 0]

        assert abs(np.mean(lost) - LOST) < 0.01


@pytest.mark.parametrize("traffic", Traffic)
def test_the_arms_share_the_traffic_by_weight(traffic: Traffic) -> None:
    world = World(rps=20, noise=Noise.CALM, traffic=traffic)
    canary, baseline = served(world, "canary", 12)[0] / 12, served(world, "baseline", 12)[0] / 12
    expected = 20 * 300 * (0.05 + 0.10 + 0.25 + 0.50)

    assert (canary + baseline) / (20 * 1800) == pytest.approx(1, abs=0.25 if traffic is Traffic.BURSTS else 0.05)
    assert canary / expected == pytest.approx(1, abs=0.5 if traffic is not Traffic.STEADY else 0.05)


@pytest.mark.parametrize("noise", Noise)
def test_clusters_and_room_for_them_change_no_rate(noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    half = served(World(rps=2, noise=noise, trouble=TROUBLES["half of the requests fail"]), "canary", 40)
    usual = served(World(rps=200, noise=noise), "baseline")

    assert half[1] / half[0] == pytest.approx(0.502, abs=0.05)
    assert usual[1] / usual[0] == pytest.approx(0.002, rel=0.1)


def test_errors_come_together_as_the_noise_says(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    found = []
    for noise in Noise:
        series, counts = Series(), []
        for sample in taken(World(rps=500, noise=noise)):
            series.add(sample["t"], sample["baseline"])
            if sample["t"] < 0 and (counted := series.increase(sample["t"], 10)) is not None:
                counts.append(counted[1])
        found.append(np.var(counts) / np.mean(counts))

    assert found[0] == pytest.approx(1, abs=0.6)  # of a cluster size M it is E[M^2] / E[M]: 1, 5, 15
    assert found[0] < found[1] < found[2]


def test_latency_is_log_normal_with_a_p99_of_320_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    world = World(rps=200, noise=Noise.CALM, edges=KNATIVE)

    assert quantile(served(world, "baseline"), KNATIVE, 0.99) == pytest.approx(0.320, abs=0.01)
    assert quantile(served(world, "baseline"), KNATIVE, 0.5) == pytest.approx(0.100, abs=0.005)


@pytest.mark.parametrize(
    ("trouble", "p50", "p99", "errors"),
    [
        ("latency +20 %", 1.2, 1.2, 1),
        ("latency +50 %", 1.5, 1.5, 1),
        ("p99 x2 only", 1.03, 2.0, 1),
        ("errors x5", 1, 1, 5),
        ("errors +1 pt", 1, 1, 6),
    ],
)
def test_a_trouble_is_what_its_name_says(
    trouble: str, p50: float, p99: float, errors: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(monkeypatch)
    world = World(rps=200, noise=Noise.CALM, edges=KNATIVE, trouble=TROUBLES[trouble])
    canary, baseline = served(world, "canary"), served(world, "baseline")

    for q, factor in ((0.5, p50), (0.99, p99)):
        assert quantile(canary, KNATIVE, q) / quantile(baseline, KNATIVE, q) == pytest.approx(factor, rel=0.07)
    assert (1 - success(canary)) / (1 - success(baseline)) == pytest.approx(errors, rel=0.15)


def test_a_late_trouble_waits_for_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    world = World(rps=2000, noise=Noise.CALM, trouble=TROUBLES["errors x5 from step 2"])
    series = Series()
    rates = {}
    for sample in taken(world):
        series.add(sample["t"], sample["canary"])
        if sample["t"] in (600, 1200):
            rates[sample["t"]] = 1 - success(series.increase(sample["t"], 590))

    assert rates[600] == pytest.approx(0.002, rel=0.2)
    assert rates[1200] == pytest.approx(0.010, rel=0.2)


def test_a_new_weight_makes_the_canary_slow_for_a_while() -> None:
    waits: dict[int, list[float]] = {20: [], 290: []}
    for seed in range(6):
        series = Series()
        for sample in taken(BUSY, seed):
            series.add(sample["t"], sample["canary"])
            if sample["t"] in waits:
                waits[sample["t"]].append(quantile(series.increase(sample["t"], 20), BUSY.edges, 0.5))

    assert np.nanmean(waits[20]) > 1.15 * np.nanmean(waits[290])


def test_an_incident_hits_both_arms_together() -> None:
    both: list[tuple[float, float]] = []
    for seed in range(6):
        arms = (Series(), Series())
        for sample in taken(BUSY, seed):
            for series, name in zip(arms, ("canary", "baseline"), strict=True):
                series.add(sample["t"], sample[name])
            if sample["t"] >= 900:
                both.append((success(arms[0].increase(sample["t"], 30)), success(arms[1].increase(sample["t"], 30))))
    known = np.array([pair for pair in both if not any(map(math.isnan, pair))])

    assert np.corrcoef(known.T)[0, 1] > 0.9


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what is nobody's fault: incidents, moods, drift and cold starts."""
    from . import worlds

    never = worlds.Spells(every=1e12, shortest=20, mean=80, errors=(0.01, 0.02), latency=(1, 1.1))
    monkeypatch.setattr(worlds, "INCIDENTS", never)
    monkeypatch.setattr(worlds, "MOODS", never)
    monkeypatch.setattr(worlds, "COLD", (1.0, 1.0))
    monkeypatch.setattr(worlds, "DRIFT_SPREAD", 0.0)
