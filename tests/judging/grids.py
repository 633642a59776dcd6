"""Which worlds are played: the twelve healthy ones, the regressions of the published table, and what lies beyond."""

from __future__ import annotations

from .worlds import KNATIVE, TROUBLES, Noise, Traffic, World

RATES = (0.2, 2, 20, 200)


def _world(trouble: str, rps: float, noise: Noise = Noise.MODERATE) -> World:
    return World(rps=rps, noise=noise, trouble=TROUBLES[trouble])


HEALTHY_WORLDS = tuple(World(rps=rps, noise=noise) for rps in RATES for noise in Noise)
REGRESSIONS = (
    _world("errors x2", 200),
    _world("errors x5", 2),
    _world("errors x5", 20),
    _world("errors x5", 200),
    _world("errors +1 pt", 2),
    _world("errors +1 pt", 20),
    _world("errors +1 pt", 200),
    _world("latency +20 %", 2),
    _world("latency +20 %", 20),
    _world("latency +50 %", 2),
    _world("latency +50 %", 20),
    _world("p99 x2 only", 2),
    _world("p99 x2 only", 20),
    _world("half of the requests fail", 0.2),
    _world("half of the requests fail", 2),
    _world("half of the requests fail", 20),
)
BEYOND = (
    *(_world(name, 20) for name in ("latency +5 %, tolerable", "errors x1.1, tolerable")),
    *(World(rps=20, noise=Noise.MODERATE, traffic=kind) for kind in (Traffic.BURSTS, Traffic.GROWTH)),
    *(World(rps=20, noise=Noise.MODERATE, baseline_errors=p) for p in (0.0, 0.05)),
    World(rps=20, noise=Noise.MODERATE, weights=(10, 25, 50)),
    World(rps=20, noise=Noise.MODERATE, edges=KNATIVE),
    _world("errors x5 from step 2", 20),
    _world("errors x5 from step 2", 200),
    _world("latency +50 % from step 2", 20),
    _world("timeouts", 20),
    _world("errors x5", 20, Noise.SEVERE),
    _world("latency +50 %", 20, Noise.SEVERE),
    World(rps=20, noise=Noise.MODERATE, edges=KNATIVE, trouble=TROUBLES["latency +20 %"]),
    World(rps=20, noise=Noise.MODERATE, baseline_errors=0.0, trouble=TROUBLES["errors +1 pt"]),
    World(rps=20, noise=Noise.MODERATE, baseline_errors=0.05, trouble=TROUBLES["errors x2"]),
    World(rps=20, noise=Noise.MODERATE, traffic=Traffic.BURSTS, trouble=TROUBLES["errors x5"]),
)
GRIDS = {"healthy": HEALTHY_WORLDS, "regressions": REGRESSIONS, "beyond": BEYOND}
