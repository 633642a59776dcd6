"""Counting what judges do, the tables of it, and the stream."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from .__main__ import main
from .compare import compare, factory, play, summarise, wilson
from .report import BEGIN, END, markdown, write_between
from .stream import Piped, differences, serve
from .worlds import TROUBLES, Noise, World, samples

if TYPE_CHECKING:
    from pathlib import Path

    from .compare import Judge, Message

GOOD = World(rps=20, noise=Noise.CALM)
BAD = World(rps=20, noise=Noise.CALM, trouble=TROUBLES["half of the requests fail"])


def failing_at(t: float, before: str = "pass") -> Judge:
    def take(message: Message) -> Message | None:
        if message["type"] == "start":
            return None
        return {"verdict": "fail" if message["sample"]["t"] >= t else before, "e": 1.0, "because": "I say so"}

    return take


def test_a_run_ends_with_its_failure() -> None:
    run = play(failing_at(600, "inconclusive"), samples(GOOD, 0), GOOD.end)

    assert (run.failed_at, run.finished) == (600, False)
    assert run.inconclusive == pytest.approx(59 / 60)


@pytest.mark.parametrize(("before", "finished"), [("pass", True), ("inconclusive", False)])
def test_a_rollout_finishes_that_passes_at_the_end_of_each_step(before: str, finished: bool) -> None:
    assert play(failing_at(1e9, before), samples(GOOD, 0), GOOD.end).finished is finished


def test_a_failure_before_the_trouble_is_no_detection() -> None:
    late = World(rps=20, noise=Noise.CALM, trouble=TROUBLES["errors x5 from step 2"])
    runs = [play(failing_at(t), samples(late, 0), late.end) for t in (500, 600, 700, 900)]
    cell = summarise(late, "mine", runs)

    assert (cell.failed, cell.early, cell.median_seconds) == (2, 2, 200)


def test_wilson() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(2, 100) == pytest.approx((0.00550, 0.0700), abs=1e-4)
    assert wilson(0, 200)[0] == 0


def test_judges_that_play_together_or_apart_or_in_processes_get_the_same_runs() -> None:
    worlds, judges = [GOOD, BAD], ["flagger5", "kayenta"]
    together = list(compare(worlds, judges, runs=4))
    apart = [[next(iter(compare([world], [judge], runs=4)))[0] for judge in judges] for world in worlds]

    assert together == apart == list(compare(worlds, judges, runs=4, jobs=2))
    assert [cell.failed for cell in together[1]] == [4, 4]


def test_a_judge_is_a_peer_or_a_dotted_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "made", lambda: failing_at(10), raising=False)

    assert factory(f"{__name__}:made")()(list(samples(GOOD, 0))[-1]) is not None
    with pytest.raises(ValueError, match="flagger5"):
        factory("nobody")


def test_tables_replace_only_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "judging.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    for _ in range(2):
        write_between(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"

    page.write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        write_between(page, "new")


def test_the_tables_say_what_was_counted() -> None:
    cells = [cell for row in compare([GOOD, BAD], ["flagger10"], runs=2) for cell in row]

    text = markdown(cells)
    assert "| healthy, 20 rps, calm | 0.0 (" in text
    assert "| half of the requests fail, 20 rps, calm | 100 (34-100) / 600 |" in text
    assert "| *mean* | *0.0* |" in text


def test_the_command_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, cells = tmp_path / "judging.md", tmp_path / "cells.json"
    page.write_text(f"{BEGIN}\n{END}\n")
    asked = ["--runs", "1", "--grid", "healthy", "--world", "calm", "--judge", "flagger5"]

    assert main([*asked, "--json", str(cells), "--write", str(page)]) == 0
    assert capsys.readouterr().out.count("healthy, ") == page.read_text().count("| healthy, ") / 2 == 4
    assert [cell["runs"] for cell in json.loads(cells.read_text())] == [1, 1, 1, 1]
    assert main(["--world", "nowhere"]) == 2


def test_our_judge_tells_half_of_the_requests_failing_from_health() -> None:
    pytest.importorskip("gitops_serving.core.jsonl", reason="the worlds and the peers run without our judge")
    ours = factory("tests.judging.ours:standard")
    failed = [play(ours(), samples(world, 0), world.end).failed_at for world in (GOOD, BAD)]

    assert failed[0] is None
    assert failed[1] is not None
    assert failed[1] <= 600


def test_a_judge_behind_pipes_gives_the_same_answers() -> None:
    with Piped([sys.executable, "-m", "tests.judging", "--serve", "flagger5"]) as piped:
        assert list(differences(factory("flagger5"), piped, [GOOD, BAD], range(2))) == []
        found = list(differences(factory("flagger10"), piped, [BAD], [0]))

    assert found[0][1]["t"] == 300


def test_a_process_that_ends_is_no_answer() -> None:
    with Piped([sys.executable, "-c", "input()"]) as piped, pytest.raises(EOFError, match="ended with 0"):
        piped.take({"type": "sample", "answer": True})


def test_only_what_asks_for_an_answer_gets_one() -> None:
    messages = [{**m, "answer": m["sample"]["t"] == 0} if m["type"] == "sample" else m for m in samples(GOOD, 0)]
    out = io.StringIO()
    serve(factory("flagger5"), map(json.dumps, messages), out)

    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"verdict": "inconclusive", "e": None, "because": ""}
    ]
