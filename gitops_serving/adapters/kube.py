"""A Kubernetes cluster as the port Cluster: the only module that knows the ``kubernetes`` library.

It asks for raw JSON, because of an InferenceService only a dozen fields matter
and the library has no type for it; and it hands back what the cluster says in
the cluster's own names.  Whether that is good news is decided elsewhere.

Nothing is tried twice here: the next tick is the retry.  The texts of the
libraries' exceptions are never repeated, since addresses and kubeconfigs hold
secrets; the server's own words are.
"""

from __future__ import annotations

import ipaddress
import json
import os
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException, OpenApiException
from kubernetes.config import ConfigException

from gitops_serving.core.errors import Denied, Invalid, Refused, Unavailable
from gitops_serving.core.manifest import LABEL
from gitops_serving.core.model import Share, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gitops_serving.core.model import Due

MANAGER = "gitops-serving"

_SERVICES = ("serving.kserve.io", "v1beta1", "inferenceservices")
_REVISIONS = ("serving.knative.dev", "v1", "revisions")
_REVISIONS_OF = "serving.kserve.io/inferenceservice"
_TO_US = (401, 404, 405, 409)  # answers that say nothing about what the manifest asks for
_RIGHTS = "is forbidden: User "  # Kubernetes' words where a right is missing
_KNATIVE_MODES = ("Knative", "Serverless")  # the second is its name up to KServe 0.15
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_READINESS = frozenset({"PredictorReady", "LatestDeploymentReady", "PredictorConfigurationReady"})
_BLOCKED = frozenset({"BlockedByFailedLoad", "InvalidSpec"})
_WORDS = 500  # of a server's message that are worth repeating
_BUSY = frozenset({408, 425, 429})

# Everything that the client, its transport and its reading of an answer may raise.
_LIBRARY = (
    OpenApiException,
    ConfigException,
    urllib3.exceptions.HTTPError,
    HTTPException,
    OSError,
    ValueError,
    LookupError,
)

_REMEDIES = {
    400: "correct the manifest",
    401: "renew the credentials of the kubeconfig",
    403: "grant the right to get, create and patch inferenceservices there, or satisfy the admission rule it names",
    404: "install KServe, or correct the address of the cluster",
    409: "let one owner write this object, then try again",
    413: "make the manifest smaller",
    415: "use a cluster that knows server-side apply, Kubernetes 1.22 or later",
    422: "correct the manifest",
}


class KubeCluster:
    """InferenceServices behind one API server."""

    def __init__(
        self, api: client.ApiClient, *, observe_timeout_seconds: float = 5.0, apply_timeout_seconds: float = 10.0
    ) -> None:
        self._api = api
        self._objects = client.CustomObjectsApi(api)
        self._observe_timeout_seconds = observe_timeout_seconds
        self._apply_timeout_seconds = apply_timeout_seconds

    def observe(self, service: str) -> Status:
        """Tell what is there.  Never raises: ``known`` says whether the cluster answered."""
        try:
            return self._look(*_parted(service))
        except _LIBRARY as error:
            return Status(known=False, why=str(_translated(error, f"show {service}")))
        except Exception as error:  # noqa: BLE001 - an object of a shape nobody thought of must not stop the fleet
            why = f"the cluster describes {service} in an unexpected form ({type(error).__name__}); report this"
            return Status(known=False, why=why)

    def apply(self, due: Due) -> None:
        """Make a whole manifest live, as the owner of its fields; the caller has seen that something differs.

        Raises Refused, Unavailable.  After Unavailable it may have become live nevertheless.
        """
        namespace, name = _parted(due.service)
        group, version, plural = _SERVICES
        try:
            self._objects.patch_namespaced_custom_object(
                group,
                version,
                namespace,
                plural,
                name,
                dict(due.document),
                field_manager=MANAGER,
                field_validation="Strict",  # else a misspelt field is dropped in silence, and Git never becomes live
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=self._apply_timeout_seconds,
            )
        except _LIBRARY as error:
            raise _translated(error, f"apply {due.service}") from None  # its text may hold the address, a secret

    def close(self) -> None:
        """Give the connections back."""
        _untyped(self._api).close()

    def _look(self, namespace: str, name: str) -> Status:
        """Read one service and its revisions; raises what the library raises."""
        group, version, plural = _SERVICES
        timeout = self._observe_timeout_seconds
        try:
            live = self._objects.get_namespaced_custom_object(
                group, version, namespace, plural, name, _request_timeout=timeout
            )
        except ApiException as error:
            if error.status == 404 and _body(error).get("details", {}).get("name") == name:
                return Status()
            raise
        found = _object(live)
        mode = (found.get("status") or {}).get("deploymentMode") or _KNATIVE_MODES[0]
        if mode not in _KNATIVE_MODES:
            return Status(known=False, why=f"it runs in KServe's {mode} mode; only Knative mode is served so far")
        return _status(found, self._labels(namespace, name))

    def _labels(self, namespace: str, name: str) -> dict[str, str | None]:
        """Find our label on each revision; without them nobody could tell the revisions apart."""
        group, version, plural = _REVISIONS
        listed = self._objects.list_namespaced_custom_object(
            group,
            version,
            namespace,
            plural,
            label_selector=f"{_REVISIONS_OF}={name}",
            _request_timeout=self._observe_timeout_seconds,
        )
        found = [each["metadata"] for each in _object(listed)["items"]]
        return {each["name"]: (each.get("labels") or {}).get(LABEL) for each in found}


def connect(kubeconfig: str | None = None, context: str | None = None) -> KubeCluster:
    """Make a cluster from a kubeconfig; with neither argument from the pod we run in, else from kubectl's default.

    Sends nothing.  Raises Invalid.
    """
    settings = client.Configuration()
    settings.retries = False
    where = kubeconfig or "kubectl's default place"
    if kubeconfig and not any(Path(each).expanduser().is_file() for each in kubeconfig.split(os.pathsep)):
        raise _unusable(f"there is no kubeconfig at {kubeconfig}", kubeconfig)
    try:
        if kubeconfig or context or not _in_cluster(settings):
            _untyped(config).load_kube_config(kubeconfig, context, client_configuration=settings, persist_config=False)
    except (ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        wanted = f"context {context!r}" if context else "the current context"
        raise _unusable(f"the kubeconfig at {where} does not hold {wanted} in full", kubeconfig) from None
    if _is_loopback(settings.host) and settings.proxy in getproxies().values():
        settings.proxy = None  # kubectl, too, sends nothing for this machine through the proxy of the environment
    return KubeCluster(client.ApiClient(settings))


def _untyped(part: Any) -> Any:
    """Call what the library has left without types."""
    return part


def _in_cluster(settings: client.Configuration) -> bool:
    """Take the settings of the pod we run in, if we run in one."""
    try:
        _untyped(config).load_incluster_config(settings)
    except ConfigException:
        return False
    return True


def _unusable(message: str, path: str | None) -> Invalid:
    return Invalid(
        message,
        code="kubeconfig-unusable",
        path=path or "",
        remedy="look at it with kubectl config view, or name another one",
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parted(service: str) -> tuple[str, str]:
    """Split a service's name; raises ValueError."""
    namespace, _, name = service.partition("/")
    if not namespace or not name:
        raise ValueError(service)
    return namespace, name


def _object(answer: Any) -> dict[str, Any]:
    """Insist on a JSON object; raises ValueError."""
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - a garbled answer, like the JSON errors it stands beside
    return answer


def _status(live: Mapping[str, Any], labels: Mapping[str, str | None]) -> Status:
    """Read an InferenceService."""
    status = live.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    predictor = (status.get("components") or {}).get("predictor") or {}
    routes = conditions.get("RoutesReady") or conditions.get("PredictorRouteReady") or {}
    return Status(
        manifest=_manifest(live),
        uid=live["metadata"].get("uid"),
        created=predictor.get("latestCreatedRevision", ""),
        ready=predictor.get("latestReadyRevision", ""),
        rolled=predictor.get("latestRolledoutRevision", ""),
        previous=predictor.get("previousRolledoutRevision", ""),
        traffic=tuple(_shares(predictor.get("traffic") or ())),
        routed=routes.get("status") == "True",
        labels=labels,
        born=_instant(born) if (born := live["metadata"].get("creationTimestamp")) else None,
        applied=_applied(live["metadata"]),
        turned=max((_instant(c["lastTransitionTime"]) for c in _turns(conditions)), default=None),
        failure=_failure(status.get("modelStatus") or {}, conditions.get("PredictorReady") or {}),
    )


def _manifest(live: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a person would have written, and leave out what servers add."""
    metadata = {k: v for k, v in live["metadata"].items() if k in {"name", "namespace", "labels", "annotations"}}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k != _LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "spec": live["spec"]}


def _shares(traffic: Any) -> Iterator[Share]:
    for each in traffic:
        yield Share(each.get("revisionName", ""), int(each.get("percent") or 0), bool(each.get("latestRevision")))


def _turns(conditions: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Pick the conditions whose turning says that readiness changed."""
    for name, each in conditions.items():
        if name in _READINESS and each.get("lastTransitionTime"):
            yield each


def _applied(metadata: Mapping[str, Any]) -> datetime | None:
    """Find our last effective apply: the server leaves the time alone when an apply changes nothing."""
    ours = (
        _instant(each["time"])
        for each in metadata.get("managedFields") or ()
        if each.get("manager") == MANAGER and each.get("operation") == "Apply" and each.get("time")
    )
    return max(ours, default=None)


def _failure(model: Mapping[str, Any], ready: Mapping[str, Any]) -> str | None:
    """Say why the newest revision is not ready.

    ``lastFailureInfo`` is never cleared, so it counts only while the model is blocked.
    """
    if model.get("transitionStatus") in _BLOCKED:
        info = model.get("lastFailureInfo") or {}
        return _line(info.get("message") or info.get("reason") or model["transitionStatus"])
    if ready.get("status") == "False":
        return _line(ready.get("message") or ready.get("reason") or "PredictorReady is False")
    return None


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _line(text: Any) -> str:
    """Fold a foreign text into one line of bounded length."""
    return " ".join(str(text).split())[:_WORDS]


def _body(error: ApiException) -> dict[str, Any]:
    """Read the server's ``Status``; empty: it sent none."""
    try:
        body = json.loads(error.body or "")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return {}
    return body if isinstance(body.get("details"), dict) else {**body, "details": {}}


def _translated(error: Exception, act: str) -> Refused | Unavailable:
    """Turn what a library raised while we wanted to ``act`` into one of ours."""
    if isinstance(error, ConfigException):
        return Denied(f"cannot {act}: the kubeconfig's way to get credentials failed; log in to the cluster again")
    if isinstance(error, ApiException) and error.status:
        return _answered(error, act)
    if isinstance(error, (OpenApiException, urllib3.exceptions.HTTPError, HTTPException, OSError)):
        why = f"the cluster's API server did not answer ({_reason(error)})"
        return Unavailable(f"cannot {act}: {why}; see that it runs and can be reached")
    why = f"the cluster's API server sent no answer of its API ({type(error).__name__})"
    return Unavailable(f"cannot {act}: {why}; see what listens at its address")


def _answered(error: ApiException, act: str) -> Refused | Unavailable:
    """Sort an answer by its status: what a person must change, and what may pass by itself."""
    body, code = _body(error), int(error.status)
    words = _line(body.get("message") or error.reason or "no reason given")
    what = f"cannot {act}: the cluster says: {words} (HTTP {code})"
    # A field of the wrong type is no server error, although API servers have said 500 to it.
    if (400 <= code < 500 and code not in _BUSY) or "failed to create typed patch object" in words:
        ours = code in _TO_US or (code == 403 and _RIGHTS in words)  # admission, too, says 403
        return (Denied if ours else Refused)(f"{what}; {_remedy(code, body)}")
    return Unavailable(f"{what}; it is tried again, so look at the API server if this lasts")


def _remedy(code: int, body: Mapping[str, Any]) -> str:
    """Say what a person can do about a refusal."""
    details = body.get("details", {})
    if code == 404 and details.get("kind") == "namespaces":
        return f"create it with kubectl create namespace {details.get('name')}"
    return _REMEDIES.get(code, "correct the manifest" if code >= 500 else "ask who runs the cluster")


def _reason(error: BaseException) -> str:
    """Find the operating system's words at the bottom of a chain of wrappers, which repeat the whole address."""
    reason, inner = "", cast("BaseException | None", error)
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            reason = inner.strerror
        elif isinstance(inner, (urllib3.exceptions.TimeoutError, TimeoutError)):
            reason = reason or "time is up"
        inner = inner.__cause__ or inner.__context__
    return reason or type(error).__name__
