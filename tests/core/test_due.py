"""What is due, what has arrived, and what the cluster's names mean: row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from gitops_serving.core import manifest
from gitops_serving.core.due import arrived, brake, due, live, owes, restored
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import Live, Owned, Rollout, Share, Situation, Stable, Status

from .situations import AT_REST, HEALTHY, IDLE, MINUTE, NOON, UNKNOWN, quick, situations, trials, with_live
from .trees import ONE, SCORER, TWO, V1, V2, on_trial, owning, record, scorer, tree, value

if TYPE_CHECKING:
    from collections.abc import Mapping

QUIET = Verdict(Outcome.SILENT, "nothing is measured now")
CANARY = HEALTHY.rollout.canary
assert CANARY is not None
TRIAL, AT_25 = HEALTHY.rollout, HEALTHY.live
LOADING = replace(AT_25, ready=False, settled=False, latest="v1")
LAST = replace(TRIAL, canary=replace(CANARY, weight=100), owned=Owned(100, "v2.2"))
NEW = Rollout(service="fraud/scorer", wanted="v1")
SETTLING = replace(IDLE.rollout, stable=Stable("v1", "v1.3"), owned=Owned(0, "v1.3"), settling=True)
BACK = replace(AT_REST, template=Owned(0, "v1.3"), created="v1.3")
Owed = tuple[str, Owned] | None

DUE: dict[str, tuple[Rollout, Live, Owed]] = {
    "1: nothing, unseen": (TRIAL, UNKNOWN, None),
    "2: a new service, as it is": (NEW, Live(), ("v1", Owned())),
    "2: a first revision that does not start may be replaced": (NEW, Live(content="v0", created="v0"), ("v1", Owned())),
    "3: what already runs is left alone": (NEW, AT_REST, None),
    "4: a rebuilt cluster gets stable, whatever git wants": (TRIAL, Live(), ("v1", Owned(None, "v1.1"))),
    "4: unless the canary takes over": (LAST, Live(), ("v2", Owned(100, "v2.2"))),
    "4: an edited canary that takes over does not count": (
        replace(LAST, owned=Owned(7, "v2.2")),
        Live(),
        ("v1", Owned(None, "v1.1")),
    ),
    "5: on trial, the head": (TRIAL, AT_REST, ("v2", Owned(25, "v2.2"))),
    "6: a seat lost while the canary loads": (TRIAL, replace(LOADING, baseline="?"), ("v2", Owned(100, "v2.2"))),
    "6b: a seat lost, and the canary is ready": (TRIAL, replace(AT_25, baseline="?"), None),
    "7: a newer push is undecided": (replace(TRIAL, wanted="v3"), AT_25, None),
    "7: a head edited by hand": (replace(TRIAL, owned=Owned(60, "v2.2")), AT_25, None),
    "8: nothing on trial": (IDLE.rollout, AT_REST, ("v1", Owned(None, "v1.1"))),
    "8: nothing on trial, and a push waits": (
        replace(IDLE.rollout, wanted="v2"),
        AT_REST,
        ("v1", Owned(None, "v1.1")),
    ),
    "8: an abort's weight 0": (SETTLING, AT_25, ("v1", Owned(0, "v1.3"))),
    "8: never lower what a rebuilt cluster has at 100": (
        SETTLING,
        replace(BACK, template=Owned(None, "v1.3")),
        ("v1", Owned(None, "v1.3")),
    ),
    "cap: somebody else is latest ready": (
        TRIAL,
        replace(AT_25, created="v0.9", latest="v0"),
        ("v2", Owned(0, "v2.2")),
    ),
    "cap: with nothing on trial": (IDLE.rollout, replace(AT_REST, latest="v0", ready=False), ("v1", Owned(0, "v1.1"))),
    "no cap on what is rolled out, however little is known": (
        IDLE.rollout,
        replace(AT_REST, latest="?", baseline="?"),
        ("v1", Owned(None, "v1.1")),
    ),
    "cap: not for who serves already while the canary takes over": (
        LAST,
        replace(LOADING, latest="?", baseline="?"),
        ("v2", Owned(100, "v2.2")),
    ),
}


@pytest.mark.parametrize("row", DUE)
def test_due(row: str) -> None:
    rollout, seen, owed = DUE[row]

    assert due(rollout, seen, QUIET) == owed


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.BLIND])
@pytest.mark.parametrize(("weight", "owed"), [(0, 0), (10, 10), (60, 25), (None, 25)])
def test_a_brake_stays_on_while_the_verdict_says_so(outcome: Outcome, weight: int | None, owed: int) -> None:
    seen = replace(AT_25, template=Owned(weight, "v2.2"))
    assert due(TRIAL, seen, Verdict(outcome, "")) == ("v2", Owned(owed, "v2.2"))
    assert due(TRIAL, seen, QUIET) == ("v2", Owned(25, "v2.2"))


def test_an_older_label_is_no_brake() -> None:
    seen = replace(AT_25, template=Owned(0, "v2.1"))
    assert due(TRIAL, seen, Verdict(Outcome.BLIND, "")) == ("v2", Owned(25, "v2.2"))


def test_an_invalid_manifest_of_an_adopted_service_leaves_stable_due() -> None:
    of = tree(TWO.replace("predictor:", "predicter:"), record())
    assert due(scorer(of), Live(), QUIET) == (V1, Owned(None, None))


@quick
@given(situations)
def test_what_is_due_is_never_more_than_the_record_says(seen: Situation) -> None:
    """100 for a moment is the re-seat; a service without traffic gets all of it."""
    rollout, live_now = seen.rollout, seen.live
    owed = due(rollout, live_now, seen.verdict)
    if owed is None or rollout.stable is None:
        return
    revision, owned = owed
    assert revision in (rollout.stable.revision, rollout.canary and rollout.canary.revision)
    most = rollout.expected[1].weight
    whole = live_now.baseline != rollout.stable.revision or live_now.template == Owned(None, rollout.stable.label)
    if revision == rollout.expected[0] and most is not None and not whole:
        assert owned.weight is not None
        assert owned.weight <= most


ARRIVED = {
    "everything is there": (TRIAL, AT_25, True),
    "unseen": (TRIAL, replace(AT_25, known=False), False),
    "traffic is not yet split": (TRIAL, replace(AT_25, settled=False), False),
    "another weight is live": (TRIAL, replace(AT_25, template=Owned(5, "v2.2")), False),
    "the newest revision is another": (TRIAL, replace(AT_25, created="v2.1"), False),
    "never adopted": (NEW, AT_REST, False),
    "an adopted service has no label": (
        replace(IDLE.rollout, stable=Stable("v1", None), owned=Owned()),
        replace(AT_REST, template=Owned(), created="v1"),
        True,
    ),
}


@pytest.mark.parametrize("case", ARRIVED)
def test_arrived(case: str) -> None:
    rollout, seen, expected = ARRIVED[case]
    assert arrived(rollout, seen) is expected


RESTORED = {
    "back at weight 0": (BACK, True),
    "back at 100 on a rebuilt cluster": (replace(BACK, template=Owned(None, "v1.3")), True),
    "the bad canary is still latest ready": (replace(BACK, latest="v2"), False),
    "under its old label": (replace(BACK, template=Owned(0, "v1.1"), created="v1.1"), False),
    "traffic still moves": (replace(BACK, settled=False), False),
    "unseen": (replace(BACK, known=False), False),
}


@pytest.mark.parametrize("case", RESTORED)
def test_restored(case: str) -> None:
    seen, expected = RESTORED[case]
    assert restored(SETTLING, seen) is expected


def test_a_brake_is_the_live_manifest_at_weight_0() -> None:
    assert brake(TRIAL, AT_25) == ("v2", Owned(0, "v2.2"))


@pytest.mark.parametrize(
    "seen",
    [
        replace(HEALTHY, live=UNKNOWN),
        with_live(HEALTHY, template=Owned(None, "v1.1")),
        with_live(HEALTHY, baseline="?"),
        replace(HEALTHY, rollout=LAST),
        IDLE,
    ],
    ids=["unseen", "the canary is not live", "nobody to fall back to", "it takes over", "nothing on trial"],
)
def test_there_is_no_brake_where_it_would_send_traffic_elsewhere(seen: Situation) -> None:
    assert brake(seen.rollout, seen.live) is None


@quick
@given(trials)
def test_a_brake_only_ever_lowers_the_canary(seen: Situation) -> None:
    canary = seen.rollout.canary
    assert canary is not None
    assert brake(seen.rollout, seen.live) in (None, (canary.revision, Owned(0, canary.label)))


def test_the_cluster_is_owed_a_whole_manifest_until_it_has_it() -> None:
    of = scorer(tree(owning(TWO, Owned(5, f"{V2}.1")), on_trial()))
    owed = owes(of, Live(content=V1, baseline=V1), (V2, Owned(5, f"{V2}.1")))
    assert owed is not None
    assert owed.service == SCORER
    assert owed.document == value(owning(TWO, Owned(5, f"{V2}.1")))
    assert owes(of, Live(content=V2, template=Owned(5, f"{V2}.1")), (V2, Owned(5, f"{V2}.1"))) is None
    assert owes(of, Live(), None) is None


# -- the cluster's names ---------------------------------------------------------------------------------------------

LABEL = f"{V2}.1"


def status(document: Mapping[str, Any], **fields: Any) -> Status:
    names: dict[str, Any] = {"created": "p-2", "ready": "p-2", "rolled": "p-1", "routed": True, "uid": "uid-1"}
    labels = {"p-1": None, "p-2": LABEL}
    return Status(manifest=document, **{"labels": labels, **names, **fields})


SPLIT = (Share("p-2", 5, latest=True), Share("p-1", 95))
STABLE = Stable(V1, None, "p-1", "uid-1")
ADOPTED = Rollout(service=SCORER, wanted=V1, stable=STABLE)
CANARY_LIVE = manifest.with_owned(value(TWO), Owned(5, LABEL))


def test_the_cluster_s_names_become_our_revisions() -> None:
    seen = live(ADOPTED, status(CANARY_LIVE, traffic=SPLIT, applied=NOON, failure="slow"))
    assert (seen.content, seen.template) == (V2, Owned(5, LABEL))
    assert (seen.created, seen.latest, seen.baseline) == (LABEL, V2, V1)
    assert (seen.settled, seen.ready, seen.broken) == (True, True, None)
    assert seen.shares == {"p-2": 5, "p-1": 95}
    assert seen.names == {LABEL: "p-2", V1: "p-1"}
    assert (seen.rolled, seen.uid, seen.since, seen.failure) == ("p-1", "uid-1", NOON, "slow")


SECOND = timedelta(seconds=1)
UNLABELLED = {"p-1": None, "p-2": None}
HEARD: dict[str, tuple[dict[str, Any], bool]] = {
    "readiness turned after our apply": ({"labels": UNLABELLED, "applied": NOON, "turned": NOON + SECOND}, True),
    "readiness turned before our apply": ({"labels": UNLABELLED, "applied": NOON, "turned": NOON - MINUTE}, False),
    "readiness turned in the second of our apply": ({"labels": UNLABELLED, "applied": NOON, "turned": NOON}, False),
    "there was nothing before our apply": ({"labels": UNLABELLED, "applied": NOON, "born": NOON, "turned": NOON}, True),
    "nothing has turned yet": ({"labels": UNLABELLED, "applied": NOON}, False),
    "we never applied anything": ({"labels": UNLABELLED, "turned": NOON - MINUTE}, True),
    "the newest revision has our label": ({"applied": NOON, "turned": NOON - MINUTE}, True),
}


@pytest.mark.parametrize("case", HEARD)
def test_a_status_may_be_that_of_the_manifest_before_our_last_apply(case: str) -> None:
    fields, heard = HEARD[case]
    assert live(ADOPTED, status(value(TWO), **fields)).unheard == (None if heard else NOON)


def test_a_cluster_that_does_not_answer_is_not_known() -> None:
    assert live(ADOPTED, Status(known=False, why="timed out")) == Live(known=False, why="timed out")


def test_nothing_there_is_an_answer() -> None:
    assert live(ADOPTED, Status()) == Live()


UNSETTLED: dict[str, dict[str, Any]] = {
    "traffic has not moved yet": {"traffic": (Share("p-1", 100),)},
    "an old revision still has a share": {"traffic": (*SPLIT[:1], Share("p-1", 90), Share("p-0", 5))},
    "the newest revision is not ready": {"ready": "p-1", "traffic": (Share("p-1", 100),)},
    "routes are not ready": {"routed": False, "traffic": SPLIT},
}


@pytest.mark.parametrize("case", UNSETTLED)
def test_nothing_is_settled_while(case: str) -> None:
    assert not live(ADOPTED, status(CANARY_LIVE, **UNSETTLED[case])).settled


def test_shares_of_one_revision_are_added_up() -> None:
    """KServe names a revision twice where the newest one is the baseline too."""
    twice = (Share("p-2", 5, latest=True), Share("p-2", 95))
    assert live(ADOPTED, status(CANARY_LIVE, rolled="p-2", traffic=twice)).settled


def test_a_revision_that_nobody_named_is_unknown() -> None:
    seen = live(ADOPTED, status(CANARY_LIVE, rolled="p-0", traffic=SPLIT))
    assert seen.baseline == "?"


def test_an_adopted_name_counts_only_for_the_object_that_it_was_given_by() -> None:
    assert live(ADOPTED, status(CANARY_LIVE, traffic=SPLIT, uid="uid-2")).baseline == "?"


def test_an_adopted_service_is_known_again_on_a_rebuilt_cluster() -> None:
    fresh = {"created": "p-1", "ready": "p-1", "rolled": "p-1", "uid": "uid-9", "labels": {"p-1": None}}
    at_rest = status(value(ONE), traffic=(Share("p-1", 100, latest=True),), **fresh)
    assert live(ADOPTED, at_rest).baseline == V1
    moving = replace(at_rest, traffic=())
    assert live(ADOPTED, moving).baseline == "?"


def test_a_first_revision_is_what_the_manifest_says_while_nothing_is_adopted() -> None:
    fresh = {"created": "p-1", "ready": "p-1", "rolled": "p-1", "labels": {"p-1": None}}
    seen = live(replace(ADOPTED, stable=None), status(value(ONE), traffic=(Share("p-1", 100),), **fresh))
    assert seen.latest == seen.baseline == V1
    assert seen.settled


def test_a_live_object_without_a_predictor_is_unreadable() -> None:
    assert live(ADOPTED, status({"spec": None})).content == "?"


def test_a_broken_route_names_who_froze_it() -> None:
    assert live(ADOPTED, status(CANARY_LIVE, traffic=SPLIT, routed=False)).broken == "p-2"
