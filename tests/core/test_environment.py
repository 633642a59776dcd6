from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops_serving.core.environment import Binding, Environment, Match, policy_for, read_environment
from gitops_serving.core.errors import Invalid

PATH = "clusters/production/cluster.yaml"
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no mistake
HEAD = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {name: production}
"""
SMALL = (
    HEAD
    + """\
spec:
  cluster: {kind: kubernetes}
  prometheus: {url: "https://prometheus.example.com"}
  policies: [{policy: standard}]
"""
)
LOCAL = SMALL.replace("kind: kubernetes", "kind: local").replace(
    '  prometheus: {url: "https://prometheus.example.com"}\n', ""
)


def read(text: str, path: str = PATH) -> Environment:
    return read_environment(text.encode(), path)


def refused(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(text)
    return caught.value


def outcome(text: str) -> Environment | Invalid:
    try:
        return read(text)
    except Invalid as wrong:
        return wrong


def every(complaint: Invalid) -> list[Invalid]:
    return [complaint, *(further for other in complaint.others for further in every(other))]


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


def url(words: str) -> str:
    return changed('"https://prometheus.example.com"', json.dumps(words))


def bound(*bindings: Binding) -> Environment:
    return Environment(name="production", cluster="local", bindings=bindings)


def test_an_environment_with_everything_in_it_is_read_whole() -> None:
    text = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata:
  name: production
  annotations: {config.kubernetes.io/local-config: "true", argocd.argoproj.io/hook: Skip}
spec:
  cluster:
    kind: kubernetes
    context: admin@prod.example.com:6443
    namespaces: [fraud, search]
  prometheus:
    url: https://prometheus.example.com/tenant/
    timeout: 7s
  interval: 1m30s
  policies:
    - policy: cautious
      match: {namespaces: [fraud], names: [scorer, ranker], labels: {tier: gold, example.com/team: ml}}
    - {policy: standard}
"""
    assert read(text) == Environment(
        name="production",
        cluster="kubernetes",
        context="admin@prod.example.com:6443",
        namespaces=("fraud", "search"),
        prometheus_url="https://prometheus.example.com/tenant",
        prometheus_timeout=timedelta(seconds=7),
        interval=timedelta(seconds=90),
        bindings=(
            Binding("cautious", Match(("fraud",), ("scorer", "ranker"), {"tier": "gold", "example.com/team": "ml"})),
            Binding("standard", Match((), (), {})),
        ),
    )


def test_a_local_environment_needs_no_prometheus_and_no_context() -> None:
    assert read(LOCAL) == Environment(
        name="production",
        cluster="local",
        context="",
        namespaces=(),
        prometheus_url="",
        prometheus_timeout=timedelta(seconds=5),
        interval=timedelta(seconds=15),
        bindings=(Binding("standard"),),
    )


def test_a_local_environment_may_name_a_prometheus_of_its_own() -> None:
    text = LOCAL.replace("kind: local}", "kind: local}\n  prometheus: {url: 'http://127.0.0.1:9090'}")
    assert read(text).prometheus_url == "http://127.0.0.1:9090"


@pytest.mark.parametrize(
    "words",
    [
        "http://prometheus.monitoring:9090",
        "https://prometheus.example.com/a/b",
        "http://[::1]:9090",
        "HTTPS://prometheus.example.com",
    ],
)
def test_a_plain_http_address_is_a_prometheus(words: str) -> None:
    assert read(url(words)).prometheus_url == words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("https://ada:hunter2@prometheus.example.com", "holds credentials"),
        ("https://hunter2@prometheus.example.com", "holds credentials"),
        ("https://ada:hunter2@[prometheus.example.com", "is not a URL"),
        ("https://prometheus.example.com/?token=hunter2", "has a query or a fragment"),
        ("https://prometheus.example.com/#hunter2", "has a query or a fragment"),
        ("ftp://hunter2.example.com", "is neither http nor https"),
        ("hunter2.example.com:9090", "is neither http nor https"),
        ("http://:9090/hunter2", "names no host"),
        ("http://prometheus:0/hunter2", "no port that can be reached"),
        ("http://prometheus:99999/hunter2", "is not a URL"),
        ("http://prometheus:hunter2", "is not a URL"),
        ("http://prometheus/ hunter2", "is not a URL"),
        ("http://prometheus/\nhunter2", "is not a URL"),
        ("", "is not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_never_repeated(words: str, message: str) -> None:
    found = refused(url(words))
    assert str(found).startswith(f"{PATH}:6: spec.prometheus.url ")
    assert message in found.message
    assert "hunter2" not in str(found) + repr(found)


@pytest.mark.parametrize(
    "text",
    [
        changed('{url: "https://prometheus.example.com"}', "https://ada:hunter2@prometheus.example.com"),
        changed('{url: "https://prometheus.example.com"}', "ada:hunter2@prometheus.example.com"),
        changed("{kind: kubernetes}", "{kind: 'https://ada:hunter2@api.example.com'}"),
        changed("{kind: kubernetes}", "{kind: kubernetes, context: ' https://ada:hunter2@api.example.com'}"),
        changed('url: "https://prometheus', '"https://ada:hunter2@a.example.com": 1, url: "https://prometheus'),
        changed('url: "https://prometheus', 'username: ada, password: hunter2, url: "https://prometheus'),
    ],
)
def test_an_address_in_the_wrong_place_is_not_repeated_either(text: str) -> None:
    found = refused(text)
    assert "hunter2" not in str(found) + repr(found)


GOLDEN = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {name: staging}
spec:
  cluster:
    kind: kubernets
    namespace: [fraud]
    namespaces: [fraud, search, fraud, "A b"]
  prometheus:
    url: https://ada:secret@prometheus.example.com
    timeout: 5m
    bearerTokenFile: /var/run/secrets/token
  interval: 15
  branches: {source: main}
  policies:
    - {policy: standard}
    - {policy: cautious, match: {}}
    - match: {labels: {tier: 1}, names: scorer}
"""


GOLDEN_COMPLAINTS = """
3: metadata.name is 'staging' in the folder production; write name: production, or rename the folder
6: spec.cluster.kind cannot be 'kubernets'; write kubernetes
7: unknown field spec.cluster.namespace; write namespaces, or remove it
8: spec.cluster.namespaces[2] is 'fraud', as spec.cluster.namespaces[0] is; rename or remove one of them
8: spec.cluster.namespaces[3] cannot be 'A b'; use at most 63 lower-case letters, digits and inner dashes
10: spec.prometheus.url holds credentials; write it like http://prometheus.monitoring:9090, without user or query
11: spec.prometheus.timeout is '5m'; choose from 1s to 2m
12: unknown field spec.prometheus.bearerTokenFile; remove it, this version does not read it yet
13: spec.interval is 15, not a duration; write it like 90s, 5m, 2h or 1h30m
14: unknown field spec.branches; remove it, this version does not read it yet
17: spec.policies[1] is never reached, since spec.policies[0] matches every service; move it up or remove it
17: spec.policies[1].match is empty; fill it, or remove it to match every service
18: spec.policies[2] is never reached, since spec.policies[0] matches every service; move it up or remove it
18: spec.policies[2].policy is missing; write policy: and the name of a policy file
18: spec.policies[2].match.names is 'scorer', not a list; write a list such as [fraud, search]
18: spec.policies[2].match.labels.tier is 1, not a text; put it in quotes
"""


def test_all_complaints_about_a_file_come_at_once_in_the_order_of_its_lines() -> None:
    assert str(refused(GOLDEN)).replace(f"{PATH}:", "") == GOLDEN_COMPLAINTS.strip()


CLUSTER = "  cluster: {kind: kubernetes}\n"
PROMETHEUS = '  prometheus: {url: "https://prometheus.example.com"}\n'
POLICIES = "  policies: [{policy: standard}]\n"


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("", "empty", 1, "empty; write one Environment in it"),
        (SMALL.replace("Environment", "RolloutPolicy"), "kind", 2, "kind is 'RolloutPolicy', not Environment"),
        (SMALL + "---\n" + SMALL, "duplicate", 9, "write one Environment a file"),
        (HEAD, "missing", 1, "spec is missing; add a spec with cluster and policies"),
        (changed("{name: production}", "{labels: {a: b}}"), "missing", 3, "metadata.name is missing"),
        (changed("{name: production}", "{name: prod}"), "range", 3, "'prod' in the folder production; write name"),
        (changed(CLUSTER, ""), "missing", 4, "spec.cluster is missing; add cluster with kind: local or kubernetes"),
        (changed("{kind: kubernetes}", "{}"), "missing", 5, "cluster.kind is missing; add kind: local or kubernetes"),
        (changed("kubernetes}", "kubernetes, context: 5}"), "type", 5, "context is 5, not a text"),
        (changed("kubernetes}", "kubernetes, context: a b}"), "range", 5, "context cannot be 'a b'"),
        (changed("kubernetes}", "kubernetes, namespaces: []}"), "empty", 5, "namespaces is an empty list"),
        (changed("kubernetes}", "kubernetes, namespaces: fraud}"), "type", 5, "not a list; write a list such as"),
        (LOCAL.replace("local}", "local, context: a}"), "unknown-field", 5, "says nothing for a local cluster"),
        (changed(PROMETHEUS, ""), "missing", 4, "spec.prometheus is missing; add prometheus with its url"),
        (changed(PROMETHEUS, "  prometheus: {timeout: 5s}\n"), "missing", 6, "spec.prometheus.url is missing"),
        (changed(PROMETHEUS, "  prometheus:\n"), "empty", 6, "spec.prometheus has no value"),
        (changed('"https://prometheus.example.com"', "[a]"), "type", 6, "spec.prometheus.url is not a URL"),
        (changed(POLICIES, "  interval: 2h\n" + POLICIES), "range", 7, "interval is '2h'; choose from 1s to 1h"),
        (changed(POLICIES, "  freeze: []\n" + POLICIES), "unknown-field", 7, "does not read it yet"),
        (changed(POLICIES, ""), "missing", 4, "spec.policies is missing; add at least one binding"),
        (changed("[{policy: standard}]", "[]"), "empty", 7, "spec.policies is an empty list"),
        (changed("[{policy: standard}]", "[standard]"), "type", 7, "policies[0] is 'standard', not a mapping"),
        (changed("{policy: standard}", "{match: {names: [a]}}"), "missing", 7, "policies[0].policy is missing"),
        (changed("policy: standard", "policy: a/b"), "range", 7, "policies[0].policy cannot be 'a/b'"),
        (changed("standard}", "standard, match: {labels: {}}}"), "empty", 7, "match.labels is empty"),
        (changed("standard}", "standard, match: {names: []}}"), "empty", 7, "match.names is an empty list"),
        (changed("standard}", "standard, match: {name: [a]}}"), "unknown-field", 7, "match.name; write names"),
    ],
)
def test_each_rule_has_its_code_its_line_and_its_words(text: str, code: str, line: int, words: str) -> None:
    found = refused(text)
    assert words in str(found)
    assert (found.code, found.path, found.line) == (code, PATH, line)
    assert found.remedy


def test_the_name_is_that_of_the_folder_that_the_file_lies_in() -> None:
    assert read(SMALL, "production/cluster.yaml").name == "production"
    assert read(SMALL, "cluster.yaml").name == "production"
    with pytest.raises(Invalid, match="in the folder staging"):
        read(SMALL, "production/staging/cluster.yaml")


def test_the_first_binding_that_matches_wins() -> None:
    environment = bound(
        Binding("cautious", Match(namespaces=("fraud",), labels={"tier": "gold"})),
        Binding("standard"),
        Binding("eager", Match(namespaces=("fraud",))),
    )
    assert policy_for(environment, "fraud", "scorer", {"tier": "gold", "team": "ml"}) == "cautious"
    assert policy_for(environment, "fraud", "scorer", {"tier": "silver"}) == "standard"
    assert policy_for(environment, "search", "scorer", {"tier": "gold"}) == "standard"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), True),
        (Match(namespaces=("search", "fraud")), True),
        (Match(namespaces=("search",)), False),
        (Match(names=("scorer",)), True),
        (Match(names=("scorer-two",)), False),
        (Match(labels={"tier": "gold"}), True),
        (Match(labels={"tier": "gold", "team": "ml"}), False),
        (Match(labels={"tier": "Gold"}), False),
        (Match(("fraud",), ("scorer",), {"tier": "gold"}), True),
        (Match(("fraud",), ("ranker",), {"tier": "gold"}), False),
    ],
)
def test_every_part_of_a_match_has_to_hold(match: Match, expected: bool) -> None:
    found = policy_for(bound(Binding("it", match)), "fraud", "scorer", {"tier": "gold"})
    assert found == ("it" if expected else None)


def test_a_service_that_no_binding_matches_has_no_policy() -> None:
    assert policy_for(bound(Binding("it", Match(names=("ranker",)))), "fraud", "scorer", {}) is None


WORDS = st.sampled_from(
    (
        *("apiVersion", "kind", "metadata", "name", "spec", "cluster", "context", "namespaces", "prometheus", "url"),
        *("timeout", "interval", "policies", "policy", "match", "names", "labels", "local", "http://[", "5s", "a"),
    )
)
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.fixed_dictionaries({"kind": st.sampled_from(["local", "kubernetes"])}) | GARBAGE,
        "prometheus": st.fixed_dictionaries({"url": GARBAGE}) | GARBAGE,
        "interval": GARBAGE,
        "policies": st.lists(st.fixed_dictionaries({"policy": WORDS, "match": GARBAGE})) | GARBAGE,
    },
)


@quick
@given(st.dictionaries(WORDS | st.text(max_size=8), GARBAGE, max_size=6))
def test_any_mapping_is_refused_in_an_orderly_way(value: dict[str, Any]) -> None:
    complaint = refused(json.dumps(value))
    assert all(each.path == PATH and each.code and each.remedy for each in every(complaint))


@quick
@given(SPECS)
def test_any_spec_under_the_right_head_is_an_environment_or_refused(spec: dict[str, Any]) -> None:
    head = {"apiVersion": "gitops-serving.dev/v1alpha1", "kind": "Environment", "metadata": {"name": "production"}}
    found = outcome(json.dumps({**head, "spec": spec}))
    if isinstance(found, Invalid):
        assert all(each.path == PATH and each.line and each.remedy for each in every(found))
    else:
        assert found.bindings
        assert found.prometheus_url or found.cluster == "local"
