"""Settings to something that runs: the only module that knows all the parts.

What is heavy is imported when it is first needed, since ``--help`` needs none of it.
Here, and nowhere else, the clock is handed out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .core.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .adapters.git import GitRepository
    from .config import Settings
    from .controller.loop import Loop
    from .controller.tick import Desk
    from .core.environment import Environment
    from .ports import Cluster, Metrics, Tree

AT_ONCE = 8  # services that are looked at in parallel


def clock() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def open_repository(settings: Settings) -> GitRepository:
    """Open the repository; nothing is sent yet.  One thread may use what is returned."""
    from .adapters.git import Credentials, GitRepository

    credentials = Credentials(
        token_file=settings.token_file,
        ssh_key_file=settings.ssh_key_file,
        known_hosts_file=settings.known_hosts,
    )
    return GitRepository(settings.repo, settings.branch, settings.cache_dir, credentials=credentials)


def environments(settings: Settings, tree: Tree) -> list[str]:
    """Name the environments to work on: those asked for, or all; raises Invalid where there is none."""
    from .core.fleet import environment_names

    known = environment_names(tree)
    there = f"there are: {', '.join(known) or 'none'}"
    for name in settings.env:
        if name not in known:
            raise Invalid(f"there is no environment {name} in the repository", code="unknown", remedy=there)
    if not known:
        raise Invalid(
            f"the repository has no environment on branch {settings.branch}",
            code="missing",
            remedy="add clusters/NAME/cluster.yaml, or name the right branch with --branch",
        )
    return list(settings.env) or known


@dataclass(frozen=True, slots=True)
class Addresses:
    """How a cluster and its Prometheus are reached."""

    kubeconfig: str | None  # None: the pod's account, or kubectl's default
    context: str | None
    prometheus: str
    timeout_seconds: float


def addresses(settings: Settings, environment: Environment) -> Addresses:
    """Find out how an environment is reached; raises Unavailable while its local cluster is not up."""
    timeout = environment.prometheus_timeout.total_seconds()
    prometheus = settings.prometheus or environment.prometheus_url
    if environment.cluster == "kubernetes":
        context = settings.context or environment.context
        return Addresses(settings.kubeconfig or None, context or None, prometheus, timeout)
    from .local import statedir

    state = statedir.StateDir((settings.local_state or statedir.default_root()).expanduser().absolute())
    told = statedir.addresses(state)
    if not told:
        place = "" if settings.local_state is None else f" --state {state.root}"
        raise Unavailable(
            f"the local cluster of environment {environment.name} is not up in {state.root}; "
            f"start it with: gitops-serving local up{place}"
        )
    return Addresses(settings.kubeconfig or told["kubeconfig"], None, prometheus or told["prometheus"], timeout)


def connect(found: Addresses) -> tuple[Cluster, Metrics, Callable[[], None]]:
    """Make the adapters of a cluster and its Prometheus; the third value gives their connections back."""
    from .adapters import kube, prometheus

    cluster = kube.connect(found.kubeconfig, found.context)
    metrics = prometheus.PrometheusMetrics(found.prometheus, found.timeout_seconds, clock=clock)

    def close() -> None:
        cluster.close()
        metrics.close()

    return cluster, metrics, close


def open_metrics(settings: Settings, environment: Environment) -> tuple[Metrics, Callable[[], None]]:
    """Make the adapter of an environment's Prometheus alone, which needs no cluster; the second value closes it.

    Raises Unavailable where only a local cluster could tell the address, and is not up.
    """
    from .adapters import prometheus

    url = settings.prometheus or environment.prometheus_url or addresses(settings, environment).prometheus
    metrics = prometheus.PrometheusMetrics(url, environment.prometheus_timeout.total_seconds())
    return metrics, metrics.close


class Office:
    """The desk of one environment, with everything that it needs; made anew when an address changes.

    An environment file that turns invalid leaves the desk as it is: whatever runs must still be watched.
    """

    def __init__(self, settings: Settings, environment: str, repository: GitRepository | None = None) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.environment = environment
        self.repository = repository or open_repository(settings)
        self._settings = settings
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"look-{environment}")
        self._found: Addresses | None = None
        self._desk: Desk | None = None
        self._close: Callable[[], None] = lambda: None

    def desk(self, tree: Tree | None = None) -> Desk:
        """Give the desk, by what this tree says of the environment; raises Invalid, Unavailable, Refused."""
        if tree is None and self._desk is not None:
            return self._desk
        from .core.fleet import read_environment

        told = read_environment(tree or self.repository.fetch(), self.environment)
        if isinstance(told, Invalid):
            if self._desk is None:
                raise told
            return self._desk
        found = addresses(self._settings, told)
        if self._desk is None or found != self._found:
            self._desk, self._found = self._made(found), found
        return self._desk

    def close(self) -> None:
        """Give everything back but the repository's clone, which the caller may go on reading."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._close()

    def _made(self, found: Addresses) -> Desk:
        from . import shipped
        from .controller.tick import Desk

        cluster, metrics, close = connect(found)
        self._close()
        self._close = close
        return Desk(
            environment=self.environment,
            repository=self.repository,
            metrics=metrics,
            cluster=cluster,
            clock=clock,
            shipped=shipped.packs(),
            each=self._each,
        )

    def _each(self, look: Callable[[Any], Any], services: Iterable[Any]) -> Iterator[Any]:
        """Look at services in parallel, in their order."""
        return self._pool.map(look, services)


def open_loop(office: Office) -> Loop:
    """Make the loop of an environment."""
    from .controller.loop import Loop

    return Loop(office.environment, office.desk, clock=clock, jitter=random.uniform)
