"""The resources that the local cluster serves: their names, and what may be done with them.

Values only.  Everything that differs between resources and is not behaviour is
written here once: routes, discovery and storage are derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass

READS = ("get", "list", "watch")
WRITES = ("create", "delete", "patch", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One resource of the API; an empty group is Kubernetes' own."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = READS
    has_status: bool = False

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Its name in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


INFERENCE_SERVICE = Kind(
    group="serving.kserve.io",
    version="v1beta1",
    kind="InferenceService",
    plural="inferenceservices",
    singular="inferenceservice",
    short=("isvc",),
    verbs=READS + WRITES,
    has_status=True,
)
REVISION = Kind(
    group="serving.knative.dev",
    version="v1",
    kind="Revision",
    plural="revisions",
    singular="revision",
    short=("rev",),
    verbs=(*READS, "delete"),
    has_status=True,
)
NAMESPACE = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    short=("ns",),
    namespaced=False,
    verbs=(*READS, "create", "patch"),
)
EVENT = Kind(group="", version="v1", kind="Event", plural="events", singular="event", short=("ev",))

KINDS = (NAMESPACE, EVENT, INFERENCE_SERVICE, REVISION)
