"""An entry names both revisions as the cluster does, wherever that is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops_serving.core.ledger import read_trailers
from gitops_serving.core.model import Abort, Decision, Drop, Live, Promote, Shift
from gitops_serving.core.propose import propose

from .test_propose import HEAD, LABEL, LIVE, proposed, situation
from .trees import TWO, V1, V2, on_trial, record, tree

NAMES = {LABEL: "scorer-predictor-00002", V1: "scorer-predictor-00001"}
NAMED = replace(LIVE, rolled="scorer-predictor-00001", names=NAMES)


@pytest.mark.parametrize("decision", [Shift(25, "errors 0%"), Abort("errors 4%"), Drop("errors 4%")])
def test_an_entry_names_both_revisions_as_the_cluster_does(decision: Decision) -> None:
    """An aborted revision is gone from the cluster; its series are found by this name alone."""
    trailers = read_trailers(proposed(decision, tree(HEAD, on_trial()), NAMED).message)
    assert (trailers["Canary"], trailers["Stable"]) == ("scorer-predictor-00002", "scorer-predictor-00001")


def test_a_promotion_still_names_the_revision_that_was_stable() -> None:
    live = replace(NAMED, baseline=V2, rolled="scorer-predictor-00002")
    trailers = read_trailers(proposed(Promote(), tree(HEAD, on_trial(100)), live).message)
    assert (trailers["Canary"], trailers["Stable"]) == ("scorer-predictor-00002", "scorer-predictor-00001")


def test_an_admission_names_stable_alone() -> None:
    """What the cluster will call the new revision is not known yet, and the one before it is another rollout."""
    admitting = propose(Shift(5, "a push"), situation(tree(TWO, record()), NAMED), tree(TWO, record()))
    assert admitting is not None
    assert "Canary" not in read_trailers(admitting.message)
    assert read_trailers(admitting.message)["Stable"] == "scorer-predictor-00001"


def test_an_entry_leaves_out_names_that_nobody_knows() -> None:
    trailers = read_trailers(proposed(Abort("errors 4%"), tree(HEAD, on_trial()), Live(known=False)).message)
    assert "Canary" not in trailers
