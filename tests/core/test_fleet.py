from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid
from gitops_serving.core.fleet import environment_names, policy_of, read_environment
from gitops_serving.core.fleet import read_fleet as read_bare
from gitops_serving.core.ledger import Asked
from gitops_serving.core.model import UNREADABLE, Policy, Request, Rollout

from .situations import NOON
from .trees import ENVIRONMENT, ONE, POLICY, SCORER, TWO, on_trial, record, revision, tree

if TYPE_CHECKING:
    from datetime import datetime

    from gitops_serving.core.fleet import Fleet
    from gitops_serving.testing.repository import FakeTree

BY_LABEL = b"""\
    - {policy: careful, match: {labels: {tier: gold}}}
    - {policy: standard}
"""
CAREFUL = POLICY.replace(b"name: standard", b"name: careful")
GOLD = "name: scorer, namespace: fraud, labels: {tier: gold}"


def environment(more: bytes, *, bindings: bytes = b"    - {policy: standard}\n") -> bytes:
    return ENVIRONMENT.replace(b"  policies:\n    - {policy: standard}\n", more + b"  policies:\n" + bindings)


PACK = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: MetricPack
metadata: {name: knative}
spec:
  sources:
    - name: Ours
      revisionLabel: rev
      detect: count(ours)
      signals:
        errors: {kind: counter, total: 'ours{rev="{{ revision }}"}', bad: 'bad{rev="{{ revision }}"}'}
"""
SLOW = CAREFUL.replace(
    b"pack: knative/errors, compare: {tolerance: 20%, atLeast: 5%}", b"pack: istio/latency, limit: {max: 1s}"
)


def read_fleet(of: FakeTree, name: str, now: datetime) -> Fleet:
    return read_bare(of, name, now, shipped.packs())


def followed(of: FakeTree) -> Policy | Invalid:
    fleet = read_fleet(of, "demo", NOON)
    rollout = fleet.rollouts[SCORER]
    assert isinstance(rollout, Rollout)
    return policy_of(fleet, rollout)


def wrong(of: FakeTree) -> Invalid:
    found = followed(of)
    assert isinstance(found, Invalid)
    assert found.path
    assert found.remedy
    return found


def named(of: FakeTree) -> str:
    found = followed(of)
    assert isinstance(found, Policy), found
    return found.name


def test_environments_are_the_folders_with_a_cluster_file() -> None:
    of = tree(clusters__prod__cluster=ENVIRONMENT, clusters__nothing__x=b"", clusters__a__b__cluster=b"")
    assert environment_names(of) == ["demo", "prod"]


def test_an_environment_is_read_from_the_tree() -> None:
    fleet = read_fleet(tree(), "demo", NOON)
    assert not isinstance(fleet.environment, Invalid)
    assert (fleet.environment.name, list(fleet.rollouts), list(fleet.policies)) == ("demo", [SCORER], ["standard"])
    assert fleet.unnamed == ()


def test_an_unknown_environment_names_those_that_there_are() -> None:
    found = read_environment(tree(), "prod")
    assert isinstance(found, Invalid)
    assert (found.code, found.path) == ("missing", "clusters/prod/cluster.yaml")
    assert found.remedy.endswith("there are: demo")


def test_a_broken_environment_stops_progress_and_not_the_watch() -> None:
    of = tree(ONE, record(), clusters__demo__cluster=b"{{")
    fleet = read_fleet(of, "demo", NOON)
    assert isinstance(fleet.environment, Invalid)
    assert isinstance(fleet.rollouts[SCORER], Rollout)
    assert wrong(of).path == "clusters/demo/cluster.yaml"


def test_a_service_follows_the_policy_that_is_bound_to_it() -> None:
    of = tree(TWO.replace("name: scorer, namespace: fraud", GOLD), policies__careful=CAREFUL)
    bound = environment(b"", bindings=BY_LABEL)
    assert named(tree(of.read("clusters/demo/fraud/scorer.yaml"), policies__careful=CAREFUL)) == "standard"
    golden = tree(of.read("clusters/demo/fraud/scorer.yaml"), policies__careful=CAREFUL, clusters__demo__cluster=bound)
    assert named(golden) == "careful"
    assert named(tree(ONE, policies__careful=CAREFUL, clusters__demo__cluster=bound)) == "standard"


def test_a_broken_manifest_does_not_take_its_policy_from_who_is_on_trial() -> None:
    """Without its labels the canary would be held against another policy, or none, and could fail unseen."""
    golden = TWO.replace("name: scorer, namespace: fraud", GOLD)
    base = on_trial()
    assert base.canary is not None
    label = f"{revision(golden)}.1"
    of = replace(base, canary=replace(base.canary, revision=revision(golden), label=label), canary_text=golden)
    bound = environment(b"", bindings=BY_LABEL)
    assert named(tree(b"spec: [\n", of, policies__careful=CAREFUL, clusters__demo__cluster=bound)) == "careful"


def test_no_binding_is_said_with_its_remedy() -> None:
    bound = environment(b"", bindings=b"    - {policy: standard, match: {names: [other]}}\n")
    complaint = wrong(tree(clusters__demo__cluster=bound))
    assert (complaint.code, complaint.message) == ("policy", "no policy matches")
    assert complaint.remedy == "add a last binding without match"


def test_an_unknown_policy_names_those_that_there_are() -> None:
    bound = environment(b"", bindings=b"    - {policy: brisk}\n")
    complaint = wrong(tree(clusters__demo__cluster=bound))
    assert complaint.message == "there is no policy brisk"
    assert complaint.remedy == "add policies/brisk.yaml; there are: standard"


def test_an_invalid_policy_keeps_the_name_of_its_file() -> None:
    of = tree(policies__standard=b"{{", policies__careful=CAREFUL)
    assert wrong(of).path == "policies/standard.yaml"
    fleet = read_fleet(of, "demo", NOON)
    assert isinstance(fleet.policies["careful"], Policy)
    assert [error.path for error in fleet.unnamed] == ["policies/standard.yaml"]


def test_two_policies_of_one_name_are_none() -> None:
    complaint = wrong(tree(policies__zz=POLICY))
    assert (complaint.code, complaint.path) == ("duplicate", "policies/zz.yaml")


def test_a_policy_in_a_folder_below_is_none() -> None:
    assert list(read_fleet(tree(policies__old__brisk=POLICY), "demo", NOON).policies) == ["standard"]


@pytest.mark.parametrize(("listed", "inside"), [(b"fraud", True), (b"search", False)])
def test_a_service_outside_of_our_namespaces_is_left_alone(listed: bytes, inside: bool) -> None:
    bound = ENVIRONMENT.replace(b"{kind: local}", b"{kind: local, namespaces: [" + listed + b"]}")
    found = read_fleet(tree(clusters__demo__cluster=bound), "demo", NOON).rollouts[SCORER]
    assert isinstance(found, Rollout) == inside
    if isinstance(found, Invalid):
        assert (found.code, found.path) == ("namespace", "clusters/demo/cluster.yaml")


# -- metric packs ----------------------------------------------------------------------------------------------------


def sources(of: FakeTree) -> list[str]:
    found = followed(of)
    assert isinstance(found, Policy), found
    return [f"{source.pack}: {source.name}" for metric in found.metrics for source in metric.sources]


def test_a_policy_comes_with_the_sources_of_its_metrics() -> None:
    assert sources(tree())[0] == "knative: Knative up to 1.18"
    assert len(sources(tree())) == 5


def test_a_pack_of_the_tree_takes_the_place_of_the_shipped_one() -> None:
    assert sources(tree(policies__metrics__knative=PACK)) == ["knative: Ours"]


def test_a_pack_in_a_folder_below_is_none() -> None:
    assert len(sources(tree(policies__metrics__old__knative=PACK))) == 5


def test_a_pack_of_the_trees_own_is_found_by_its_name() -> None:
    mine = PACK.replace(b"name: knative", b"name: mine")
    using = POLICY.replace(b"knative/errors", b"mine/errors")
    assert sources(tree(policies__standard=using, policies__metrics__mine=mine)) == ["mine: Ours"]
    complaint = wrong(tree(policies__standard=using))
    assert (complaint.message, complaint.path) == ("metric errors: there is no pack mine", "policies/standard.yaml")


def test_without_packs_no_policy_can_be_followed() -> None:
    fleet = read_bare(tree(), "demo", NOON)
    found = fleet.policies["standard"]
    assert isinstance(found, Invalid)
    assert (found.remedy, fleet.unnamed) == ("there are: none", ())


def test_a_broken_pack_stops_the_policies_that_need_it_and_no_others() -> None:
    of = tree(policies__metrics__knative=b"{{", policies__careful=SLOW)
    assert wrong(of).path == "policies/metrics/knative.yaml"
    assert isinstance(read_fleet(of, "demo", NOON).policies["careful"], Policy)


def test_two_packs_of_one_name_are_none() -> None:
    both = dict.fromkeys(("policies/metrics/knative.yaml", "policies/metrics/knative.yml"), PACK)
    complaint = wrong(tree().with_files("0" * 40, both))
    assert (complaint.code, complaint.path) == ("duplicate", "policies/metrics/knative.yml")


def test_a_pack_is_read_once_for_all_ticks() -> None:
    first, second = (followed(tree(policies__metrics__knative=PACK)) for _ in range(2))
    assert isinstance(first, Policy)
    assert isinstance(second, Policy)
    assert first.metrics[0].sources[0] is second.metrics[0].sources[0]


ELSEWHERE = ENVIRONMENT.replace(b"{kind: local}", b"{kind: local, namespaces: [search]}")


@pytest.mark.parametrize("broken", [ELSEWHERE + b"  typo: 1\n", b"{{", b""])
def test_an_unreadable_environment_starts_nothing_new(broken: bytes) -> None:
    """Whoever broke the environment's file took the list of namespaces away, and could start things anywhere."""
    fleet = read_fleet(tree(clusters__demo__cluster=broken), "demo", NOON)
    assert fleet.rollouts[SCORER] is fleet.environment
    watched = read_fleet(tree(ONE, record(), clusters__demo__cluster=broken), "demo", NOON).rollouts[SCORER]
    assert isinstance(watched, Rollout)
    assert (watched.wanted, watched.outside) == (revision(ONE), True)
    asked = record(asked=Asked(Request.PROMOTE, revision(TWO), "Ann", NOON), previous=revision(TWO))
    waiting = read_fleet(tree(TWO, asked, clusters__demo__cluster=broken), "demo", NOON).rollouts[SCORER]
    assert isinstance(waiting, Rollout)
    assert (waiting.direct, waiting.asked) == (None, None)


def test_a_service_taken_out_of_our_namespaces_is_watched_and_nothing_new_of_it_begins() -> None:
    asked = Asked(Request.PROMOTE, revision(TWO), "Ann", NOON)
    for of, kept in ((on_trial(asked=asked), Request.PROMOTE), (record(asked=asked, previous=revision(TWO)), None)):
        found = read_fleet(tree(TWO, of, clusters__demo__cluster=ELSEWHERE), "demo", NOON).rollouts[SCORER]
        assert isinstance(found, Rollout)
        assert found.invalid is not None
        assert (found.invalid.code, found.wanted, found.direct, found.asked) == ("namespace", UNREADABLE, None, kept)
        assert (found.stable, found.canary, found.outside) == (of.stable, of.canary, True)
    assert named(tree(TWO, on_trial(), clusters__demo__cluster=ELSEWHERE)) == "standard"
