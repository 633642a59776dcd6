"""One InferenceService's reconciliation: the object, its component and its revisions, brought together.

A pass reads the objects and the health of the processes, lets ``reconcile`` say
what KServe and Knative make of it, and writes revisions and status back.  It is
level-based: it may run at any time, any number of times, and a pass without news
writes nothing.  What Knative would remember is a record, a file beside the objects.

Starts and stops nothing: the record says which revisions have to have processes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from gitops_serving.local import reconcile, revisions, template
from gitops_serving.local.kinds import INFERENCE_SERVICE, REVISION
from gitops_serving.local.reconcile import Component, Revision, Target
from gitops_serving.local.status import Known, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops_serving.local.faults import Json
    from gitops_serving.local.scale import Scale
    from gitops_serving.local.store import Store

KEPT = 20  # revisions that nothing names are kept up to this number, as Knative does at least
DEADLINE = "serving.knative.dev/progress-deadline"
DEADLINE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What Knative would remember of one component."""

    uid: str  # of the InferenceService: one that is made anew under its name begins anew
    component: Component
    body: Json = field(default_factory=dict)  # the template of the newest revision
    generation: int = 0  # of the Knative service: changes of template or traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a pass looks at beside the InferenceService."""

    store: Store
    scale: Callable[[Json], Scale]  # of a Revision object's processes
    elapsed: float  # loop time
    now: str
    address: str  # of the gateway; empty: it is not up


def blank(service: Json) -> Record:
    """Begin the record of a new InferenceService."""
    metadata = service["metadata"]
    return Record(uid=metadata["uid"], component=Component(name=f"{metadata['name']}-predictor"))


def reconciled(record: Record, service: Json, world: World) -> Record:
    """Run one pass: write revisions and status, and return the record that follows."""
    refusal = template.refusal(service)
    namespace = service["metadata"]["namespace"]
    component, body = _observed(record.component, namespace, world), record.body
    if refusal is None:
        body = template.template(service)
        component = reconcile.apply(
            component, template.digest(body), template.weight(service), tagged=template.tagged(service)
        )
    else:
        component = reconcile.route(component)
    before = record.component
    changed = (component.template, component.wanted) != (before.template, before.wanted)
    after = replace(record, component=_collected(component), body=body, generation=record.generation + changed)
    _write_revisions(after, service, world)
    newest = world.store.get(REVISION, namespace, component.created) or {}
    known = Known(
        service=service,
        component=after.component,
        newest=world.scale(newest),
        failure=revisions.ready_condition(newest).get("message", ""),
        refusal=refusal,
        generation=after.generation,
        address=world.address,
    )
    told = status(known, world.now)
    if told != service.get("status"):
        world.store.put(INFERENCE_SERVICE, {**service, "status": told})
    return after


def own_revisions(store: Store, namespace: str, configuration: str) -> list[Json]:
    """List the Revision objects of a component."""
    labelled = (
        (body, body["metadata"]["labels"].get(revisions.CONFIGURATION)) for body in store.every(REVISION, namespace)
    )
    return [body for body, name in labelled if name == configuration]


def to_json(record: Record) -> Json:
    """Write a record as JSON."""
    return asdict(record)


def from_json(value: Json) -> Record:
    """Read a record back."""
    told = dict(value["component"])
    told["revisions"] = tuple(Revision(**one) for one in told["revisions"])
    for name in ("wanted", "traffic"):
        told[name] = tuple(Target(**one) for one in told[name])
    return Record(**{**value, "component": Component(**told)})


def _observed(component: Component, namespace: str, world: World) -> Component:
    """Take in which revisions were deleted, and how the processes of the others are."""
    readiness: dict[str, bool | None] = {}
    for revision in component.revisions:
        body = world.store.get(REVISION, namespace, revision.name)
        if body is None:
            component = reconcile.remove(component, revision.name)
        else:
            readiness[revision.name] = _readiness(revision, body, world)
    return reconcile.settle_readiness(component, readiness)


def _readiness(revision: Revision, body: Json, world: World) -> bool | None:
    """Say whether a revision is ready; one that is scaled down, or comes up again, stays what it was."""
    scale = world.scale(body)
    if not scale.desired:
        return revision.ready
    if scale.ready:
        return True
    patience = _seconds(body["metadata"]["annotations"].get(DEADLINE, ""))
    late = scale.starting is not None and world.elapsed - scale.starting > patience
    return False if scale.failed or (late and revision.ready is None) else revision.ready


def _seconds(text: str) -> float:
    """Read a duration such as ``600s`` or ``10m``; anything else is the default."""
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in {"s", "m"}:
        return DEADLINE_SECONDS
    return float(number) * (60 if unit == "m" else 1)


def _collected(component: Component) -> Component:
    """Forget the oldest of the revisions that nothing names."""
    idle = [revision.name for revision in component.revisions if revision.name not in component.reachable]
    dropped = set(idle[:-KEPT])
    return replace(component, revisions=tuple(r for r in component.revisions if r.name not in dropped))


def _write_revisions(record: Record, service: Json, world: World) -> None:
    """Create the newest revision's object, bring the others up to date, and remove those that are forgotten."""
    component, store = record.component, world.store
    namespace = service["metadata"]["namespace"]
    for revision in component.revisions:
        body = store.get(REVISION, namespace, revision.name)
        if body is None and revision.name == component.created:
            body = revisions.new(service, revision, component.name, record.body, world.now)
        if body is None:
            continue
        routing = "active" if revision.name in component.reachable else "reserve"
        labels = {**body["metadata"]["labels"], "serving.knative.dev/routingState": routing}
        told = revisions.status(revision, world.scale(body), body, world.now)
        wanted = {**body, "metadata": {**body["metadata"], "labels": labels}, "status": told}
        if wanted != body:
            store.put(REVISION, wanted)
    known = {revision.name for revision in component.revisions}
    for body in own_revisions(store, namespace, component.name):
        if body["metadata"]["name"] not in known:
            store.remove(REVISION, body)
