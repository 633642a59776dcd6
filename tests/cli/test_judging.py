"""``judge --jsonl``: a conversation over pipes, and clear words at the line where it breaks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving import shipped
from gitops_serving.cli import codes
from gitops_serving.cli.judging import LONGEST_LINE
from gitops_serving.core.jsonl import Judging
from gitops_serving.core.policy import read_policy
from tests.core.test_jsonl import sample

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = (sys.executable, "-m", "gitops_serving", "judge")
START = {"type": "start", "run": 1}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def ended(given: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *(options or ("--jsonl",))], input=given, capture_output=True, timeout=60, check=False
    )


@contextmanager
def talking() -> Iterator[subprocess.Popen[bytes]]:
    """Hold a conversation with the command."""
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [*COMMAND, "--jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_every_sample_that_asks_is_answered_at_once() -> None:
    """The next one is sent only after the answer: a command that keeps answers back would wait for ever."""
    here = Judging(read_policy(shipped.policy("standard"), "policies/standard.yaml"))
    with talking() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines(START))
        for t in range(-50, 200, 10):
            message = sample(float(t), bad=0.4, answer=t % 20 == 0)
            expected = here.take(message)
            process.stdin.write(lines(message))
            process.stdin.flush()
            if expected is not None:
                assert json.loads(process.stdout.readline()) == expected
        process.stdin.close()
        assert process.wait(20) == codes.OK


def test_a_listener_that_hangs_up_ends_it_quietly() -> None:
    with talking() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines(START, sample(0.0)))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(lines(sample(10.0), sample(20.0)))
        process.stdin.close()
        assert process.wait(20) == codes.OK
        assert process.stderr.read() == b""


def test_empty_input_and_empty_lines_are_nothing() -> None:
    for given in (b"", b"\n\n  \n"):
        found = ended(given)
        assert (found.returncode, found.stdout, found.stderr) == (codes.OK, b"", b"")


BROKEN = {
    "no JSON": (b"{", "this is no JSON"),
    "half a line at the end": (b'{"type": "sample", "sam', "this is no JSON"),
    "no text": (b"\xff\xfe\x00", "this is no JSON"),
    "JSON without an object": (b"[1, 2]", "this is JSON, and no object; send one JSON object a line"),
    "JSON that is nested without end": (b"[" * 100_000, "this is no JSON"),
    "a line without end": (b'"' + b"x" * LONGEST_LINE + b'"', "the line is too long; send one sample a line"),
    "NaN": (b'{"type": "sample", "sample": {"t": NaN}}', "t is no number"),
    "a number beyond all": (b'{"type": "sample", "sample": {"t": 1e999}}', "t is no number"),
    "a wrong shape": (
        b'{"type": "sample", "sample": {"t": 20, "step": 0, "canary": 5}}',
        "canary is neither counters nor null",
    ),
    "more errors than requests": (
        lines(sample(20.0, canary={"requests": 3, "errors": 4})),
        "canary has 4 errors of 3 requests",
    ),
    "time that goes back": (lines(sample(-100.0)), "t is -100, which is not after 0"),
    "other buckets": (lines(sample(20.0, le=[0.1, 0.2, 0.3])), "le is not what it was before in this run"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_meant_ends_it_with_the_line_s_number(case: str) -> None:
    line, words = BROKEN[case]
    found = ended(lines(START, sample(0.0, answer=True)) + b"\n" + line)
    assert found.returncode == codes.USAGE
    assert found.stderr.decode().startswith("error: line 4: ")
    assert words in found.stderr.decode()
    assert len(found.stdout.splitlines()) == 1  # what was right was answered


def test_a_policy_is_a_shipped_one_or_a_file(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_bytes(shipped.policy("cautious"))
    given = lines(START, sample(0.0))
    answers = {ended(given, "--jsonl", "--policy", name).stdout for name in ("cautious", str(own))}
    assert len(answers) == 1
    assert b"of 100 requests" in answers.pop()


def test_a_policy_that_is_nowhere_or_wrong_is_said_to_be(tmp_path: Path) -> None:
    found = ended(b"", "--jsonl", "--policy", "nowhere")
    assert found.returncode == codes.USAGE
    assert b"cannot read the policy nowhere: No such file or directory; name a file, or one of cautious" in found.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("kind: RolloutPolicy\n")
    found = ended(b"", "--jsonl", "--policy", str(wrong))
    assert (found.returncode, str(wrong).encode() in found.stderr) == (codes.USAGE, True)


def test_without_jsonl_it_says_what_it_needs() -> None:
    found = ended(b"", "--policy", "standard")
    assert found.returncode == codes.USAGE
    assert b"judge needs --jsonl" in found.stderr


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    """More is sent than the pipe holds: whoever reads to the end of the line never answers."""
    with talking() as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            for _ in range(64):
                process.stdin.write(b"x" * (LONGEST_LINE // 8))
                process.stdin.flush()
        assert process.wait(20) == codes.USAGE
        assert b"error: line 1: the line is too long" in process.stderr.read()


def test_blanks_are_no_way_around_the_longest_line() -> None:
    found = ended(b" " * (LONGEST_LINE + 1) + b"\n" + lines(START))
    assert (found.returncode, b"error: line 1: the line is too long" in found.stderr) == (codes.USAGE, True)


def test_what_is_odd_and_may_be_honest_is_noted_once_and_judged() -> None:
    odd = [sample(float(t), canary={"requests": 9, "errors": 0, "buckets": [7, 7, 7, 8]}) for t in (0, 10)]
    found = ended(lines(START, *odd))
    assert (found.returncode, len(found.stdout.splitlines())) == (codes.OK, 2)
    assert found.stderr.decode().splitlines() == [
        "note: line 2: canary has 9 requests, and 8 in the bucket +Inf; of one scrape they would be equal"
    ]


def test_the_page_s_messages_get_the_page_s_answers() -> None:
    page = (Path(__file__).parents[2] / "docs/judging.md").read_text(encoding="utf-8")
    messages, answers = re.findall(r"```json\n(.*?)```", page.partition("## On numbers of your own")[2], re.DOTALL)
    found = ended(messages.encode())
    assert (found.returncode, found.stderr.decode()) == (codes.OK, "")
    assert found.stdout.decode() == answers
