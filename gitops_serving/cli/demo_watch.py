"""What the demonstration looks at while it runs: Git, the cluster, Prometheus, and the gateway's counts.

It looks with the controller's own eyes, at the same repository and cluster, from another process: a look decides and
writes nothing.  So what is shown is true even while the controller is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from gitops_serving.cli import demo_report
from gitops_serving.cli.story import message, phase
from gitops_serving.controller.tick import look
from gitops_serving.core.errors import Unavailable
from gitops_serving.core.explain import step_of
from gitops_serving.core.ledger import record_path
from gitops_serving.core.measure import Outcome
from gitops_serving.local import statedir
from gitops_serving.wiring import Office, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gitops_serving.cli.demo_report import Ended, Served
    from gitops_serving.cli.history import Told as Move
    from gitops_serving.config import Settings
    from gitops_serving.controller.snapshot import Seen
    from gitops_serving.local.statedir import StateDir

ADMIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One service at one moment."""

    service: str
    phase: str
    stable: str  # its revision; empty: none yet
    weight: int | None = None  # None: nothing on trial
    step: str = ""
    verdict: str = ""  # empty: nothing is measured
    message: str = ""  # the decision in one sentence
    rests: bool = False  # nothing on trial, and the cluster serves what Git says
    wrong: str = ""
    served: Served | None = None  # at the present weight; None: nothing on trial, or nothing yet
    moves: tuple[Move, ...] = ()


class Watch:
    """Looks at one environment."""

    def __init__(self, settings: Settings, environment: str, state: StateDir) -> None:
        self._office = Office(settings, environment)
        self._environment, self._state = environment, state
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy has no business with this machine's own addresses
        self._moves: dict[str, tuple[str, tuple[Move, ...]]] = {}  # by service, with the head they were read at

    def look(self) -> tuple[Row, ...]:
        """Look at every service; raises what the adapters raise."""
        tree = self._office.repository.fetch()
        snapshot = look(self._office.desk(tree), tree, clock())
        epochs = self.epochs()
        return tuple(self._row(seen, tree.commit, epochs.get(seen.service, [])) for seen in snapshot.services)

    def epochs(self) -> dict[str, Any]:
        """Read the gateway's counts, wherever it listens now; raises Unavailable."""
        admin = statedir.addresses(self._state).get("gatewayAdmin")
        if not admin:
            raise Unavailable(f"nobody says where the gateway listens; look at {self._state.supervisor_log}")
        try:
            answer = self._session.get(f"{admin}/counts", timeout=ADMIN_SECONDS)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            raise Unavailable(f"the gateway at {admin} gives no counts: {error}") from error
        return found

    def ended(self, row: Row, *, before: str, expected: str, load: Mapping[str, Any]) -> Ended:
        """Sum up a rollout."""
        after = next((move.revision for move in row.moves if move.action == "shift"), "")
        canaries = self._canaries(row.service, after)
        return demo_report.Ended(
            service=row.service,
            expected=expected,
            before=before,
            after=after,
            left=row.stable,
            moves=row.moves,
            served=demo_report.served(self.epochs().get(row.service, []), canaries),
            errors=demo_report.errors(load, canaries),
        )

    def close(self) -> None:
        """Give everything back."""
        self._session.close()
        self._office.close()
        self._office.repository.close()

    def _canaries(self, service: str, revision: str) -> frozenset[str]:
        """Find the cluster's names of a revision of ours, by the labels on them."""
        labels = self._office.desk().cluster.observe(service).labels
        return frozenset(name for name, label in labels.items() if label and label.split(".")[0] == revision)

    def _row(self, seen: Seen, head: str, epochs: Sequence[Any]) -> Row:
        """Sum up a service."""
        wrong = seen.error or (str(seen.invalid) if seen.invalid else "")
        moves = self._read_moves(seen.service, head)
        if seen.situation is None:
            return Row(
                service=seen.service, phase=phase(seen), stable="", message=message(seen), wrong=wrong, moves=moves
            )
        rollout, live, verdict = seen.situation.rollout, seen.situation.live, seen.situation.verdict
        canary, stable = rollout.canary, rollout.stable
        weight = canary.weight if canary else None
        measured = verdict.outcome is not Outcome.SILENT or bool(verdict.measurements)
        counted = demo_report.served(epochs, frozenset({live.names.get(canary.label, "")} if canary else ()))
        where = phase(seen)
        return Row(
            service=seen.service,
            phase=where,
            stable=stable.revision if stable else "",
            weight=weight,
            step=step_of(seen.situation, weight or 0),
            verdict=verdict.outcome.value if canary and measured else "",
            message=message(seen),
            rests=where == "Stable" and live.known and live.settled and live.template == rollout.owned,
            wrong=wrong,
            served=next((one for one in counted if one.weight == weight), None),
            moves=moves,
        )

    def _read_moves(self, service: str, head: str) -> tuple[Move, ...]:
        """Read the moves of a service, once for each head of the branch."""
        known = self._moves.get(service)
        if known is None or known[0] != head:
            commits = self._office.repository.history(record_path(self._environment, service))
            known = (head, demo_report.moves_of(commits))
            self._moves[service] = known
        return known[1]
