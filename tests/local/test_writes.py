from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.local import writes
from gitops_serving.local.faults import ApiError
from gitops_serving.local.kinds import INFERENCE_SERVICE
from gitops_serving.local.store import Store
from tests.local.objects import LATER, NOW, Json, labelled, service, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def owners(body: Json) -> dict[tuple[str, str], Any]:
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in body["metadata"]["managedFields"]}


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


def test_an_apply_owns_spec_as_one_field_and_labels_one_by_one(store: Store) -> None:
    body, new = writes.apply(store, write(), labelled(service(), team="risk", tier="gold"))
    assert new
    assert owners(body) == {
        ("alice", "Apply"): {"f:metadata": {"f:labels": {"f:team": {}, "f:tier": {}}}, "f:spec": {}}
    }
    assert body["metadata"]["managedFields"][0]["time"] == NOW


def test_an_apply_of_the_same_changes_nothing_at_all(store: Store) -> None:
    first, _ = writes.apply(store, write(), labelled(service(), team="risk"))
    again, new = writes.apply(store, write(now=LATER), labelled(service(), team="risk"))
    assert again == first
    assert not new
    assert store.version == int(first["metadata"]["resourceVersion"])


def test_generation_counts_changes_of_the_spec_and_nothing_else(store: Store) -> None:
    def generation(body: Json) -> int:
        return int(writes.apply(store, write(), body)[0]["metadata"]["generation"])

    assert generation(service()) == 1
    assert generation(labelled(service(), team="risk")) == 1
    assert generation(labelled(service(canaryTrafficPercent=10), team="risk")) == 2


def test_another_managers_spec_is_a_conflict_that_names_the_manager(store: Store) -> None:
    writes.apply(store, write(), service())
    error = refused(lambda: writes.apply(store, write(manager="bob"), service(minReplicas=2)))
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == ('Apply failed with 1 conflict: conflict with "alice": .spec')
    assert error.details["causes"][0]["reason"] == "FieldManagerConflict"
    assert error.details["causes"][0]["field"] == ".spec"


def test_every_conflict_is_told_at_once(store: Store) -> None:
    writes.apply(store, write(), labelled(service(), team="risk"))
    mine = labelled(service(minReplicas=2), team="fraud")
    error = refused(lambda: writes.apply(store, write(manager="bob"), mine))
    assert [cause["field"] for cause in error.details["causes"]] == [".spec", ".metadata.labels.team"]
    assert error.message == ('Apply failed with 2 conflicts: conflicts with "alice":\n- .spec\n- .metadata.labels.team')


def test_force_takes_the_fields_over(store: Store) -> None:
    writes.apply(store, write(), labelled(service(), team="risk"))
    body, _ = writes.apply(store, write(manager="bob", force=True, now=LATER), service(minReplicas=2))
    assert owners(body) == {
        ("alice", "Apply"): {"f:metadata": {"f:labels": {"f:team": {}}}},
        ("bob", "Apply"): {"f:spec": {}},
    }
    assert body["spec"]["predictor"]["minReplicas"] == 2
    assert refused(lambda: writes.apply(store, write(), service())).code == 409


def test_the_same_value_is_shared_and_then_a_conflict_for_whoever_changes_it(store: Store) -> None:
    writes.apply(store, write(), service())
    body, _ = writes.apply(store, write(manager="bob"), service())
    assert set(owners(body)) == {("alice", "Apply"), ("bob", "Apply")}
    assert '"bob"' in refused(lambda: writes.apply(store, write(), service(minReplicas=2))).message


def test_what_a_manager_stops_naming_goes_unless_another_owns_it(store: Store) -> None:
    writes.apply(store, write(), labelled(service(), team="risk", tier="gold"))
    writes.apply(store, write(manager="bob"), labelled(service(), tier="gold"))
    body, _ = writes.apply(store, write(), service())
    assert body["metadata"]["labels"] == {"tier": "gold"}


def test_a_spec_is_atomic_so_that_what_an_apply_leaves_out_is_gone(store: Store) -> None:
    writes.apply(store, write(), service(minReplicas=2, timeout=30))
    body, _ = writes.apply(store, write(), service(timeout=30))
    assert "minReplicas" not in body["spec"]["predictor"]


def test_a_dry_run_shows_the_result_and_stores_nothing(store: Store) -> None:
    before, _ = writes.apply(store, write(), service())
    shown, _ = writes.apply(store, write(dry_run=True), service(minReplicas=2))
    assert shown["spec"]["predictor"]["minReplicas"] == 2
    assert shown["metadata"]["generation"] == 2
    assert shown["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert store.get(INFERENCE_SERVICE, "fraud", "scorer") == before


def test_a_dry_run_of_a_new_object_is_validated_and_stores_nothing(store: Store) -> None:
    shown, new = writes.apply(store, write(dry_run=True), service())
    assert new
    assert "resourceVersion" not in shown["metadata"]
    assert refused(lambda: writes.apply(store, write(dry_run=True), service(minReplicas=-1))).code == 422
    assert store.every(INFERENCE_SERVICE) == []


def test_nobody_writes_status(store: Store) -> None:
    lying = {**service(), "status": {"url": "http://elsewhere"}}
    assert "status" not in writes.apply(store, write(), lying)[0]
    told = store.put(INFERENCE_SERVICE, {**writes.live_object(store, write()), "status": {"url": "http://here"}})
    stale = {**told, "status": {"url": "http://elsewhere"}, "spec": service(minReplicas=3)["spec"]}
    assert writes.replace(store, write(), stale)["status"] == {"url": "http://here"}


def test_a_replace_from_an_old_version_is_a_conflict(store: Store) -> None:
    first = writes.create(store, write(""), service())
    writes.replace(store, write(), {**first, "spec": service(minReplicas=2)["spec"]})
    error = refused(lambda: writes.replace(store, write(), {**first, "spec": service(minReplicas=3)["spec"]}))
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the object has been modified" in error.message


def test_a_replace_without_a_version_is_refused(store: Store) -> None:
    writes.create(store, write(""), service())
    assert "resourceVersion" in refused(lambda: writes.replace(store, write(), service(minReplicas=2))).message


def test_an_apply_may_name_the_version_and_the_uid_that_it_expects(store: Store) -> None:
    first, _ = writes.apply(store, write(), service())
    writes.apply(store, write(), service(minReplicas=2))
    stale, other = service(minReplicas=3), service(minReplicas=3)
    stale["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
    other["metadata"]["uid"] = "another"
    renamed = {"metadata": {"name": "new", "uid": "another"}}
    assert refused(lambda: writes.apply(store, write(), stale)).code == 409
    assert refused(lambda: writes.apply(store, write(), other)).message.endswith("field is immutable")
    assert "uid mismatch" in refused(lambda: writes.apply(store, write("new"), service("new") | renamed)).message


def test_an_update_takes_ownership_of_what_it_changes(store: Store) -> None:
    writes.apply(store, write(), labelled(service(), team="risk"))
    patch = {"spec": {"predictor": {"canaryTrafficPercent": 10}}}
    body = writes.merge(store, write(manager="kubectl-edit", now=LATER), patch)
    assert owners(body) == {
        ("alice", "Apply"): {"f:metadata": {"f:labels": {"f:team": {}}}},
        ("kubectl-edit", "Update"): {"f:spec": {}},
    }
    assert body["spec"]["predictor"]["model"]["modelFormat"] == {"name": "sklearn"}
    told = refused(lambda: writes.apply(store, write(), service())).message
    assert told.endswith('conflict with "kubectl-edit" using serving.kserve.io/v1beta1: .spec')


def test_a_merge_removes_with_null(store: Store) -> None:
    writes.apply(store, write(), labelled(service(minReplicas=2), team="risk"))
    patch = {"metadata": {"labels": {"team": None}}, "spec": {"predictor": {"minReplicas": None}}}
    body = writes.merge(store, write(), patch)
    assert "labels" not in body["metadata"]
    assert "minReplicas" not in body["spec"]["predictor"]


def test_a_merge_without_effect_changes_nothing(store: Store) -> None:
    first, _ = writes.apply(store, write(), service())
    assert writes.merge(store, write(manager="bob", now=LATER), {"metadata": {}}) == first


def test_a_second_create_is_refused(store: Store) -> None:
    writes.create(store, write(""), service())
    assert refused(lambda: writes.create(store, write(""), service())).reason == "AlreadyExists"


def test_a_delete_may_be_held_to_a_uid(store: Store) -> None:
    body, _ = writes.apply(store, write(), service())
    assert refused(lambda: writes.delete(store, write(), {"uid": "another"})).code == 409
    writes.delete(store, write(), {"uid": body["metadata"]["uid"]})
    assert refused(lambda: writes.delete(store, write(), {})).code == 404


def test_an_object_that_is_made_anew_is_another_one(store: Store) -> None:
    first, _ = writes.apply(store, write(), service())
    writes.delete(store, write(), {})
    second, new = writes.apply(store, write(), service())
    assert new
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
        ({"metadata": {"name": "scorer", "namespace": "other"}}, 400, "does not match the namespace on the URL"),
        ({"apiVersion": "serving.kserve.io/v1alpha1"}, 400, "apiVersion is 'serving.kserve.io/v1alpha1'"),
        ({"metadata": {"name": "scorer", "managedFields": [{}]}}, 400, "managedFields must be nil"),
        ({"metadata": {"name": "scorer", "labels": ["a"]}}, 400, "metadata.labels has to be a mapping"),
        ({"metadata": {"name": "scorer", "labels": {"a": 1}}}, 422, "metadata.labels.a"),
        ({"metadata": {"name": "scorer", "finalizers": ["x"]}}, 422, "metadata.finalizers"),
        ({"metadata": None}, 400, "metadata has to be a mapping"),
        ({"spec": None}, 422, "spec: "),
        ({"extra": 1}, 400, 'unknown field "extra"'),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(store: Store, change: Json, code: int, said: str) -> None:
    error = refused(lambda: writes.apply(store, write(strict=True), {**service(), **change}))
    assert error.code == code
    assert said in error.message


def test_an_apply_without_a_manager_is_refused(store: Store) -> None:
    assert "fieldManager" in refused(lambda: writes.apply(store, write(manager=""), service())).message


def test_unknown_fields_are_dropped_where_nobody_asked_for_strictness(store: Store) -> None:
    assert "extra" not in writes.apply(store, write(), {**service(), "extra": 1})[0]
