"""What the demonstration saw, as values: the moves of the ledger, the requests that were counted, and what is wrong.

The moves are read from the commits, the requests from the gateway's own counts; neither is taken from the controller's
word.  Nothing is fetched and nothing is printed here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving.cli.history import Told as Move
from gitops_serving.cli.history import told
from gitops_serving.core.ledger import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gitops_serving.core.model import Commit

ENDS = {"promote": "promoted", "abort": "aborted"}
WEIGHTS = (10, 25, 50, 100)  # of the demonstration's policy, and the promotion
LEAST_REQUESTS = 200  # at a weight, before its share is held against it
TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Served:
    """The requests that were counted while the canary had one weight."""

    weight: int
    stable: int
    canary: int

    @property
    def share(self) -> float:
        """The canary's part of all requests."""
        return self.canary / max(self.stable + self.canary, 1)


@dataclass(frozen=True, slots=True)
class Errors:
    """Requests that did not get a prediction, by who failed; without an answer, or without a revision: nobody."""

    stable: int
    canary: int
    nobody: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One rollout from its first shift to its end."""

    service: str
    expected: str  # promoted or aborted
    before: str  # the revision that was stable
    after: str  # the revision that was tried; empty: none was
    left: str  # the revision that is stable at the end
    moves: tuple[Move, ...]
    served: tuple[Served, ...]
    errors: Errors

    @property
    def outcome(self) -> str:
        """How it ended; empty: it has not."""
        ended = [ENDS[move.action] for move in self.moves if move.action in ENDS]
        return ended[-1] if ended else ""


def moves_of(commits: Iterable[Commit]) -> tuple[Move, ...]:
    """Read the moves out of the commits of one record, newest first as history gives them, into their order."""
    moves = [told(commit) for commit in commits]
    return tuple(move for move in reversed(moves) if move.action not in {"", "adopt"})


def served(epochs: Sequence[Mapping[str, Any]], canaries: frozenset[str]) -> tuple[Served, ...]:
    """Add up the gateway's epochs by the canary's weight, in the order of weights; ``canaries`` are cluster names."""
    stable: Counter[int] = Counter()
    canary: Counter[int] = Counter()
    for epoch in epochs:
        weight = sum(percent for name, percent in epoch["targets"].items() if name in canaries)
        if not weight:
            continue
        for name, classes in epoch["requests"].items():
            (canary if name in canaries else stable)[weight] += sum(classes.values())
    return tuple(Served(weight, stable[weight], canary[weight]) for weight in sorted({*stable, *canary}))


def errors(load: Mapping[str, Any], canaries: frozenset[str]) -> Errors:
    """Read a load report: who failed, and what got no answer at all."""
    by_arm = {True: 0, False: 0}
    for name, classes in load["revisions"].items():
        by_arm[name in canaries] += sum(count for status, count in classes.items() if status != "2xx")
    well = sum(classes.get("2xx", 0) for classes in load["revisions"].values())
    nobody = load["sent"] + load["dropped"] - well - by_arm[True] - by_arm[False]
    return Errors(stable=by_arm[False], canary=by_arm[True], nobody=nobody)


def problems(ended: Ended) -> list[str]:
    """Say everything about a rollout that is not as it should be."""
    wrong = []
    if ended.outcome != ended.expected:
        wrong.append(f"it was to be {ended.expected} and was {ended.outcome or 'not finished'}")
    if ended.left != (ended.after if ended.expected == "promoted" else ended.before):
        wrong.append(f"it was left with {ended.left} as its stable revision")
    shifts = [move.weight for move in ended.moves if move.action == "shift"]
    whole = ended.expected == "promoted"
    if shifts != list(WEIGHTS[: len(shifts)]) or not shifts or (whole and len(shifts) < len(WEIGHTS)):
        wrong.append(f"its weights were {shifts} and not {list(WEIGHTS)} in turn")
    for one in ended.served:
        if one.stable + one.canary < LEAST_REQUESTS:
            wrong.append(f"only {one.stable + one.canary} requests were counted at weight {one.weight}")
        if abs(one.share - one.weight / 100) > TOLERANCE:
            wrong.append(f"the canary got {one.share:.1%} of the requests at weight {one.weight}")
    missing = {weight for weight in shifts if weight is not None and weight < 100} - {
        one.weight for one in ended.served
    }
    wrong += [f"no request was counted at weight {weight}" for weight in sorted(missing)]
    if ended.errors.stable or ended.errors.nobody:
        wrong.append(f"{ended.errors.stable} requests failed at stable revisions and {ended.errors.nobody} at none")
    if whole and ended.errors.canary:
        wrong.append(f"{ended.errors.canary} requests failed at the good canary")
    return [f"{ended.service}: {each}" for each in wrong]


def document(
    rollouts: Sequence[Ended], *, wrong: Sequence[str], started: datetime, now: datetime, kills: int, restarts: int
) -> dict[str, Any]:
    """Write the report as JSON."""
    return {
        "ok": not wrong,
        "problems": list(wrong),
        "started": instant(started),
        "ended": instant(now),
        "rollouts": [_rollout(ended) for ended in rollouts],
        "kills": kills,
        "restarts": restarts,
        "errors": {
            ended.service: {"stable": ended.errors.stable, "canary": ended.errors.canary, "nobody": ended.errors.nobody}
            for ended in rollouts
        },
    }


def _rollout(ended: Ended) -> dict[str, Any]:
    return {
        "service": ended.service,
        "ok": not problems(ended),
        "from": ended.before,
        "to": ended.after,
        "outcome": ended.outcome,
        "moves": [
            {
                "commit": move.commit,
                "action": move.action,
                "weight": move.weight,
                "at": move.at,
                "reason": move.reason,
            }
            for move in ended.moves
        ],
        "served": [
            {
                "weight": one.weight,
                "requests": {"stable": one.stable, "canary": one.canary},
                "share": round(one.share, 4),
            }
            for one in ended.served
        ],
    }
