from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops_serving.core.errors import Invalid
from gitops_serving.core.fields import duration, format_duration

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no mistake


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("5m", 300), ("2h", 7200), ("1h30m", 5400), ("720h", 2_592_000)]
)
def test_durations_are_written_as_documented(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "0s", "0h0m", "-5m", "5", "m", "5M", "1.5h", "5m1h", "1d", "721h", "500ms", "1s5ms", " 5m", "\u0665m", "5m\n"],
)
def test_no_other_text_is_a_duration(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        duration(text)
    assert caught.value.code in {"type", "range"}
    assert caught.value.remedy


@quick
@given(st.integers(1, 30 * 24 * 3600))
def test_a_duration_survives_being_written(seconds: int) -> None:
    assert duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(days=1, minutes=5), "24h5m"),
        (timedelta(milliseconds=1250), "1s250ms"),
        (timedelta(microseconds=400), "0s"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(span: timedelta, text: str) -> None:
    assert format_duration(span) == text
