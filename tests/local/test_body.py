from __future__ import annotations

import pytest

from gitops_serving.local.body import LIMIT_BYTES, LIMIT_DEPTH, mapping
from gitops_serving.local.faults import ApiError


def test_yaml_and_json_say_the_same() -> None:
    assert mapping(b'{"a": [1, 2.5, true, null]}') == mapping(b"a: [1, 2.5, true, null]", is_yaml=True)


def test_json_is_yaml_too() -> None:
    assert mapping(b'{"a": "x"}', is_yaml=True) == {"a": "x"}


def test_a_date_is_a_string_as_kubernetes_has_it() -> None:
    assert mapping(b"a: 2026-11-22", is_yaml=True) == {"a": "2026-11-22"}


@pytest.mark.parametrize("is_yaml", [True, False])
def test_a_body_over_the_limit_is_refused_unread(is_yaml: bool) -> None:
    with pytest.raises(ApiError) as caught:
        mapping(b"x" * (LIMIT_BYTES + 1), is_yaml=is_yaml)
    assert caught.value.code == 413


@pytest.mark.parametrize("is_yaml", [True, False])
@pytest.mark.parametrize("depth", [LIMIT_DEPTH + 5, 900, 200_000])
def test_a_deeply_nested_body_is_refused(is_yaml: bool, depth: int) -> None:
    with pytest.raises(ApiError, match="nested deeper"):
        mapping(b'{"a":' + b"[" * depth + b"]" * depth + b"}", is_yaml=is_yaml)


def test_a_body_at_the_limit_of_nesting_is_taken() -> None:
    depth = LIMIT_DEPTH - 1
    assert mapping(b'{"a":' + b"[" * depth + b"]" * depth + b"}", is_yaml=True)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: &x [1]\nb: *x", "alias"),
        (b"- 1", "not a mapping"),
        (b"1: a", "not a string"),
        (b"a: .nan", "not finite"),
        (b"a: !!binary aGk=", "bytes"),
        (b"a: !!set {x, y}", "set"),
        (b"a: !!python/object:os.system {}", "not YAML"),
        (b"a: [1", "not YAML"),
        (b"a: 1\n---\nb: 2", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"", "not a mapping"),
    ],
)
def test_what_json_cannot_say_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ApiError, match=said):
        mapping(raw, is_yaml=True)


@pytest.mark.parametrize("raw", [b"{", b"", b"\xff", b'{"a": 1}}'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError, match="not JSON"):
        mapping(raw)


def test_a_number_that_is_not_finite_is_refused_in_json_too() -> None:
    with pytest.raises(ApiError, match="not finite"):
        mapping(b'{"a": NaN}')
