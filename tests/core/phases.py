"""Every phase of a rollout, drawn from an exhaustive run of `decide`: docs/phases.md.

The rows below only group the cases: the first row whose words all hold takes a case.
What happens there is what `decide` answers, and all cases of a row must get the same
answer, every row must take some, and no case may be left over; else this fails.

    .venv/bin/python -m tests.core.phases > docs/phases.md
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.core.decide import decide
from gitops_serving.core.explain import ACTIONS, phase
from gitops_serving.core.model import (
    UNREADABLE,
    Abort,
    Adopt,
    Decision,
    Drop,
    Owned,
    Promote,
    Refuse,
    Settle,
    Shift,
)

from .exhaustion import cases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gitops_serving.core.model import Situation

    from .exhaustion import Words

Condition = tuple[str, ...]  # one of these words holds
ABORTED = ("a person asked to abort",)
PROMOTED = ("a person asked to promote",)
STOPPED = ("it is held", "a gate is closed")
SEATED, FALLEN = ("stable has the seat",), ("the canary has the seat", "another has the seat")
TAKEN = ("the canary has the seat",)
LATEST, NOT_LATEST = ("stable is latest ready",), ("stable is not latest ready",)
BROKEN, REJECTED = ("Git holds something unreadable",), ("Git holds a newer revision that was rejected",)
EDITED = ("weight or label was edited by hand",)
REFUSED = ("the cluster refused the manifest",)
FAILS, BLIND = ("the canary fails",), ("Prometheus is blind",)
UNGUARDED, GUARDED = ("there is no valid policy",), ("a policy is there",)
ARRIVED, LOADING = ("what was written has arrived",), ("the canary is loading",)
SILENT_ABORTS = ("there was too little for too long, which aborts",)
SILENT_HOLDS = ("there was too little for too long, which holds",)
LONG_ABORTS, LONG_HOLDS = ("maxDuration is over, which aborts",), ("maxDuration is over, which holds",)
LATE, VERY_LATE = ("readyWithin is over", "30 minutes are over"), ("30 minutes are over",)
UNREADABLE_ROWS: tuple[tuple[Condition, ...], ...] = ((BROKEN, ABORTED), (BROKEN, FALLEN), (BROKEN,))
TIMED_OUT: tuple[tuple[Condition, ...], ...] = ((UNGUARDED, VERY_LATE), (UNGUARDED,), (LOADING, LATE))
ROWS: dict[str, tuple[tuple[Condition, ...], ...]] = {
    "New": ((("the cluster is at rest on it",), ("it has the seat",)), ()),
    "Stable": ((BROKEN,), (EDITED,), ()),
    "Pending, nothing on trial": (
        (REJECTED,),
        (PROMOTED,),
        (STOPPED,),
        (("Git holds a newer revision that needs no trial",), SEATED, LATEST),
        (UNGUARDED,),
        (BLIND,),
        (SEATED, LATEST),
        (),
    ),
    "Pending, while another is on trial": (
        (("a canary is at 100 %",), TAKEN),
        (("Git holds the stable revision",),),
        (REJECTED,),
        (
            ("progress is open",),
            GUARDED,
            ("the canary passes", *FAILS, "there is too little to judge", *SILENT_ABORTS, *SILENT_HOLDS),
            SEATED,
        ),
        (FAILS,),
        (ABORTED,),
        (FALLEN,),
        (),
    ),
    "Stepping": (
        (BROKEN, FAILS),
        *UNREADABLE_ROWS,
        (FAILS,),
        (FALLEN, NOT_LATEST),
        (ABORTED,),
        (EDITED,),
        (REFUSED,),
        (PROMOTED, ARRIVED),
        (STOPPED,),
        *TIMED_OUT,
        (("the cluster does not answer",),),
        (BLIND,),
        (ARRIVED, SILENT_ABORTS),
        (LONG_ABORTS,),
        (LONG_HOLDS,),
        (("the canary is loading", "the cluster is catching up"),),
        (SILENT_HOLDS,),
        (("there is too little to judge",),),
        (("the weight is fresh",),),
        (("a canary is at the last step",),),
        (),
    ),
    "Taking over": (
        (TAKEN,),
        *UNREADABLE_ROWS,
        (ABORTED,),
        (EDITED,),
        (REFUSED,),
        (STOPPED,),
        *TIMED_OUT,
        (),
    ),
    "Settling": ((REJECTED,), (("Git holds the stable revision",), EDITED), (ARRIVED,), ()),
}
SAID = {
    "New": "No stable revision is recorded: Git has a service that the controller has not taken over.",
    "Stable": "Git holds the stable revision, and nothing is on trial.",
    "Pending, nothing on trial": "Git holds another revision, and nothing is on trial.",
    "Pending, while another is on trial": "Git holds another revision than the one on trial: a newer one, or stable.",
    "Stepping": "A revision is on trial, below 100 %.",
    "Taking over": "All steps are passed, or a person said so: the canary is given all traffic.",
    "Settling": "An abort has put stable back with weight 0; the weight goes when its traffic is there.",
}


@dataclass(slots=True)
class Row:
    """One row of a table: its conditions, what happens, and to how many situations."""

    conditions: tuple[Condition, ...]
    answers: set[str]
    count: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that the exhaustive run found."""

    situations: int
    sections: Mapping[str, list[Row]]
    moves: Mapping[tuple[str, str], frozenset[str]]  # from and to, by what


def run() -> Run:
    """Ask `decide` about everything, and give each case to the first row that fits."""
    sections = {name: [Row(row, set()) for row in rows] for name, rows in ROWS.items()}
    moves: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[Words, tuple[str, Row]] = {}
    count = 0
    for words, seen in cases():
        place = places.get(words) or places.setdefault(words, _place(words, seen, sections))
        name, row = place
        decision = decide(seen)
        row.answers.add(answer_of(decision))
        row.count += 1
        count += 1
        if ACTIONS[type(decision)] != "wait":
            moves[name.split(",")[0], _next(name, decision, seen)].add(ACTIONS[type(decision)])
    return Run(count, sections, {ends: frozenset(names) for ends, names in moves.items()})


def _place(words: Words, seen: Situation, sections: Mapping[str, list[Row]]) -> tuple[str, Row]:
    """Find the section and the first row of a case."""
    name = phase(seen.rollout)
    if name == "Pending":
        name += ", while another is on trial" if seen.rollout.canary else ", nothing on trial"
    held = set(words)
    return name, next(r for r in sections[name] if all(not held.isdisjoint(c) for c in r.conditions))


def answer_of(decision: Decision) -> str:
    """Write a move with what matters of it."""
    name = f"**{ACTIONS[type(decision)]}**"
    match decision:
        case Shift(weight=weight):
            return f"{name} to {'the first step' if weight == 5 else 'the next step' if weight < 100 else '100 %'}"
        case Abort(rejects=True) | Drop(rejects=True):
            return f"{name}, and refuse it from now on"
        case _:
            return name.strip("*") if name == "**wait**" else name


def _next(name: str, decision: Decision, seen: Situation) -> str:
    """Say in which phase a move leaves a rollout."""
    rollout, live = seen.rollout, seen.live
    canary, readable = rollout.canary, rollout.wanted != UNREADABLE
    untouched = live.template == Owned(None, "v1.1") and live.latest == live.baseline == live.content == "v1"
    match decision:
        case Adopt():
            return "Stable"
        case Shift(weight=weight):
            return "Taking over" if weight == 100 else "Stepping"
        case Promote():
            return "Pending" if readable and canary and rollout.wanted != canary.revision else "Stable"
        case Drop() | Settle():
            return "Pending" if readable and rollout.wanted != "v1" else "Stable"
        case Abort() | Refuse():
            return "Settling" if rollout.settling or (canary and not (live.known and untouched)) else "Stable"
        case _:
            return name


# -- the page --------------------------------------------------------------------------------------------------------

OPENING = """\
# Phases

<!-- Drawn by `python -m tests.core.phases` from an exhaustive run of `decide`; do not edit. -->

A phase is derived from the record and the manifest at the head, and is stored nowhere. The tables below
come from asking `decide` about every one of {situations:,} situations; the arrows are the moves that occurred.
In each table the first row that fits is what happens. *The seat* is the revision that KServe gives the rest
of the traffic to, and returns to.
"""


def page(found: Run) -> str:
    """Write docs/phases.md."""
    return "\n".join([OPENING.format(situations=found.situations), *_diagram(found), *_tables(found)])


def _diagram(found: Run) -> Iterator[str]:
    """Draw the moves between phases that really occurred."""
    yield "```mermaid\nstateDiagram-v2\n    [*] --> New"
    yield '    state "Taking over" as Taking'
    for (before, after), names in sorted(found.moves.items()):
        yield f"    {before.split()[0]} --> {after.split()[0]}: {', '.join(sorted(names))}"
    yield "```\n"


def _tables(found: Run) -> Iterator[str]:
    """Write one table per phase."""
    for name, rows in found.sections.items():
        yield f"## {name}\n\n{SAID[name]}\n\n| What is so | What happens | Situations |\n| --- | --- | ---: |"
        for row in rows:
            said = "; ".join(" or ".join(condition) for condition in row.conditions) or "otherwise"
            yield f"| {said[:1].upper()}{said[1:]} | {' / '.join(sorted(row.answers))} | {row.count:,} |"
        yield ""


if __name__ == "__main__":
    sys.stdout.write(page(run()))
