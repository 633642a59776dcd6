"""What KServe would write into an InferenceService's status, from what is known of its component.

Conditions follow Knative's and KServe's rules: ``Ready`` is PredictorReady and
IngressReady, PredictorReady is the Knative service's, which is the configuration
(is the newest revision ready?) and the route (does it stand as wanted?).
``observedGeneration`` is the child's, as on a real cluster.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.local.revisions import dated

if TYPE_CHECKING:
    from gitops_serving.local.faults import Json
    from gitops_serving.local.reconcile import Component, Target
    from gitops_serving.local.scale import Scale
    from gitops_serving.local.template import Refusal

DOMAIN = "example.com"


@dataclass(frozen=True, slots=True)
class State:
    """One condition's status with its reason and message; None is Unknown."""

    status: bool | None
    reason: str = ""
    message: str = ""

    def condition(self, name: str, *, info: bool = False) -> Json:
        """Write it as a condition without its time."""
        words = {"reason": self.reason, "message": self.message}
        return {
            "type": name,
            "status": {True: "True", False: "False", None: "Unknown"}[self.status],
            **{key: text for key, text in words.items() if text},
            **({"severity": "Info"} if info else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that a status is written from."""

    service: Json
    component: Component
    newest: Scale  # of the newest revision's processes
    failure: str  # why the newest revision is not ready; empty: nothing is known to be wrong
    refusal: Refusal | None
    generation: int  # of the Knative service
    address: str  # of the gateway; empty: it is not up


def status(known: Known, now: str) -> Json:
    """Write the whole status."""
    before: Json = known.service.get("status", {})
    configuration, route = _configuration(known), _route(known.component)
    predictor = _predictor(known, configuration, route)
    ingress = State(True) if predictor.status else State(False, "Predictor ingress not created")
    listed = [
        _both(predictor, ingress).condition("Ready"),
        predictor.condition("PredictorReady"),
        ingress.condition("IngressReady"),
        route.condition("PredictorRouteReady", info=True),
        configuration.condition("PredictorConfigurationReady", info=True),
        route.condition("RoutesReady", info=True),
        configuration.condition("LatestDeploymentReady", info=True),
    ]
    return {
        "observedGeneration": known.generation,
        "deploymentMode": "Knative",
        "clusterServingRuntimeName": "kserve-sklearnserver",
        "conditions": dated(listed, before.get("conditions", []), now),
        "components": {"predictor": _component(known)},
        "modelStatus": _model_status(known, before.get("modelStatus", {}), now),
        **_addresses(known),
    }


def _both(first: State, second: State) -> State:
    """Join two conditions: what is False wins, then what is Unknown."""
    return next((state for word in (False, None) for state in (first, second) if state.status is word), State(True))


def _configuration(known: Known) -> State:
    """Say whether the newest revision is ready."""
    revision = known.component.revision(known.component.created)
    if revision is None:
        return State(None, "Deploying")
    if revision.ready is False:
        message = f'Revision "{revision.name}" failed with message: {known.failure}'
        return State(False, "RevisionFailed", message)
    return State(True) if revision.ready else State(None, "Deploying", f'Revision "{revision.name}" is starting')


def _route(component: Component) -> State:
    """Say whether the route stands as wanted; it does not move while one of its targets is not ready."""
    if component.routed:
        return State(True)
    if not component.ready:
        newest = component.revision(component.created)
        failed = newest is not None and newest.ready is False
        message = f'Configuration "{component.name}" does not have any ready Revision'
        return State(False if failed else None, "RevisionMissing", message)
    targets = [component.ready if target.latest else target.revision for target in component.wanted]
    found = [(name, component.revision(name)) for name in dict.fromkeys(targets)]
    ill = ", ".join(name for name, revision in found if revision is None or not revision.ready)
    return State(False, "RevisionMissing", f"the route stays as it is until Revision {ill} is ready")


def _predictor(known: Known, configuration: State, route: State) -> State:
    """Say whether the Knative service is ready, and was written at all."""
    if known.refusal is not None:
        return State(False, known.refusal.reason, known.refusal.message)
    return _both(configuration, route)


def _component(known: Known) -> Json:
    """Write the predictor's revisions and traffic."""
    component, namespace = known.component, known.service["metadata"]["namespace"]
    names = {
        "latestCreatedRevision": component.created,
        "latestReadyRevision": component.ready,
        "latestRolledoutRevision": component.rolled,
        "previousRolledoutRevision": component.previous,
    }
    listed: Json = {key: name for key, name in names.items() if name}
    if component.traffic:
        listed["url"] = f"http://{component.name}.{namespace}.{DOMAIN}"
        listed["traffic"] = [_target(target, component, namespace) for target in component.traffic]
    return listed


def _target(target: Target, component: Component, namespace: str) -> Json:
    """Write one entry of the traffic."""
    entry: Json = {"revisionName": target.revision, "percent": target.percent, "latestRevision": target.latest}
    if target.tag:
        entry |= {"tag": target.tag, "url": f"http://{target.tag}-{component.name}.{namespace}.{DOMAIN}"}
    return entry


def _addresses(known: Known) -> Json:
    """Write where predictions are answered, once there is a route."""
    if not known.component.traffic:
        return {}
    metadata = known.service["metadata"]
    path = f"{known.address}/serving/{metadata['namespace']}/{metadata['name']}"
    url = f"http://{metadata['name']}.{metadata['namespace']}.{DOMAIN}"
    return {"url": url, **({"address": {"url": path}} if known.address else {})}


def _model_status(known: Known, before: Json, now: str) -> Json:
    """Write how the newest revision's model is; a failure's description stays, as on a real cluster."""
    component, scale = known.component, known.newest
    revision = component.revision(component.created)
    active = {"activeModelState": "Loaded"} if component.traffic else {}
    if known.refusal is not None and known.refusal.invalid_spec:
        word, target = "InvalidSpec", "FailedToLoad"
        failure: Json = {"reason": known.refusal.reason, "message": known.refusal.message}
    elif revision is not None and revision.ready is False:
        word, target = "BlockedByFailedLoad", "FailedToLoad"
        failure = {"reason": "ModelLoadFailed", "message": known.failure, "modelRevisionName": revision.name}
        failure |= {"exitCode": scale.exit_code} if scale.exit_code is not None else {}
    elif revision is not None and revision.ready and component.ready == component.created:
        word, target, failure = "UpToDate", "Loaded", {}
    else:
        word, target, failure = "InProgress", "Loading" if scale.desired else "Pending", {}
    return {
        "transitionStatus": word,
        "states": {**active, "targetModelState": target},
        "copies": {"totalCopies": scale.ready, "failedCopies": int(scale.failed)},
        **_last_failure(failure, before, now),
    }


def _last_failure(failure: Json, before: Json, now: str) -> Json:
    """Keep the description of the last failure, with the time at which it was first so described."""
    known: Json = before.get("lastFailureInfo", {})
    if not failure or all(known.get(key) == failure.get(key) for key in ("reason", "message", "modelRevisionName")):
        return {"lastFailureInfo": known} if known else {}
    return {"lastFailureInfo": {**failure, "time": now}}
