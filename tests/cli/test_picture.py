"""The picture of a backtest: that it can be parsed, that it says everything, and that no text can break out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

from gitops_serving.cli.picture import LINE, Area, _apart, picture
from gitops_serving.core.backtest import Compared, Move, Point, Replayed, Would, unknown
from gitops_serving.core.past import End, Given, Journey

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
JOURNEY = Journey(
    service="fraud/scorer",
    environment="demo",
    revision="222222222222",
    given=(Given(10, NOON), Given(25, NOON + 5 * MINUTE), Given(100, NOON + 10 * MINUTE)),
    end=End.PROMOTED,
    ended=NOON + 11 * MINUTE,
)
CURVE = tuple(
    Point(NOON + minute * MINUTE, 2.0**minute, (("errors", 2.0**minute), ("latency", 0.5))) for minute in range(6)
)
WRONGLY = Compared(
    JOURNEY,
    Replayed(
        would=Would.ABORTED,
        because="errors 4%",
        at=NOON + 6 * MINUTE,
        moves=(Move(10, NOON), Move(50, NOON + 3 * MINUTE)),
        curve=CURVE,
    ),
)


def words(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_panel_says_what_was_done_what_would_have_been_and_by_which_steps() -> None:
    said = words(picture([WRONGLY], "would have aborted 1 of 1; 1 wrongly"))

    assert said[0] == "Would have aborted 1 of 1; 1 wrongly."
    assert {"fraud/scorer 222222222222", "2026-01-01 12:00 UTC, demo", "errors 4%"} <= set(said)
    assert {"was promoted", "would have aborted, wrongly", "20: proof", "errors 32", "all together 32"} <= set(said)
    assert [word for word in said if word.endswith("%") and word[0].isdigit()] == ["10%", "25%", "10%", "50%"]


def test_what_is_undecided_is_marked_where_its_samples_end() -> None:
    undecided = Replayed(would=Would.UNDECIDED, because="healthy", moves=(Move(10, NOON),), curve=CURVE)

    assert "undecided" in words(picture([Compared(JOURNEY, undecided)], "undecided about 1"))


def test_a_rollout_of_which_nothing_is_known_has_a_panel_of_words() -> None:
    gone = Compared(JOURNEY, unknown("Prometheus has nothing of it any more"))
    said = words(picture([gone, WRONGLY], "would have aborted 1 of 1"))

    assert "Prometheus has nothing of it any more" in said
    assert said.count("evidence") == 1


def test_what_is_still_on_trial_has_no_end() -> None:
    open_ = replace(JOURNEY, given=(Given(10, NOON),), end=End.OPEN, ended=None)

    assert not [word for word in words(picture([replace(WRONGLY, journey=open_)], "")) if word.startswith("was ")]


def test_no_text_can_break_out_of_its_place() -> None:
    nasty = replace(WRONGLY.replayed, because='</text><script>alert("1")</script>\x1b[2J & so on')
    svg = picture([Compared(JOURNEY, nasty)], "sentence <&>")

    assert "<script" not in svg
    assert "\x1b" not in svg
    assert any("alert" in word for word in words(svg))


def test_labels_never_cover_each_other() -> None:
    area = Area(top=100.0, seconds=60.0, most=100.0)
    placed = _apart([(area.y(0.05), str(number), "", "") for number in range(8)], area)
    heights = [y for y, *_ in placed]

    assert all(later - earlier >= LINE for earlier, later in pairwise(heights))
    assert max(heights) <= area.bottom
