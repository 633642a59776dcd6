"""One environment at one commit: its services, and which policy each follows.

Environment, policies, metric packs and manifests are read from the same tree, so that
one commit defines everything; only packs that the tree does not hold are those that we
ship.  What is wrong with a policy, or with a pack that it needs, stops the services that
follow it, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from . import environment as environments
from . import pack as packs
from . import policy as policies
from .errors import Invalid
from .model import Policy, Rollout
from .rollout import read_rollouts, unread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .environment import Environment
    from .found import Files
    from .pack import Pack

PACKS = "policies/metrics/"
NOTHING: Mapping[str, bytes] = MappingProxyType({})


@lru_cache(maxsize=256)
def _environment(source: bytes, path: str) -> Environment | Invalid:
    """Read an environment file; a wrong one is read once too, and not at every tick."""
    try:
        return environments.read_environment(source, path)
    except Invalid as error:
        return error.with_traceback(None)


@lru_cache(maxsize=1024)
def _policy(source: bytes, path: str) -> Policy | Invalid:
    """Read a policy file; a wrong one is read once too, and not at every tick."""
    try:
        return policies.read_policy(source, path)
    except Invalid as error:
        return error.with_traceback(None)


@lru_cache(maxsize=256)
def _pack(source: bytes, path: str) -> Pack | Invalid:
    """Read a metric pack; a wrong one is read once too, and not at every tick."""
    try:
        return packs.read_pack(source, path)
    except Invalid as error:
        return error.with_traceback(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that the tree says of one environment."""

    environment: Environment | Invalid
    rollouts: Mapping[str, Rollout | Invalid]
    policies: Mapping[str, Policy | Invalid]  # with the sources of their metrics
    unnamed: tuple[Invalid, ...] = ()  # policy files that do not even tell their name


def environment_names(tree: Files) -> list[str]:
    """List the environments of a tree: the folders below clusters/ that hold a cluster.yaml."""
    parts = [path.split("/") for path in tree.paths("clusters/")]
    return sorted(p[1] for p in parts if len(p) == 3 and p[2] == "cluster.yaml")


def read_environment(tree: Files, name: str) -> Environment | Invalid:
    """Read the environment's own file."""
    path = f"clusters/{name}/cluster.yaml"
    source = tree.read(path)
    if source is None:
        known = ", ".join(environment_names(tree)) or "none"
        return Invalid(
            f"there is no environment {name}", code="missing", path=path, remedy=f"add the file; there are: {known}"
        )
    return _environment(source, path)


def read_fleet(tree: Files, name: str, now: datetime, shipped: Mapping[str, bytes] = NOTHING) -> Fleet:
    """Read an environment with its services and policies; never raises.

    ``shipped``: metric packs by path, for those that the tree holds none of in their place.
    """
    environment = read_environment(tree, name)
    rollouts = {
        service: _permitted(rollout, environment) if isinstance(rollout, Rollout) else rollout
        for service, rollout in read_rollouts(tree, name, now).items()
    }
    found, unnamed = _policies(tree, _packs(tree, shipped))
    return Fleet(environment=environment, rollouts=rollouts, policies=found, unnamed=unnamed)


def _permitted(rollout: Rollout, environment: Environment | Invalid) -> Rollout | Invalid:
    """Start nothing outside of the namespaces, nor anywhere while nobody can read them; what we began is watched."""
    if isinstance(environment, Invalid):
        asked = rollout.asked if rollout.canary else None
        return replace(rollout, outside=True, direct=None, asked=asked) if rollout.stable else environment
    if not environment.namespaces or rollout.service.split("/")[0] in environment.namespaces:
        return rollout
    error = _foreign(rollout.service, environment)
    return replace(unread(rollout, error), outside=True) if rollout.stable else error


def _foreign(service: str, environment: Environment) -> Invalid:
    return Invalid(
        f"{service} is outside the namespaces of environment {environment.name}",
        code="namespace",
        path=f"clusters/{environment.name}/cluster.yaml",
        remedy="add the namespace to spec.cluster.namespaces, or move the service",
    )


def _packs(tree: Files, shipped: Mapping[str, bytes]) -> dict[str, Pack | Invalid]:
    """Read the metric packs by name: the tree's, and those that we ship where it has none of that name."""
    found = {_stem(path): _pack(source, path) for path, source in shipped.items()}
    seen: dict[str, str] = {}
    for path in tree.paths(PACKS):
        if path.count("/") != PACKS.count("/") or not path.endswith((".yaml", ".yml")):
            continue
        name = _stem(path)
        if seen.setdefault(name, path) != path:
            found[name] = Invalid(
                f"{seen[name]} is named {name} too", code="duplicate", path=path, remedy="remove one of them"
            )
        else:
            found[name] = _pack(tree.read(path) or b"", path)
    return found


def _stem(path: str) -> str:
    """Name a file without its folder and ending."""
    return path.rpartition("/")[2].rpartition(".")[0]


def _policies(
    tree: Files, known: Mapping[str, Pack | Invalid]
) -> tuple[dict[str, Policy | Invalid], tuple[Invalid, ...]]:
    """Read policies/*.yaml by name; an invalid one keeps the name of its file."""
    found: dict[str, Policy | Invalid] = {}
    paths: dict[str, str] = {}
    unnamed: list[Invalid] = []
    for path in tree.paths("policies/"):
        if path.count("/") != 1 or not path.endswith((".yaml", ".yml")):
            continue
        policy = _policy(tree.read(path) or b"", path)
        if isinstance(policy, Invalid):
            found[_stem(path)] = policy
            unnamed.append(policy)
        elif policy.name in found and isinstance(found[policy.name], Policy):
            found[policy.name] = Invalid(
                f"two policies are named {policy.name}", code="duplicate", path=path, remedy="rename one of them"
            )
        else:
            found.setdefault(policy.name, policy)
            paths[policy.name] = path
    for name, each in found.items():
        if isinstance(each, Policy):
            found[name] = _resolved(each, known, paths[name])
    return found, tuple(unnamed)


def _resolved(policy: Policy, known: Mapping[str, Pack | Invalid], path: str) -> Policy | Invalid:
    """Give a policy's metrics their sources, or say why there are none."""
    try:
        return packs.resolve(policy, known)
    except Invalid as error:
        return error.with_traceback(None).within(path)


def with_sources(policy: Policy, tree: Files, shipped: Mapping[str, bytes] = NOTHING) -> Policy:
    """Give a policy that is in no tree its metrics' sources from this one; raises Invalid where there are none."""
    return packs.resolve(policy, _packs(tree, shipped))


def policy_of(fleet: Fleet, rollout: Rollout) -> Policy | Invalid:
    """Find the policy that a service follows, or say what is wrong with it."""
    if isinstance(fleet.environment, Invalid):
        return fleet.environment
    namespace, name = rollout.service.split("/")
    known_as = (rollout.wanted, *(r.revision for r in (rollout.canary, rollout.stable) if r))  # the head may be broken
    document = next((rollout.documents[r] for r in known_as if r in rollout.documents), {})
    labels = (document.get("metadata") or {}).get("labels") or {}
    bound = environments.policy_for(fleet.environment, namespace, name, labels)
    path = f"clusters/{fleet.environment.name}/cluster.yaml"
    if bound is None:
        return Invalid("no policy matches", code="policy", path=path, remedy="add a last binding without match")
    found = fleet.policies.get(bound)
    if found is not None:
        return found
    known = ", ".join(sorted(fleet.policies)) or "none"
    return Invalid(
        f"there is no policy {bound}", code="policy", path=path, remedy=f"add policies/{bound}.yaml; there are: {known}"
    )
