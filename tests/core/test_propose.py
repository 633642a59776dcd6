"""What each move writes: the record, the manifest byte for byte, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.core import ledger, manifest
from gitops_serving.core.errors import Invalid
from gitops_serving.core.ledger import Asked, Record, Rejected, read_trailers
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import (
    Abort,
    Adopt,
    Change,
    Decision,
    Drop,
    Hold,
    Live,
    Owned,
    Past,
    Place,
    Promote,
    Refuse,
    Repair,
    Request,
    Settle,
    Shift,
    Situation,
    Stable,
    Wait,
)
from gitops_serving.core.propose import propose

from .situations import AT_REST, MINUTE, NOON, THREE_STEPS
from .trees import ONE, RECORD_PATH, SCORER, SCORER_PATH, THREE, TWO, V1, V2, V3, on_trial, owning, record, scorer, tree
from .trees import text as manifest_text

if TYPE_CHECKING:
    from gitops_serving.testing.repository import FakeTree

LABEL = f"{V2}.1"
HEAD = owning(TWO, Owned(5, LABEL))
LIVE = Live(content=V2, template=Owned(5, LABEL), created=LABEL, latest=V2, baseline=V1, rolled="p-1", uid="uid-1")
UNTOUCHED = replace(AT_REST, content=V1, template=Owned(), created=V1, latest=V1, baseline=V1)
QUIET = Verdict(Outcome.SILENT, "nothing is measured now")
ABORTED = Stable(V1, f"{V1}.2", None, "uid-1")  # what an abort makes of stable


def situation(of: FakeTree, live: Live = LIVE, **fields: Any) -> Situation:
    found = Situation(rollout=scorer(of), policy=THREE_STEPS, live=live, verdict=QUIET, now=NOON, environment="demo")
    return replace(found, **fields)


def proposed(decision: Decision, of: FakeTree, live: Live = LIVE, **fields: Any) -> Change:
    change = propose(decision, situation(of, live, **fields), of)
    assert change is not None
    assert change.service == SCORER
    assert (change.author, change.at) == ("gitops-serving <gitops-serving@demo.invalid>", NOON)
    return change


def recorded(change: Change) -> Record:
    return ledger.read_record(change.files[RECORD_PATH], RECORD_PATH, "demo")


def landed(change: Change, of: FakeTree) -> FakeTree:
    return of.with_files("next", dict(change.files))


def written(change: Change) -> str:
    assert set(change.files) == {RECORD_PATH, SCORER_PATH}
    return change.files[SCORER_PATH].decode()


def untouched(change: Change) -> bool:
    return set(change.files) == {RECORD_PATH}


def test_waiting_writes_nothing() -> None:
    of = tree(HEAD, on_trial())
    assert propose(Wait("dwelling"), situation(of), of) is None


def test_a_recorded_manifest_that_cannot_be_edited_is_named_by_its_record() -> None:
    """The complaint named the file at the head, in which nothing was wrong."""
    shared = ONE.replace("predictor:", "predictor: &p") + "x: *p\n"
    before = on_trial(stable=Stable(V1, None), stable_text=shared)
    with pytest.raises(Invalid) as caught:
        proposed(Abort("errors", rejects=True), tree(HEAD, before))
    assert (caught.value.code, caught.value.path) == ("alias", RECORD_PATH)
    assert caught.value.message.startswith("line 6 of the manifest that the record holds cannot be worked with")
    back = ONE.replace("predictor:", "predictor:  # as the remedy says")
    assert written(proposed(Abort("pushed back"), tree(back, before))) == owning(back, Owned(0, f"{V1}.2"))


# -- adopt -----------------------------------------------------------------------------------------------------------


def test_adopting_writes_the_record_alone() -> None:
    of = tree(ONE)
    change = proposed(Adopt(), of, replace(UNTOUCHED, rolled="scorer-predictor-00001", uid="uid-1"))
    assert untouched(change)
    assert recorded(change) == record(last=("adopt", V1, NOON))
    assert scorer(landed(change, of)).admitted


def test_adopting_a_labelled_service_counts_on_from_its_label() -> None:
    change = proposed(Adopt(), tree(owning(ONE, Owned(None, f"{V1}.41"))))
    assert recorded(change).admissions == 41
    assert recorded(change).stable == Stable(V1, f"{V1}.41", "p-1", "uid-1")


def test_adopting_in_a_shared_file_keeps_the_document_alone() -> None:
    of = tree(f"{manifest_text(name='other')}---\n{ONE}")
    assert situation(of).rollout.place == Place(SCORER_PATH, 1)
    assert recorded(proposed(Adopt(), of)).stable_text == ONE


# -- shift -----------------------------------------------------------------------------------------------------------


def test_admitting_writes_weight_and_label_and_who_is_on_trial() -> None:
    asked = Asked(Request.PROMOTE, V3, "Ann", NOON)
    of = tree(TWO, record(admissions=7, asked=asked))
    change = proposed(Shift(5, "a new revision was pushed"), of, now=NOON.replace(microsecond=999))
    assert written(change) == owning(TWO, Owned(5, f"{V2}.8"))
    after = recorded(change)
    canary = after.canary
    assert canary is not None
    assert (canary.revision, canary.label, canary.weight) == (V2, f"{V2}.8", 5)
    assert canary.started == canary.since == NOON
    assert (after.canary_text, after.admissions, after.asked) == (TWO, 8, None)
    assert (after.stable, after.stable_text) == (record().stable, ONE)
    assert after.policy == "standard@9c1e0a77"
    assert scorer(landed(change, of)).admitted


def test_admitting_a_newer_push_takes_the_place_of_who_is_on_trial() -> None:
    of = tree(owning(THREE, Owned(5, LABEL)), on_trial())
    change = proposed(Shift(5, "a new revision was pushed"), of)
    assert written(change) == owning(THREE, Owned(5, f"{V3}.2"))
    after = recorded(change)
    assert after.canary is not None
    assert (after.canary.revision, after.canary.started, after.settling) == (V3, NOON, False)


def test_a_further_shift_changes_one_line_of_the_manifest() -> None:
    of = tree(HEAD, on_trial())
    change = proposed(Shift(25, "errors 0%"), of)
    old, new = HEAD.splitlines(keepends=True), written(change).splitlines(keepends=True)
    assert len(old) == len(new)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert changed == [("    canaryTrafficPercent: 5\n", "    canaryTrafficPercent: 25\n")]
    before = on_trial()
    assert before.canary is not None
    shifted = replace(before.canary, weight=25, since=NOON, past=(Past(5, NOON - MINUTE),))
    assert recorded(change) == replace(before, canary=shifted, last=("shift", V2, NOON))


@pytest.mark.parametrize(("weight", "what", "kept"), [(100, Request.PROMOTE, False), (25, Request.PROMOTE, True)])
def test_a_request_is_cleared_when_it_is_obeyed(weight: int, what: Request, kept: bool) -> None:
    of = tree(HEAD, on_trial(asked=Asked(what, V2, "Ann", NOON)))
    assert (recorded(proposed(Shift(weight, "because"), of)).asked is not None) == kept


def test_held_time_starts_anew_with_a_new_weight() -> None:
    before = on_trial()
    assert before.canary is not None
    of = tree(HEAD, replace(before, canary=replace(before.canary, held=MINUTE)))
    after = recorded(proposed(Shift(25, "errors 0%"), of)).canary
    assert after is not None
    assert not after.held
    assert after.past == (Past(5, NOON - MINUTE, MINUTE),)


def test_a_weight_that_was_left_is_remembered_after_those_before_it() -> None:
    first = Past(5, NOON - 3 * MINUTE, timedelta(seconds=20))
    of = tree(owning(TWO, Owned(10, LABEL)), on_trial(weight=10, past=(first,)))
    after = recorded(proposed(Shift(25, "errors 0%"), of)).canary
    assert after is not None
    assert after.past == (first, Past(10, NOON - MINUTE))
    assert (after.weight, after.since) == (25, NOON)


def test_a_weight_that_a_person_leaves_while_it_is_held_says_how_long_it_was() -> None:
    hold = Hold(by="Ann", at=NOON - timedelta(seconds=40))
    of = tree(HEAD, on_trial(hold=hold, asked=Asked(Request.PROMOTE, V2, "Ann", NOON)))
    change = proposed(Shift(100, "a person asked for it"), of)
    after = recorded(change)
    assert after.canary is not None
    assert after.hold == hold
    assert after.canary.past == (Past(5, NOON - MINUTE, timedelta(seconds=40)),)
    assert scorer(landed(change, of)).held_in_all == timedelta(seconds=40)


def test_who_is_admitted_has_no_past() -> None:
    of = tree(owning(THREE, Owned(5, LABEL)), on_trial(past=(Past(1, NOON - 3 * MINUTE),)))
    after = recorded(proposed(Shift(5, "a new revision was pushed"), of)).canary
    assert after is not None
    assert after.past == ()


# -- promote ---------------------------------------------------------------------------------------------------------


def test_promoting_removes_the_weight_and_moves_stable() -> None:
    head = owning(TWO, Owned(100, LABEL))
    of = tree(head, on_trial(100, asked=Asked(Request.PROMOTE, V2, "Ann", NOON)))
    change = proposed(Promote(), of)
    at_rest = owning(TWO, Owned(None, LABEL))
    assert written(change) == at_rest == head.replace("    canaryTrafficPercent: 100\n", "")
    after = recorded(change)
    assert (after.stable, after.stable_text) == (Stable(V2, LABEL, "p-1", "uid-1"), at_rest)
    assert (after.previous, after.canary, after.canary_text, after.asked, after.policy) == (V1, None, "", None, "")
    assert scorer(landed(change, of)).admitted


def test_promoting_leaves_a_newer_push_untouched() -> None:
    of = tree(THREE, on_trial(100))
    change = proposed(Promote(), of)
    assert untouched(change)
    after = recorded(change)
    assert after.stable_text == owning(TWO, Owned(None, LABEL))
    assert manifest.revision_of(scorer(landed(change, of)).documents[V2]) == V2


# -- abort -----------------------------------------------------------------------------------------------------------


def test_aborting_restores_the_recorded_manifest_with_weight_0_and_a_fresh_label() -> None:
    of = tree(HEAD, on_trial(asked=Asked(Request.ABORT, V2, "Ann", NOON)))
    change = proposed(Abort("errors 4%", rejects=True), of)
    assert written(change) == owning(ONE, Owned(0, f"{V1}.2"))
    rejected = Rejected(V2, of.blob(RECORD_PATH), NOON, "errors 4%")
    assert recorded(change) == record(
        stable=ABORTED, admissions=2, settling=True, rejected=(rejected,), last=("abort", V2, NOON)
    )
    assert scorer(landed(change, of)).admitted


def test_an_abort_that_rejects_nothing_remembers_nothing() -> None:
    assert recorded(proposed(Abort("no evidence in time"), tree(HEAD, on_trial()))).rejected == ()


def test_an_abort_that_a_pushed_back_manifest_asked_for_keeps_its_bytes() -> None:
    """A person's comment on the stable manifest survives: only owned fields are written."""
    head = owning(ONE.replace("# sklearn", "# back to this one"), Owned(5, LABEL))
    change = proposed(Abort("the stable revision was pushed back"), tree(head, on_trial()))
    assert written(change) == owning(ONE.replace("# sklearn", "# back to this one"), Owned(0, f"{V1}.2"))


def test_an_abort_of_what_never_arrived_restarts_nothing() -> None:
    of = tree(HEAD, on_trial())
    change = proposed(Abort("the cluster refused it", rejects=True), of, UNTOUCHED)
    assert written(change) == ONE
    after = recorded(change)
    assert (after.stable, after.admissions, after.settling) == (record().stable, 1, False)


@pytest.mark.parametrize(
    "live",
    [replace(UNTOUCHED, known=False), replace(UNTOUCHED, latest=V2), replace(UNTOUCHED, baseline=V2), Live()],
    ids=["unseen", "latest ready", "baseline", "an empty cluster"],
)
def test_an_abort_restores_wherever_anything_may_have_arrived(live: Live) -> None:
    assert recorded(proposed(Abort("because"), tree(HEAD, on_trial()), live)).settling


def test_an_abort_in_a_shared_file_leaves_the_other_service_alone() -> None:
    other = manifest_text(name="other")
    change = proposed(Abort("errors 4%"), tree(f"{other}---\n{HEAD}", on_trial()))
    assert written(change) == f"{other}---\n{owning(ONE, Owned(0, f'{V1}.2'))}"


# -- refuse, drop, repair, settle ------------------------------------------------------------------------------------


def test_refusing_puts_the_stable_manifest_back_as_it_was() -> None:
    before = record(rejected=(Rejected(V2, None, NOON, "errors"),))
    change = proposed(Refuse("rejected before"), tree(TWO, before), UNTOUCHED)
    assert written(change) == ONE
    assert recorded(change) == replace(before, last=("refuse", V2, NOON))


def test_refusing_while_another_is_on_trial_aborts_that_one() -> None:
    of = tree(owning(THREE, Owned(5, LABEL)), on_trial(rejected=(Rejected(V3, None, NOON, "errors"),)))
    change = proposed(Refuse("rejected before"), of)
    assert written(change) == owning(ONE, Owned(0, f"{V1}.2"))
    after = recorded(change)
    assert (after.canary, after.stable, after.settling) == (None, ABORTED, True)


def test_refusing_while_an_abort_settles_keeps_its_weight_0() -> None:
    before = record(stable=ABORTED, settling=True, admissions=2, rejected=(Rejected(V2, None, NOON, "errors"),))
    assert written(proposed(Refuse("rejected before"), tree(TWO, before))) == owning(ONE, Owned(0, f"{V1}.2"))


def test_dropping_leaves_a_newer_push_untouched() -> None:
    of = tree(owning(THREE, Owned(5, LABEL)), on_trial())
    change = proposed(Drop("errors 4%", rejects=True), of)
    assert untouched(change)
    after = recorded(change)
    assert (after.canary, after.stable, after.settling, after.admissions) == (None, ABORTED, False, 2)
    assert [r.revision for r in after.rejected] == [V2]
    assert scorer(landed(change, of)).wanted == V3


def test_repairing_restores_the_owned_fields_alone() -> None:
    head = owning(ONE.replace("# sklearn", "# a new comment"), Owned(30, "x.1"))
    change = proposed(Repair("owned fields were edited"), tree(head, record()))
    assert written(change) == ONE.replace("# sklearn", "# a new comment")
    assert recorded(change) == record(last=("repair", V1, NOON))


def test_settling_removes_the_weight_and_learns_the_name() -> None:
    label = f"{V1}.2"
    before = record(stable=ABORTED, settling=True, admissions=2)
    live = replace(LIVE, names={label: "p-3"}, uid="uid-7")
    head = owning(ONE, Owned(0, label))
    change = proposed(Settle(), tree(head, before), live)
    assert written(change) == head.replace("    canaryTrafficPercent: 0\n", "")
    assert recorded(change) == replace(
        before, settling=False, stable=Stable(V1, label, "p-3", "uid-7"), last=("settle", V1, NOON)
    )


def test_settling_leaves_a_newer_push_untouched() -> None:
    of = tree(TWO, record(stable=ABORTED, settling=True, admissions=2))
    change = proposed(Settle(), of)
    assert untouched(change)
    assert not recorded(change).settling


# -- holds -----------------------------------------------------------------------------------------------------------


def test_a_hold_that_is_over_is_forgotten_but_not_how_long_it_held() -> None:
    of = tree(HEAD.replace("# sklearn", "# x"), on_trial(hold=Hold(by="Ann", at=NOON - MINUTE, until=NOON)))
    after = recorded(proposed(Repair("owned fields"), of))
    assert after.hold is None
    assert after.canary is not None
    assert after.canary.held == MINUTE


def test_a_hold_that_lasts_is_kept() -> None:
    hold = Hold(by="Ann", at=NOON - MINUTE)
    assert recorded(proposed(Abort("errors 4%"), tree(HEAD, on_trial(hold=hold)))).hold == hold


# -- entries and folding ---------------------------------------------------------------------------------------------


def test_an_entry_tells_weights_step_policy_and_evidence() -> None:
    message = proposed(Shift(25, "errors 0%"), tree(HEAD, on_trial())).message
    assert message.startswith("rollout(fraud/scorer): shift, 5% -> 25%\n\nErrors 0%.\n")
    trailers = read_trailers(message)
    assert (trailers["Step"], trailers["Policy"], trailers["Revision"]) == ("2/3", "standard@9c1e0a77", V2)
    aborted = proposed(Abort("errors 4%", rejects=True), tree(HEAD, on_trial())).message
    assert aborted.startswith("rollout(fraud/scorer): abort, 5% -> 0%\n")
