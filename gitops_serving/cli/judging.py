"""``judge``: the judge without a cluster, on samples from standard input.

One JSON object a line in; a line out for each sample that asks for an answer, flushed at
once, so that another process can hold a conversation with it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid
from gitops_serving.core.jsonl import Judging
from gitops_serving.core.policy import read_policy

from . import codes

if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

    from gitops_serving.core.model import Policy

LONGEST_LINE = 1 << 20  # bytes; a sample has some hundreds


def judge(policy: str, given: BinaryIO, out: TextIO) -> int:
    """Judge what comes, line by line; raises Invalid at the first line that is none of the judge's."""
    judging = Judging(read(policy))
    if judging.left_out:
        codes.say(f"samples tell of errors and latency alone; not judged: {', '.join(judging.left_out)}", "note")
    # No more of a line is read than it may have: one without an end would fill the memory.
    for number, line in enumerate(iter(lambda: given.readline(LONGEST_LINE + 1), b""), 1):
        try:
            answer = judging.take(message) if (message := _message(line)) is not None else None
        except Invalid as error:
            raise error.within(f"line {number}") from None
        if judging.doubt:
            codes.say(f"line {number}: {judging.doubt}", "note")
        if answer is not None:
            print(json.dumps(answer, ensure_ascii=False), file=out, flush=True)
    return codes.OK


def read(policy: str) -> Policy:
    """Read a policy: one that is shipped, by its name, or a file."""
    if policy in shipped.policies():
        return read_policy(shipped.policy(policy), f"policies/{policy}.yaml")
    try:
        with open(policy, "rb") as file:  # noqa: PTH123 -- a name from the command line, opened as it was given
            return read_policy(file.read(), policy)
    except OSError as error:
        known = ", ".join(shipped.policies())
        raise Invalid(
            f"cannot read the policy {policy}: {error.strerror}",
            code="missing",
            remedy=f"name a file, or one of {known}",
        ) from None


def _message(line: bytes) -> dict[str, object] | None:
    """Read a line; None: it is empty."""
    if len(line) > LONGEST_LINE:
        raise Invalid("the line is too long", code="limits", remedy="send one sample a line")
    if not line.strip():
        return None
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"this is no JSON: {error}", code="message", remedy="send one JSON object a line") from None
    if not isinstance(message, dict):
        raise Invalid("this is JSON, and no object", code="message", remedy="send one JSON object a line")
    return message


def from_stdin(policy: str, *, jsonl: bool) -> int:
    """Judge what comes on standard input."""
    if not jsonl:
        raise Invalid("judge needs --jsonl", code="usage", remedy="samples are read as JSON, one object a line")
    try:
        return judge(policy, sys.stdin.buffer, sys.stdout)
    except BrokenPipeError:  # nobody listens any more, and what is left in the buffer must not be tried again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return codes.OK
