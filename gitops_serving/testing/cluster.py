"""A cluster in memory: the port ``Cluster`` with KServe's and Knative's semantics, and faults on demand.

Revisions, traffic and baselines come from the same functions that run the local
cluster (`local/reconcile`), so what a simulation finds is true there too.  A test
says how long a revision takes to become ready, or that it never does; readiness
comes when the clock passes that instant, and is reported to a witness.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gitops_serving.core import manifest
from gitops_serving.core.errors import Refused, Unavailable
from gitops_serving.core.model import Share, Status
from gitops_serving.local.reconcile import Component, apply, converge, settle_readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gitops_serving.core.model import Due

Loading = timedelta | None  # None: it never becomes ready


@dataclass(slots=True, kw_only=True)
class Served:
    """One InferenceService as the cluster holds it."""

    uid: str
    manifest: Mapping[str, Any]
    component: Component
    labels: dict[str, str | None] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)  # revision name -> our digest of it
    due: dict[str, datetime] = field(default_factory=dict)  # revision name -> when it becomes ready
    born: datetime
    applied: datetime
    turned: datetime

    @property
    def weight(self) -> int | None:
        """The live weight."""
        return manifest.owned_of(self.manifest).weight


class FakeCluster:
    """KServe in memory.

    ``down``: why the API does not answer.  ``refuses``: says no to a manifest, with words.  ``loading``: how long a
    manifest takes to become ready.  ``race``: whether this apply loses the baseline race.  ``lags``: whether the
    next look still shows what the one before it saw, as status does that travels through informers.  ``before_apply``
    is called with each manifest that is taken, before anything happens; ``changed`` after every change of traffic
    or readiness.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._uids = 0
        self.services: dict[str, Served] = {}
        self.down: str | None = None
        self.refuses: Callable[[Mapping[str, Any]], str | None] = lambda _: None
        self.loading: Callable[[Mapping[str, Any]], Loading] = lambda _: timedelta()
        self.race: Callable[[str], bool] = lambda _: False
        self.lags: Callable[[], bool] = lambda: False
        self._seen: dict[str, Status] = {}
        self.before_apply: Callable[[str, Mapping[str, Any]], None] = lambda _, __: None
        self.changed: Callable[[str, Served], None] = lambda _, __: None
        self.applies = 0

    def observe(self, service: str) -> Status:
        """Tell what is there."""
        if self.down is not None:
            return Status(known=False, why=self.down)
        self.advance()
        served = self.services.get(service)
        if served is None:
            return Status()
        old = self._seen.get(service)
        self._seen[service] = now = self._status(served)
        if old is not None and old.uid == now.uid and self.lags():
            return replace(old, manifest=now.manifest, applied=now.applied)  # the spec is read from the server itself
        return now

    @staticmethod
    def _status(served: Served) -> Status:
        component = served.component
        return Status(
            manifest=served.manifest,
            uid=served.uid,
            created=component.created,
            ready=component.ready,
            rolled=component.rolled,
            previous=component.previous,
            traffic=tuple(Share(t.revision, t.percent, t.latest) for t in component.traffic),
            routed=component.routed,
            labels=dict(served.labels),
            born=served.born,
            applied=served.applied,
            turned=served.turned,
        )

    def apply(self, due: Due) -> None:
        """Make a manifest live."""
        if self.down is not None:
            raise Unavailable(f"applying {due.service}: {self.down}; it is tried again at the next tick")
        words = self.refuses(due.document)
        if words is not None:
            raise Refused(words)
        self.before_apply(due.service, due.document)
        self.advance()
        self.applies += 1
        now = self._clock()
        served = self.services.get(due.service)
        if served is None:
            self._uids += 1
            name = due.service.split("/")[1]
            served = Served(
                uid=f"uid-{self._uids}",
                manifest={},
                component=Component(name=f"{name}-predictor"),
                born=now,
                applied=now,
                turned=now,
            )
            self.services[due.service] = served
        if served.manifest == due.document:
            return
        served.manifest, served.applied = due.document, now
        before = served.component
        served.component = apply(before, _template(due.document), served.weight, race=self.race(due.service))
        if served.component.created != before.created:
            self._start(served, now)
        self.changed(due.service, served)
        self.advance()

    def _start(self, served: Served, now: datetime) -> None:
        """Let the newest revision load."""
        name, document = served.component.created, served.manifest
        served.labels[name] = manifest.owned_of(document).label
        served.contents[name] = manifest.revision_of(document)
        served.turned = now
        loading = self.loading(document)
        if loading is not None:
            served.due[name] = now + loading

    def advance(self) -> None:
        """Let everything become ready whose time has come, one revision after the other."""
        for service, served in self.services.items():
            while (name := self._next(served)) is not None:
                at = served.due.pop(name)
                component = settle_readiness(served.component, {name: True})
                served.component = converge(component, served.weight)
                served.turned = max(at, served.turned)
                self.changed(service, served)

    def _next(self, served: Served) -> str | None:
        """Find the revision that became ready first; a superseded one may still do so."""
        ripe = [name for name, at in served.due.items() if at <= self._clock()]
        return min(ripe, key=lambda name: served.due[name], default=None)

    def lose(self) -> None:
        """Lose everything, as a rebuilt cluster has."""
        self.services.clear()

    def edit(self, service: str, document: Mapping[str, Any]) -> None:
        """Change the live object behind everybody's back."""
        served = self.services[service]
        self.services[service] = replace(served, manifest=document)


def _template(document: Mapping[str, Any]) -> str:
    """Everything that goes into a revision template: all but the weight."""
    owned = manifest.owned_of(document)
    return json.dumps([manifest.revision_of(document), owned.label])
