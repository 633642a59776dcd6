"""The environment file: which cluster, which Prometheus, how often to look, and who follows which policy.

A service is bound to a policy here, by namespace, name or label of its manifest, and not
by an annotation on it: annotations reach the revision template and would start a new
revision.  This module refuses to know the policies themselves (a binding is a name that
somebody else looks up), and it never repeats a URL in a message, since people do put
passwords into them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from . import fields
from .fields import Field, complain, needed, opened, optional

if TYPE_CHECKING:
    from collections.abc import Mapping

KIND = "Environment"
ClusterKind = Literal["local", "kubernetes"]
CLUSTER_KINDS: tuple[ClusterKind, ...] = ("local", "kubernetes")

# Of the format, and refused until they do something: a field that is read and not obeyed is a trap.
LATER_IN_SPEC = ("branches", "prune", "maxConcurrentRollouts", "freeze", "notifications")
LATER_IN_PROMETHEUS = ("bearerTokenFile", "caFile", "username", "passwordFile")

INTERVAL = timedelta(seconds=15)
LONGEST_INTERVAL = timedelta(hours=1)  # a guess: longer, and an abort comes too late to be one
TIMEOUT = timedelta(seconds=5)
LONGEST_TIMEOUT = timedelta(minutes=2)  # Prometheus gives up on a query by itself after as long
WRITE_URL = "write it like http://prometheus.monitoring:9090, without user or query"
PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Match:
    """What a service must be for a binding to hold; an empty part does not ask for anything."""

    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """Give the services that match to a policy."""

    policy: str  # metadata.name of a policy file in the same tree
    match: Match = Match()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One cluster with its Prometheus, as a file in Git says it."""

    name: str
    cluster: ClusterKind
    context: str = ""  # of the kubeconfig; empty: the current one, or the cluster that we run in
    namespaces: tuple[str, ...] = ()  # that we may touch; empty: all
    prometheus_url: str = ""  # without a slash at its end; empty: the local cluster tells it
    prometheus_timeout: timedelta = TIMEOUT
    interval: timedelta = INTERVAL  # the longest wait between looks
    bindings: tuple[Binding, ...] = ()  # the first that matches wins


def read_environment(source: bytes, path: str) -> Environment:
    """Read ``.../NAME/cluster.yaml``; raise one Invalid with every complaint about it, each with its line."""
    root = fields.opening(source, path, KIND)
    opened(root, ("apiVersion", "kind", "metadata", "spec"))
    spec = opened(
        needed(root, "spec", "add a spec with cluster and policies"),
        ("cluster", "prometheus", "interval", "policies"),
        LATER_IN_SPEC,
    )
    remedy = f"add kind: {fields.listed(CLUSTER_KINDS)}"
    cluster = opened(needed(spec, "cluster", f"add cluster with {remedy[4:]}"), ("kind", "context", "namespaces"))
    kind = fields.choice(needed(cluster, "kind", remedy), CLUSTER_KINDS)
    prometheus = opened(optional(spec, "prometheus"), ("url", "timeout"), LATER_IN_PROMETHEUS)
    environment = Environment(
        name=_name(root, path),
        cluster=kind or "local",
        context=_context(cluster, kind),
        namespaces=fields.names(optional(cluster, "namespaces")),
        prometheus_url=_url(spec, prometheus, kind),
        prometheus_timeout=fields.span(optional(prometheus, "timeout"), TIMEOUT, LONGEST_TIMEOUT),
        interval=fields.span(optional(spec, "interval"), INTERVAL, LONGEST_INTERVAL),
        bindings=_bindings(spec),
    )
    fields.finish(root)
    return environment


def policy_for(environment: Environment, namespace: str, name: str, labels: Mapping[str, str]) -> str | None:
    """Name the policy of a service: that of the first binding that matches; None: no binding does."""
    for binding in environment.bindings:
        asked = binding.match
        if asked.namespaces and namespace not in asked.namespaces:
            continue
        if asked.names and name not in asked.names:
            continue
        if all(labels.get(key) == value for key, value in asked.labels.items()):
            return binding.policy
    return None


def _name(root: Field, path: str) -> str:
    """Read the name, which the folder must bear too: records and messages are filed under it."""
    found = needed(fields.metadata(root), "name", "add the name of its folder")
    name, folder = fields.name(found), path.rpartition("/")[0].rpartition("/")[2]
    if found is not None and folder and isinstance(found.value, str) and name != folder:
        message = f"{found.name} is {fields.shown(name)} in the folder {folder}"
        complain(found, message, f"write name: {folder}, or rename the folder", "range")
    return name


def _context(cluster: Field | None, kind: ClusterKind | None) -> str:
    """Read the kubeconfig context, which a local cluster has none of."""
    found = optional(cluster, "context")
    if found is not None and kind == "local":
        complain(found, f"{found.name} says nothing for a local cluster", "remove it", "unknown-field")
        return ""
    return fields.text(found, PRINTABLE.fullmatch, "write the name of a context of the kubeconfig")


def _url(spec: Field | None, prometheus: Field | None, kind: ClusterKind | None) -> str:
    """Read the address of Prometheus, without which only a local cluster can be judged."""
    if kind == "kubernetes":
        if spec is not None and "prometheus" not in spec.value:
            complain(spec, "spec.prometheus is missing", "add prometheus with its url", "missing")
        found = needed(prometheus, "url", WRITE_URL)
    else:
        found = optional(prometheus, "url")
    if found is None:
        return ""
    if not isinstance(found.value, str) or not PRINTABLE.fullmatch(found.value):
        complain(found, f"{found.name} is not a URL", WRITE_URL, "type")
        return ""
    wrong = _wrong_with(found.value)
    if wrong:
        complain(found, f"{found.name} {wrong}", WRITE_URL, "range")
    return found.value.rstrip("/")


def _wrong_with(url: str) -> str:
    """Say what is wrong with a URL without repeating any of it; empty: nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https"):
        return "is neither http nor https"
    if "@" in parts.netloc:
        return "holds credentials"
    if not parts.hostname or port == 0:
        return "names no host, or no port that can be reached"
    return "has a query or a fragment" if "?" in url or "#" in url else ""


def _bindings(spec: Field | None) -> tuple[Binding, ...]:
    """Read who follows which policy, and check that every binding can be reached."""
    remedy = "add at least one binding, such as {policy: standard}"
    bindings: list[Binding] = []
    everything = ""  # the first binding that matches every service
    for entry in fields.items(needed(spec, "policies", remedy), remedy):
        if everything:
            message = f"{entry.name} is never reached, since {everything} matches every service"
            complain(entry, message, "move it up or remove it", "order")
        binding = opened(entry, ("policy", "match"))
        policy = fields.name(needed(binding, "policy", "write policy: and the name of a policy file"))
        bindings.append(Binding(policy, _match(optional(binding, "match"))))
        if binding is not None and not everything and "match" not in binding.value:
            everything = entry.name
    return tuple(bindings)


def _match(found: Field | None) -> Match:
    """Read what a binding asks of a service; to match all, match is left out, so that a slip is no catch-all."""
    match = opened(found, ("namespaces", "names", "labels"))
    if match is not None and not match.value:
        complain(match, f"{match.name} is empty", "fill it, or remove it to match every service", "empty")
    labels = optional(match, "labels")
    if labels is not None and labels.value == {}:
        complain(labels, f"{labels.name} is empty", "fill it, or remove it", "empty")
    return Match(
        fields.names(optional(match, "namespaces")),
        fields.names(optional(match, "names")),
        fields.texts(labels),
    )
