from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core import manifest, yamltext
from gitops_serving.core.errors import Invalid
from gitops_serving.core.manifest import LABEL, bare, edits, owned_of, revision_of, with_owned
from gitops_serving.core.model import Owned

from .situations import quick
from .trees import ONE, TWO, text, value

ours = st.builds(
    Owned,
    st.none() | st.integers(0, 100),
    st.none() | st.sampled_from(("12e345678901.1", "123456789012.5", "abcdefabcdef.22")),
)
names = st.sampled_from(("team", "n", "12", "a/b", "app.kubernetes.io/name"))
words = st.sampled_from(("x", "12", "true", "é", "", "null", "1e3"))
labelled = st.dictionaries(names, words, min_size=1, max_size=3)
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | words


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what KServe would take, with all the places that count."""
    predictor: dict[str, Any] = {"model": draw(st.dictionaries(names, LEAVES, max_size=3))}
    if draw(st.booleans()):
        predictor["labels"] = draw(labelled)
    predictor |= draw(st.dictionaries(st.sampled_from(("minReplicas", "maxReplicas", "timeout")), st.integers(0, 9)))
    metadata: dict[str, Any] = {"name": "scorer", "namespace": "fraud"}
    metadata |= draw(st.fixed_dictionaries({}, optional={"labels": labelled, "annotations": labelled}))
    made = {"apiVersion": manifest.API_VERSION, "kind": manifest.KIND, "metadata": metadata}
    return {**made, "spec": {"predictor": predictor}}


def dumped(document: dict[str, Any], *, flow: bool | None) -> bytes:
    """Write a manifest in one of YAML's three styles: block, braces or a mix."""
    return yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True, sort_keys=False, width=10_000).encode()


# -- the revision ----------------------------------------------------------------------------------------------------


@quick
@given(manifests(), ours)
def test_a_revision_ignores_the_owned_fields(document: dict[str, Any], owned: Owned) -> None:
    written = with_owned(document, owned)
    assert revision_of(written) == revision_of(document)
    assert owned_of(written) == owned
    assert bare(written) == bare(document)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every leaf of a document."""
    if isinstance(document, dict) and document:
        return [place for key, inner in document.items() for place in places(inner, (*path, key))]
    return [path]


@quick
@given(manifests(), ours, st.data())
def test_a_revision_ignores_nothing_else(document: dict[str, Any], owned: Owned, data: st.DataObject) -> None:
    """Whatever leaf of spec, labels or annotations changes, it is another revision."""
    document = with_owned(document, owned)
    changed = copy.deepcopy(document)
    counted = [
        place
        for place in places(document)
        if place[0] == "spec" or place[:2] in (("metadata", "labels"), ("metadata", "annotations"))
        if place[-1] not in (LABEL, "canaryTrafficPercent")
    ]
    *path, last = data.draw(st.sampled_from(counted))
    inner = changed
    for key in path:
        inner = inner[key]
    inner[last] = "another value"
    assert revision_of(changed) != revision_of(document)
    del inner[last]
    assert revision_of(changed) != revision_of(document)


def test_a_revision_ignores_comments_order_and_layout() -> None:
    reordered = value(yaml.safe_dump(value(ONE), sort_keys=True))
    assert revision_of(reordered) == revision_of(value(ONE))
    assert revision_of(value(TWO)) != revision_of(value(ONE))
    assert len(revision_of(value(ONE))) == 12


def test_a_revision_ignores_what_kubectl_notes_about_itself() -> None:
    noted = copy.deepcopy(dict(value(ONE)))
    noted["metadata"] = {**noted["metadata"], "annotations": {manifest.COPIED_ANNOTATIONS_NOT[0]: "{}"}}
    assert revision_of(noted) == revision_of(value(ONE))


def test_a_revision_does_not_depend_on_what_the_server_adds() -> None:
    served = {**value(ONE), "metadata": {**value(ONE)["metadata"], "uid": "u", "generation": 7}}
    assert revision_of(served) == revision_of(value(ONE))


# -- our edits -------------------------------------------------------------------------------------------------------


@quick
@given(manifests(), ours, ours, st.sampled_from((None, False, True)))
def test_an_edited_text_is_exactly_the_document_with_owned_fields(
    document: dict[str, Any], before: Owned, after: Owned, flow: bool | None
) -> None:
    source = dumped(with_owned(document, before), flow=flow)
    parsed = yamltext.read(source)[0].value
    patched = yamltext.patch(source, edits(parsed, after))
    assert yamltext.read(patched)[0].value == with_owned(parsed, after)


@quick
@given(ours, ours)
def test_edits_change_no_line_but_ours(before: Owned, after: Owned) -> None:
    source = yamltext.patch(ONE.encode(), edits(value(ONE), before))
    patched = yamltext.patch(source, edits(value(source), after))
    ours_only = ("canaryTrafficPercent", LABEL, "    labels:")
    changed = set(source.decode().splitlines()) ^ set(patched.decode().splitlines())
    assert all(line.strip().startswith(tuple(word.strip() for word in ours_only)) for line in changed)
    back = yamltext.patch(patched, edits(value(patched), Owned()))
    assert back == ONE.encode()


@quick
@given(manifests(), ours)
def test_nothing_is_edited_where_nothing_differs(document: dict[str, Any], owned: Owned) -> None:
    assert edits(with_owned(document, owned), owned) == []


def test_a_weight_that_is_there_and_empty_is_removed() -> None:
    source = ONE.replace("    minReplicas: 1\n", "    canaryTrafficPercent:\n").encode()
    assert owned_of(value(source)) == Owned()
    assert (
        "canaryTrafficPercent" not in value(yamltext.patch(source, edits(value(source), Owned())))["spec"]["predictor"]
    )


def test_a_number_like_label_stays_a_text() -> None:
    patched = yamltext.patch(ONE.encode(), edits(value(ONE), Owned(5, "123456789012.5"))).decode()
    assert owned_of(value(patched)).label == "123456789012.5"
    assert yaml.safe_load(patched)["spec"]["predictor"]["labels"][LABEL] == "123456789012.5"


# -- what differs ----------------------------------------------------------------------------------------------------


def test_scaling_alone_is_told_from_a_new_model() -> None:
    def only(old: str, new: str) -> bool:
        return manifest.only_scaling_differs(value(old), value(new))

    assert only(ONE, text("one", replicas=4))
    assert only(ONE, ONE.replace("minReplicas: 1", "maxReplicas: 3\n    scaleTarget: 2\n    scaleMetric: rps"))
    assert not only(ONE, text("two", replicas=4))
    assert not only(ONE, ONE)


def test_a_component_beside_the_predictor_is_named() -> None:
    assert manifest.other_component_changed(value(ONE), value(TWO)) is None
    assert manifest.other_component_changed(value(ONE), value(f"{ONE}  explainer: {{}}\n")) == "explainer"


# -- what is refused -------------------------------------------------------------------------------------------------

WRONG = {
    "another version": (("v1beta1", "v1alpha2"), "write serving.kserve.io/v1beta1", 2),
    "no metadata": (("metadata: {name: scorer, namespace: fraud}\n", ""), "add metadata", 2),
    "a name in capitals": (("name: scorer", "name: Scorer"), "lower-case letters", 4),
    "a name that is too long": (("name: scorer", f"name: {'a' * 49}"), "at most 48", 4),
    "a namespace that is none": (("namespace: fraud", "namespace: fr/aud"), "lower-case", 4),
    "a namespace that is a number": (("namespace: fraud", "namespace: 123"), "in quotes", 4),
    "a namespace that is a boolean": (("namespace: fraud", "namespace: on"), "lower-case", 4),
    "a name that is nothing": (("name: scorer", "name: ~"), "at most 48", 4),
    "labels that are a list": (("namespace: fraud", "namespace: fraud, labels: []"), "quote its values", 4),
    "a number that is none": (("minReplicas: 1", "minReplicas: .nan"), "write a finite number", 7),
    "a number without end": (("name: sklearn", "name: sklearn, a/b~c: [{d: -.inf}]"), "write a finite number", 10),
    "a label that is a number": (("namespace: fraud", "namespace: fraud, labels: {a: 1}"), "quote its values", 4),
    "no predictor": (("  predictor:", "  predicter:"), "add a predictor", 5),
    "a predictor's label that is a number": (("minReplicas: 1", "labels: {a: 1}"), "quote its values", 7),
    "a weight beyond 100": (("minReplicas: 1", "canaryTrafficPercent: 101"), "remove it", 7),
    "a weight below 0": (("minReplicas: 1", "canaryTrafficPercent: -1"), "remove it", 7),
    "a weight that is a boolean": (("minReplicas: 1", "canaryTrafficPercent: true"), "remove it", 7),
    "a weight that is a text": (("minReplicas: 1", "canaryTrafficPercent: '5'"), "remove it", 7),
    "the other mode's weight": (("spec:\n", "spec:\n  canary: [{weight: 1}]\n"), "the policy has the steps", 6),
    "a transformer's weight": (
        ("spec:\n", "spec:\n  transformer: {canaryTrafficPercent: 5}\n"),
        "one component at a time",
        6,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_says_line_and_remedy(case: str) -> None:
    (old, new), remedy, line = WRONG[case]
    assert ONE.count(old) == 1 or old == "v1beta1"
    with pytest.raises(Invalid) as caught:
        manifest.check(yamltext.read(ONE.replace(old, new).encode())[0])
    assert remedy in caught.value.remedy
    assert caught.value.line == line
    assert caught.value.others == ()


def test_all_complaints_come_at_once() -> None:
    bad = ONE.replace("name: scorer", "name: S").replace("minReplicas: 1", "canaryTrafficPercent: 101")
    with pytest.raises(Invalid) as caught:
        manifest.check(yamltext.read(bad.encode())[0])
    assert len(caught.value.others) == 1


@pytest.mark.parametrize("labels", ["labels:", "labels: ~", "labels: {}"])
def test_labels_that_are_nothing_are_none_as_for_kubernetes(labels: str) -> None:
    source = ONE.replace("minReplicas: 1", labels).replace("namespace: fraud", "namespace: fraud, labels: ~").encode()
    manifest.check(yamltext.read(source)[0])
    patched = yamltext.patch(source, edits(value(source), Owned(5, "123456789012.5")))
    assert owned_of(value(patched)) == Owned(5, "123456789012.5")
    assert revision_of(value(patched)) == revision_of(value(ONE.replace("    minReplicas: 1\n", "")))


def test_a_good_manifest_passes() -> None:
    manifest.check(yamltext.read(ONE.encode())[0])
    manifest.check(yamltext.read(yamltext.patch(ONE.encode(), edits(value(ONE), Owned(100, "a.1"))))[0])


@pytest.mark.parametrize(
    ("source", "expected"),
    [(ONE, True), ("a: 1\n", False), ("[]\n", False), ("", False), ("kind: InferenceService\n", False)],
)
def test_only_inference_services_are_looked_at(source: str, expected: bool) -> None:
    assert manifest.is_inference_service(value(source)) is expected


def test_a_service_is_named_however_wrong_the_rest_is() -> None:
    assert manifest.service_of(value(ONE)) == "fraud/scorer"
    assert manifest.service_of({"metadata": None}) == "default/?"
    assert manifest.service_of({}) == "default/?"
