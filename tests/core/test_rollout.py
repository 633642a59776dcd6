"""What the tree says of every service: broken files, damaged records and all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core import ledger
from gitops_serving.core import rollout as rollouts
from gitops_serving.core.ledger import Asked, Rejected
from gitops_serving.core.manifest import LABEL
from gitops_serving.core.model import Hold, Owned, Past, Place, Request, Rollout, Stable
from gitops_serving.core.rollout import read_rollouts
from gitops_serving.testing.repository import READABLE_BYTES, FakeTree

from .situations import MINUTE, NOON
from .trees import (
    ONE,
    RECORD_PATH,
    SCORER,
    SCORER_PATH,
    THREE,
    TWO,
    V1,
    V2,
    V3,
    on_trial,
    owning,
    record,
    revision,
    scorer,
    text,
    tree,
)

if TYPE_CHECKING:
    from datetime import datetime

    from gitops_serving.core.errors import Invalid

OTHER = text("one", name="other").encode()


def read(of: FakeTree) -> dict[str, Rollout | Invalid]:
    return read_rollouts(of, "demo", NOON)


def invalid(of: FakeTree, service: str = SCORER) -> Invalid:
    found = read(of)[service]
    complaint = found.invalid if isinstance(found, Rollout) else found
    assert complaint is not None
    assert complaint.remedy
    return complaint


def test_a_new_service_is_its_manifest() -> None:
    assert read(tree(ONE)) == {
        SCORER: Rollout(service=SCORER, wanted=V1, place=Place(SCORER_PATH), documents=scorer(tree(ONE)).documents)
    }


def test_a_service_on_trial_is_its_manifest_and_its_record() -> None:
    of = on_trial(previous="0" * 12, rejected=(Rejected(V3, None, NOON, "errors"),))
    found = scorer(tree(owning(TWO, Owned(5, f"{V2}.1")), of))
    assert (found.wanted, found.owned) == (V2, Owned(5, f"{V2}.1"))
    assert (found.stable, found.canary, found.previous) == (of.stable, of.canary, "0" * 12)
    assert found.rejected == {V3}
    assert found.admitted
    assert set(found.documents) == {V1, V2}


def test_other_objects_and_folders_are_none_of_ours() -> None:
    config = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    of = tree(ONE, clusters__demo__config=config, clusters__prod__fraud__b=OTHER, docs__a=b"{{")
    assert list(read(of)) == [SCORER]


def test_a_broken_file_stops_its_own_service_and_no_other() -> None:
    found = read(tree(b"{{ broken\n", record(), clusters__demo__fraud__other=OTHER))
    other = found["fraud/other"]
    assert isinstance(other, Rollout)
    assert other.invalid is None
    broken = found[SCORER]
    assert isinstance(broken, Rollout)
    assert broken.wanted == "?"
    assert broken.stable == record().stable
    assert broken.invalid is not None
    assert (broken.invalid.path, broken.invalid.line, broken.invalid.code) == (SCORER_PATH, 1, "template")


def test_a_broken_file_without_a_record_is_named_after_its_place() -> None:
    complaint = invalid(tree(b"spec: [\n"))
    assert complaint.path == SCORER_PATH
    assert complaint.code == "syntax"


def test_a_file_that_is_too_large_is_said_to_be() -> None:
    complaint = invalid(tree(b"#" * (READABLE_BYTES + 1)))
    assert (complaint.code, complaint.path) == ("limits", SCORER_PATH)


UNREADABLE_FILES = {
    "a syntax error": (f"{ONE}   bad: [\n".encode(), "syntax", len(ONE.splitlines()) + 1, "not YAML"),
    "another encoding": (ONE.encode() + "# é\n".encode("latin-1"), "encoding", len(ONE.splitlines()) + 1, "not UTF-8"),
    "more than a file may have": (b"#" * (READABLE_BYTES + 1), "limits", None, "too large"),
}


@pytest.mark.parametrize("case", UNREADABLE_FILES)
def test_what_is_wrong_with_its_file_is_said_of_a_service_that_we_know(case: str) -> None:
    """Once it had a record, all that was said of a syntax error was that the manifest is missing."""
    source, code, line, why = UNREADABLE_FILES[case]
    for of in (record(), None):
        complaint = invalid(tree(source, of))
        assert (complaint.path, complaint.code, complaint.others) == (SCORER_PATH, code, ())
        assert why in complaint.message
        assert complaint.line in (line, line and line + 1)


def test_a_broken_file_of_another_name_is_found_by_what_it_holds() -> None:
    both = f"{ONE}---\n{OTHER.decode()}  bad: [\n".encode()
    other = b"metadata: {name: scorers}\n{{\n"
    complaint = invalid(tree(None, record(), clusters__demo__both=both, clusters__demo__all=other))
    assert (complaint.path, complaint.code) == ("clusters/demo/both.yaml", "syntax")
    assert complaint.line
    assert complaint.others == ()


def test_of_several_broken_files_the_likeliest_comes_first() -> None:
    old, likely = b"metadata: {name: scorer}\nspec: [\n", TWO.encode() + b"  bad: [\n"
    complaint = invalid(tree(None, on_trial(), clusters__demo__a=old, clusters__demo__b=likely))
    assert [complaint.path, *(other.path for other in complaint.others)] == [
        "clusters/demo/b.yaml",
        "clusters/demo/a.yaml",
    ]


def test_a_broken_file_that_never_held_a_service_is_named_beside_its_absence() -> None:
    complaint = invalid(tree(None, record(), clusters__demo__x=b"a: [\n"))
    assert (complaint.code, complaint.path) == ("missing", "")
    assert complaint.message.endswith("is not in Git, unless in a file that cannot be read")
    assert [other.path for other in complaint.others] == ["clusters/demo/x.yaml"]


def test_a_missing_manifest_keeps_the_watch() -> None:
    found = scorer(tree(None, on_trial()))
    assert found.invalid is not None
    assert found.invalid.code == "missing"
    assert found.canary == on_trial().canary
    assert (found.place, found.wanted) == (Place(""), "?")


def test_a_service_defined_twice_names_both_places() -> None:
    complaint = invalid(tree(ONE, record(), clusters__demo__fraud__copy=TWO.encode()))
    assert complaint.code == "conflict"
    both = {"clusters/demo/fraud/copy.yaml", SCORER_PATH}
    assert complaint.path in both
    assert any(path in complaint.message for path in both - {complaint.path})


def test_two_services_in_one_file_know_their_documents() -> None:
    found = read(tree(f"{ONE}---\n{OTHER.decode()}"))
    places = {name: rollout.place for name, rollout in found.items() if isinstance(rollout, Rollout)}
    assert places == {SCORER: Place(SCORER_PATH, 0), "fraud/other": Place(SCORER_PATH, 1)}


def test_an_invalid_manifest_says_its_file_and_line() -> None:
    complaint = invalid(tree(ONE.replace("predictor:", "predicter:"), record()))
    assert (complaint.code, complaint.path) == ("manifest", SCORER_PATH)
    assert complaint.line


def changed(old: str, new: str) -> str:
    assert old in ONE
    return ONE.replace(old, new)


UNWRITABLE = {
    "a predictor that others refer to": (f"{changed('predictor:', 'predictor: &p')}x: *p\n", "alias", 6),
    "a predictor that refers to another": (
        f"{ONE.partition('  predictor')[0]}  predictor: *p\n".replace("spec:", "x: &p {model: {a: b}}\nspec:"),
        "alias",
        7,
    ),
    "labels from a merge": (
        changed("minReplicas: 1", "<<: *x").replace("spec:", "x: &x {labels: {a: b}}\nspec:"),
        "merge",
        8,
    ),
    "a weight that would never come out again": (
        changed("minReplicas: 1", "<<: *x").replace("spec:", "x: &x {canaryTrafficPercent: 5}\nspec:"),
        "merge",
        8,
    ),
    "a key behind a question mark": (changed("minReplicas: 1", "? labels\n    : ~"), "syntax", 7),
    "a template": (changed("models/one", "models/{{one}}"), "template", 11),
}


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("above", ["", f"# others\n{OTHER.decode()}---\n"])
def test_a_manifest_that_our_fields_cannot_be_written_into_is_invalid_at_once(case: str, above: str) -> None:
    """It was adopted, or shown as pending for ever; and of one on trial the abort could not be written."""
    source, code, line = UNWRITABLE[case]
    for of in (record(), None):
        complaint = invalid(tree(above + source, of))
        assert (complaint.code, complaint.path) == (code, SCORER_PATH)
        assert complaint.line == above.count("\n") + line
    if above:
        found = read(tree(above + source))["fraud/other"]
        assert isinstance(found, Rollout)
        assert found.invalid is None


def test_a_template_s_mark_in_a_comment_is_only_a_word() -> None:
    assert scorer(tree(f"# rendered from {{{{ chart }}}}\n{ONE}")).invalid is None


def test_a_record_whose_manifest_cannot_be_edited_goes_on_being_watched() -> None:
    """Records from before that was asked hold such manifests; to stop the watch over a canary would be worse."""
    shared = f"{changed('predictor:', 'predictor: &p')}x: *p\n"
    found = scorer(tree(TWO, on_trial(stable=Stable(revision(shared), None), stable_text=shared)))
    assert found.canary is not None


def test_a_weight_on_a_new_service_is_invalid() -> None:
    complaint = invalid(tree(owning(ONE, Owned(10))))
    assert complaint.code == "weight"
    assert complaint.line == owning(ONE, Owned(10)).splitlines().index("    canaryTrafficPercent: 10") + 1


def test_a_new_service_with_the_label_of_another_revision_is_invalid() -> None:
    """A manifest copied from another environment, model changed: its label would never be the live revision's."""
    complaint = invalid(tree(owning(TWO, Owned(None, f"{V1}.7"))))
    assert complaint.code == "label"
    assert LABEL in complaint.remedy


def test_a_new_service_may_bring_its_own_label() -> None:
    assert scorer(tree(owning(ONE, Owned(None, f"{V1}.7")))).owned == Owned(None, f"{V1}.7")


@pytest.mark.parametrize("component", ["transformer", "explainer"])
def test_a_component_that_no_weight_covers_may_not_change(component: str) -> None:
    complaint = invalid(tree(f"{TWO}  {component}: {{minReplicas: 2}}\n", record()))
    assert complaint.code == "component"
    assert f"spec.{component}" in complaint.message
    assert complaint.line == len(TWO.splitlines()) + 1


def test_a_component_may_stay_as_it_was() -> None:
    with_one = f"{ONE}  transformer: {{minReplicas: 2}}\n"
    of = record(stable=Stable(revision(with_one), None), stable_text=with_one)
    found = scorer(tree(f"{TWO}  transformer: {{minReplicas: 2}}\n", of))
    assert found.invalid is None


# -- records ---------------------------------------------------------------------------------------------------------

GOOD = ledger.write_record(record())
SHIFTED = ledger.write_record(on_trial(past=(Past(2, NOON - 5 * MINUTE, MINUTE),)))
DAMAGED = {
    "no yaml": b"{{",
    "empty": b"",
    "another kind": GOOD.replace(b"RolloutRecord", b"Something"),
    "no admissions": GOOD.replace(b"admissions: 0\n", b""),
    "a service of another name": GOOD.replace(b"  name: scorer\n  names", b"  name: other\n  names"),
    "a manifest that is no yaml": ledger.write_record(record(stable_text="{{")),
    "a manifest that is no manifest": ledger.write_record(record(stable_text="hello\n")),
    "a manifest of another revision": ledger.write_record(record(stable_text=TWO)),
    "two manifests": ledger.write_record(record(stable_text=f"{ONE}---\n{TWO}")),
    "a canary's manifest of another revision": ledger.write_record(replace(on_trial(), canary_text=THREE)),
    "a weight out of range": ledger.write_record(on_trial(weight=77)).replace(b"weight: 77", b"weight: 770"),
    "a past weight out of range": SHIFTED.replace(b"{weight: 2", b"{weight: 0"),
    "a past weight without its instant": SHIFTED.replace(b"past: [{weight: 2, since", b"past: [{weight: 2, sinse"),
    "a past that is no list": SHIFTED.replace(b"past: [{", b"past: 5 # "),
    "a past that was held for no number": SHIFTED.replace(b"held: 60", b"held: long"),
    "an instant without a zone": ledger.write_record(on_trial()).replace(b"00Z", b"00"),
}


def test_a_past_that_is_whole_is_read() -> None:
    found = scorer(tree(TWO, rollouts__demo__fraud__scorer=SHIFTED))
    assert found.canary is not None
    assert found.canary.past == (Past(2, NOON - 5 * MINUTE, MINUTE),)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_record_stops_its_own_service_and_no_other(damage: str) -> None:
    of = tree(ONE, clusters__demo__fraud__other=OTHER, rollouts__demo__fraud__scorer=DAMAGED[damage])
    assert invalid(of).path == RECORD_PATH
    assert isinstance(read(of)["fraud/other"], Rollout)


def test_a_service_that_cannot_be_put_together_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came of a record was outside every guard: one overflow there, and no service was looked at."""

    def overflow(of: ledger.Record, _: datetime) -> timedelta:
        if of.stable is not None:
            raise OverflowError("date value out of range")
        return timedelta()

    monkeypatch.setattr(rollouts, "_held_for", overflow)
    of = tree(ONE, record(), clusters__demo__fraud__other=OTHER)
    assert invalid(of).path == RECORD_PATH
    assert isinstance(read(of)["fraud/other"], Rollout)


def test_a_record_of_nobody_is_shown_and_waited_with() -> None:
    found = read(tree(None, record()))
    assert list(found) == [SCORER]
    assert invalid(tree(None, record())).code == "missing"


# -- people ----------------------------------------------------------------------------------------------------------


def held(at: timedelta, until: timedelta | None = None) -> Rollout:
    hold = Hold(by="Ann", at=NOON + at, until=None if until is None else NOON + until)
    return scorer(tree(TWO, on_trial(hold=hold)))


def test_a_hold_holds_until_somebody_resumes() -> None:
    assert held(-MINUTE).held


def test_a_hold_with_an_end_is_none_after_it() -> None:
    assert held(-2 * MINUTE, timedelta(seconds=1)).held
    assert not held(-2 * MINUTE, timedelta()).held


def test_held_time_is_counted_within_the_present_weight() -> None:
    assert held(-30 * timedelta(seconds=1)).held_for == timedelta(seconds=30)
    assert held(-60 * MINUTE).held_for == MINUTE  # the weight was given a minute ago
    assert held(-60 * MINUTE, -timedelta(seconds=20)).held_for == timedelta(seconds=40)
    assert held(-60 * MINUTE, -30 * MINUTE).held_for == timedelta()


def test_holds_that_are_over_are_added() -> None:
    of = on_trial()
    assert of.canary is not None
    of = replace(of, canary=replace(of.canary, held=timedelta(seconds=15)))
    assert scorer(tree(TWO, of)).held_for == timedelta(seconds=15)


def test_time_held_at_earlier_weights_is_part_of_all_that_was_held() -> None:
    past = (Past(1, NOON - 9 * MINUTE, MINUTE), Past(3, NOON - 4 * MINUTE, 2 * MINUTE))
    of = on_trial(past=past)
    assert of.canary is not None
    found = scorer(tree(TWO, replace(of, canary=replace(of.canary, held=timedelta(seconds=15)))))
    assert (found.held_for, found.held_in_all) == (timedelta(seconds=15), timedelta(minutes=3, seconds=15))
    assert scorer(tree(TWO, record())).held_in_all == timedelta()


def test_a_request_counts_for_the_revision_that_it_names() -> None:
    def asked(what: Request, of: str, head: str, base: ledger.Record) -> Request | None:
        return scorer(tree(head, replace(base, asked=Asked(what, of, "Ann", NOON)))).asked

    assert asked(Request.ABORT, V2, TWO, on_trial()) is Request.ABORT
    assert asked(Request.ABORT, V2, THREE, on_trial()) is Request.ABORT
    assert asked(Request.ABORT, V3, THREE, on_trial()) is None
    assert asked(Request.PROMOTE, V2, TWO, record()) is Request.PROMOTE
    assert asked(Request.PROMOTE, V2, ONE, record()) is None


def test_a_request_for_a_head_that_is_not_valid_any_more_waits_for_it() -> None:
    """Promote was asked for, then the file was made unfit: it would have given all traffic to nobody knows what."""
    asked = record(asked=Asked(Request.PROMOTE, V2, "Ann", NOON))
    shared = TWO.replace("predictor:", "predictor: &p") + "x: *p\n"
    for of in (tree(shared, asked), tree(TWO, asked, clusters__demo__fraud__copy=TWO.encode())):
        assert scorer(of).invalid is not None
        assert (scorer(of).wanted, scorer(of).asked) == ("?", None)


def test_the_previous_revision_needs_no_trial() -> None:
    assert scorer(tree(TWO, record(previous=V2))).direct == "it was stable before"
    assert scorer(tree(TWO, record(previous=V3))).direct is None


def test_scaling_alone_needs_no_trial() -> None:
    assert scorer(tree(text("one", replicas=4), record())).direct == "only its scaling changed"
    assert scorer(tree(text("two", replicas=4), record())).direct is None


def test_nothing_goes_direct_while_another_is_on_trial() -> None:
    assert scorer(tree(text("one", replicas=4), on_trial())).direct is None
