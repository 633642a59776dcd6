"""What KServe and Knative make of one component: revisions, traffic, and who counts as rolled out.

KServe drives a Knative service by two short functions: one writes the wanted
traffic from the *previous* status, the other folds Knative's answer back into
that status.  Between them stand two rules of Knative: ``latestRevision`` means
the latest *ready* revision, which never goes backwards; and a route whose
targets are not all ready changes nothing.  The surprises of canary rollouts on
KServe all follow from these four, so they are written once, here, as functions
of values, for the local cluster and for the simulation alike.

Sources: KServe ``reconcilers/knative/ksvc_reconciler.go`` and
``inference_service_status.go`` (PropagateStatus); Knative ``configuration.go``
(findAndSetLatestReadyRevision) and ``route/traffic``; each played against
Knative's real controllers.

This module knows nothing of processes, HTTP, objects or time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of a traffic block; in a wanted block the latest revision has no name yet."""

    revision: str
    percent: int
    latest: bool = False
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable copy of a template."""

    name: str
    generation: int
    ready: bool | None = None  # None: not known yet; False: it failed, perhaps after having been ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One Knative service and what KServe's status says of it; empty names mean: none yet."""

    name: str  # the Knative service, for instance ``scorer-predictor``
    template: str | None = None  # digest of the revision template
    generation: int = 0  # of the configuration: how many templates there were
    revisions: tuple[Revision, ...] = ()
    wanted: tuple[Target, ...] = ()  # spec.traffic
    traffic: tuple[Target, ...] = ()  # status.traffic
    routed: bool = False  # RoutesReady
    created: str = ""  # latestCreatedRevision
    ready: str = ""  # latestReadyRevision
    rolled: str = ""  # latestRolledoutRevision
    previous: str = ""  # previousRolledoutRevision

    def revision(self, name: str) -> Revision | None:
        """Find a revision by its name; None: it never was, or was deleted."""
        return next((revision for revision in self.revisions if revision.name == name), None)

    @property
    def shares(self) -> dict[str, int]:
        """Percent of traffic by revision name; entries of the same revision are summed."""
        shares: dict[str, int] = {}
        for target in self.traffic:
            shares[target.revision] = shares.get(target.revision, 0) + target.percent
        return shares

    @property
    def reachable(self) -> frozenset[str]:
        """Revisions that keep their replicas: named by the route, at whatever percent, or newest."""
        named = {target.revision for target in (*self.wanted, *self.traffic) if target.revision}
        return frozenset(named | ({self.created, self.ready} - {""} if self.wanted else set()))


def traffic_spec(percent: int | None, component: Component, *, tagged: bool = False) -> tuple[Target, ...]:
    """Write the traffic that KServe asks Knative for, from the status it had before."""
    tag = "latest" if tagged else None
    if percent is None or not component.rolled:
        return (Target("", 100, latest=True, tag=tag),)
    latest = Target("", percent, latest=True, tag=tag)
    if percent >= 100:
        return (latest,)
    return latest, Target(component.rolled, 100 - percent, tag="prev")


def propagate(component: Component) -> Component:
    """Fold Knative's traffic into KServe's status; the second rule takes a lowered weight for a rollback."""
    rolled, previous = component.rolled, component.previous
    shares = component.shares
    for target in component.traffic:
        if not target.latest or target.revision != component.ready:
            continue
        if rolled != component.ready:
            if target.percent == 100:
                rolled, previous = component.ready, rolled
        elif component.ready == component.created and target.percent < 100 and shares[target.revision] == 100:
            rolled = previous or rolled
    return replace(component, rolled=rolled, previous=previous)


def route(component: Component) -> Component:
    """Resolve the wanted traffic; a target that is not ready freezes the whole route."""
    targets = tuple(replace(t, revision=component.ready) if t.latest else t for t in component.wanted)
    revisions = [component.revision(target.revision) for target in targets]
    if not all(revision is not None and revision.ready for revision in revisions):
        return replace(component, routed=False)
    return replace(component, traffic=targets, routed=bool(targets))


def configure(component: Component, template: str) -> Component:
    """Mint a revision if the template is another one; old content is minted anew as well."""
    if template == component.template:
        return component
    generation = component.generation + 1
    name = f"{component.name}-{generation:05d}"
    return replace(
        component,
        template=template,
        generation=generation,
        revisions=(*component.revisions, Revision(name, generation)),
        created=name,
    )


def settle_readiness(component: Component, readiness: Mapping[str, bool | None]) -> Component:
    """Take in which revisions are ready, and move latest ready forward; it never goes backwards."""
    revisions = tuple(replace(r, ready=readiness.get(r.name, r.ready)) for r in component.revisions)
    current = next((r.generation for r in revisions if r.name == component.ready), 0)
    candidates = [r for r in revisions if r.ready and r.generation >= current]
    newest = max(candidates, key=lambda r: r.generation, default=None)
    return replace(component, revisions=revisions, ready=newest.name if newest else component.ready)


def remove(component: Component, name: str) -> Component:
    """Delete a revision; the newest one comes back under its own name for as long as the template stands."""
    if name == component.created:
        blank = tuple(replace(r, ready=None) if r.name == name else r for r in component.revisions)
    else:
        blank = tuple(r for r in component.revisions if r.name != name)
    forgotten = replace(component, revisions=blank, ready="" if component.ready == name else component.ready)
    return settle_readiness(forgotten, {})


def converge(component: Component, percent: int | None, *, tagged: bool = False) -> Component:
    """Let KServe and Knative answer each other until neither has anything to say."""
    while True:
        component = propagate(route(component))
        wanted = traffic_spec(percent, component, tagged=tagged)
        if wanted == component.wanted:
            return component
        component = replace(component, wanted=wanted)


def apply(
    component: Component, template: str, percent: int | None, *, tagged: bool = False, race: bool = False
) -> Component:
    """Apply a template and a weight in one write, as KServe does with every change of an InferenceService.

    ``race`` plays the baseline race: the route's answer reaches KServe before the new revision does, and on a
    service with history KServe takes the lowered weight for a rollback to the model before.
    """
    component = replace(component, wanted=traffic_spec(percent, component, tagged=tagged))
    if race and template != component.template:
        component = propagate(route(component))
    return converge(configure(component, template), percent, tagged=tagged)
