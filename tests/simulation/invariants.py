"""The promises I1 to I11, held against what really happened in a world.

The watch looks at three places that the controller cannot embellish: the commits in
the repository, the manifests that reach the cluster, and the traffic there.  I12 is
kept by the import contracts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gitops_serving.core import ledger, manifest
from gitops_serving.core.errors import Invalid
from gitops_serving.core.found import parse
from gitops_serving.core.measure import Outcome
from gitops_serving.core.model import Abort, Exhausted, Owned, Promote, Request, Rollout, Shift
from gitops_serving.core.rollout import read_record, read_rollouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.controller.snapshot import Seen, Snapshot
    from gitops_serving.core.ledger import Record
    from gitops_serving.core.model import Situation
    from gitops_serving.testing.cluster import Served
    from gitops_serving.testing.repository import Logged

    from .world import World

OURS = "gitops-serving"
RESTORING = ("abort", "refuse", "retry")
MEASURED = ("errors", "latency", "breakage")  # how the reasons of aborts begin that rest on evidence
SILENCE, TIME_OUT = "no evidence", "the rollout took"  # how the reasons of these aborts begin


class Broken(BaseException):
    """An invariant does not hold in this world; not an Exception, so that nothing in the product can swallow it."""

    def __init__(self, rule: str, story: str) -> None:
        super().__init__(rule, story)
        self.rule = rule

    def __str__(self) -> str:
        """Tell the story, the seed first."""
        return str(self.args[1])


class Watch:
    """What must always hold, asserted at every apply, at every change of traffic and after every tick."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bad: set[str] = set()  # revisions whose model answers with errors
        self.committed_texts: dict[tuple[str, str, str | None], bool] = {}  # service, revision, label
        self.granted: dict[tuple[str, str], int] = {}  # (service, revision) -> weight last applied
        self.seat: dict[str, str] = {}  # service -> the baseline KServe named, by the cluster's name
        self.raced: set[str] = set()  # services that lost their seat in a race and have not got it back
        self.told: Counter[str] = Counter()  # what happened here, so that a run can say whether its worlds were wild
        self.read = 0  # commits of the log that were looked at
        self.committed()

    def fail(self, rule: str, text: str) -> None:
        """Raise with the seed, so that the world can be played again."""
        story = "\n".join(self.world.log[-25:])
        raise Broken(rule, f"seed {self.world.seed}: {rule}: {text} at {self.world.clock():%H:%M:%S}\n{story}")

    # -- Git -----------------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Take in the commits since the last look."""
        repository = self.world.repository
        for logged in repository.log[self.read :]:
            if logged.author.startswith(OURS):
                self._count(logged.message)
            for path, (before, after) in logged.files.items():
                if path.startswith("clusters/") and after is not None:
                    self._manifests(after)
                    if logged.author.startswith(OURS):
                        self._owned_only(logged, before or b"", after)
                elif path.startswith("rollouts/") and after is not None:
                    self._record(read_record(after, path, "sim"))
        self.read = len(repository.log)

    def _count(self, message: str) -> None:
        """Count a move of ours, and what an end rests on."""
        action, reason = ledger.read_trailers(message).get("Action", ""), message.split("\n\n")[1].lower()
        self.told[action] += 1
        if action in ("abort", "drop"):
            rests = {MEASURED: "evidence", (SILENCE,): "silence", (TIME_OUT,): "time"}
            why = next((word for begins, word in rests.items() if reason.startswith(begins)), "something else")
            self.told[f"ended by {why}"] += 1

    def _manifests(self, source: bytes) -> None:
        for value in _values(source):
            service, revision = manifest.service_of(value), manifest.revision_of(value)
            self.committed_texts[service, revision, manifest.owned_of(value).label] = True
            if "/bad/" in str(value["spec"]["predictor"]["model"]["storageUri"]):
                self.bad.add(revision)

    def _record(self, record: Record) -> None:
        """A record is a committed manifest too: its text, with the label that it names."""
        if record.stable is not None:
            self.committed_texts[record.service, record.stable.revision, record.stable.label] = True
        for rejected in record.rejected:
            if rejected.because.startswith((SILENCE, TIME_OUT)):
                self.fail("I4", f"{rejected.revision} of {record.service} was rejected unjudged: {rejected.because}")
            measured = rejected.because.startswith(MEASURED)
            if measured and rejected.revision not in self.bad:
                self.fail(
                    "I4", f"{rejected.revision} of {record.service} is healthy, and was rejected: {rejected.because}"
                )
        if record.canary is not None:
            self.committed_texts[record.service, record.canary.revision, record.canary.label] = True

    def _owned_only(self, logged: Logged, before: bytes, after: bytes) -> None:
        """I10 and I11: the controller changes owned fields, or puts recorded bytes back."""
        action = ledger.read_trailers(logged.message).get("Action", "")
        old, new = ({manifest.service_of(v): v for v in _values(text)} for text in (before, after))
        for service in old:
            if manifest.bare(old[service]) == manifest.bare(new[service]):
                continue
            if action not in RESTORING:
                self.fail("I10", f"{action} changed more than owned fields of {service}")
            lost = manifest.revision_of(old[service])
            record = self._before(logged, service)
            trial = record.canary.revision if record and record.canary else None
            rejected = {r.revision for r in record.rejected} if record else set()
            if action != "retry" and lost != trial and lost not in rejected:
                self.fail("I11", f"{action} overwrote {lost} of {service}, which nobody had decided about")
        if action in RESTORING:
            return
        ours = ("canaryTrafficPercent", manifest.LABEL)
        for line in set(before.splitlines()) ^ set(after.splitlines()):
            if not any(word in line.decode() for word in ours):
                self.fail("I10", f"{action} changed the line {line!r}")

    def _before(self, logged: Logged, service: str) -> Record | None:
        path = ledger.record_path("sim", service)
        change = logged.files.get(path)
        source = change[0] if change else self.world.repository.head.read(path)
        return read_record(source, path, "sim") if source else None

    # -- the cluster ---------------------------------------------------------------------------------------------

    def applying(self, service: str, document: Mapping[str, Any]) -> None:
        """I1 and I2: what is about to reach the cluster."""
        self.committed()
        revision, owned = manifest.revision_of(document), manifest.owned_of(document)
        if (service, revision, owned.label) not in self.committed_texts:
            self.fail("I1", f"{revision} with label {owned.label} of {service} is in no commit")
        served = self.world.cluster.services.get(service)
        self._permitted(service, revision, owned, served)
        given = self._recorded_weight(service, owned, served)
        for other in self.granted:
            if other[0] == service and other[1] != revision:
                self.granted[other] = min(self.granted[other], given)
        self.granted[service, revision] = given

    def _permitted(self, service: str, revision: str, owned: Owned, served: Served | None) -> None:
        """I2: a weight below 100 arrives with a new template, or on one that is split already."""
        if owned.weight is None or owned.weight == 100:
            return
        if served is None or not served.component.rolled:
            self.fail("I2", f"weight {owned.weight} of {service} on an empty cluster")
            return
        live = manifest.owned_of(served.manifest)
        same = live.label == owned.label and manifest.revision_of(served.manifest) == revision
        if not same or (live.weight is not None and live.weight < 100):
            return
        loading = served.component.created != served.component.ready
        if not loading:
            self.fail("I2", f"weight {owned.weight} of {service} on a template that is rolled out already")

    def _recorded_weight(self, service: str, owned: Owned, served: Served | None) -> int:
        """I1: never more than the record says, save 100 for a moment to put stable back; return what it says."""
        record = self._head_record(service)
        weight = 100 if owned.weight is None else owned.weight
        if record is None or record.stable is None:
            return weight
        if record.canary is not None and owned.label == record.canary.label:
            due = record.canary.weight
        elif owned.label == record.stable.label:
            component = served.component if served else None
            empty = component is None or not component.rolled
            back = served is not None and served.contents.get(served.component.ready) == record.stable.revision
            due = 0 if record.settling and not empty and not back else 100  # where stable is alone, it needs no weight
        else:
            self.fail("I1", f"label {owned.label} of {service} is not what the record at the head holds")
            return 0
        loading = served is not None and served.component.ready != served.component.created
        if weight > due and not (weight == 100 and loading):
            self.fail("I1", f"weight {weight} of {service} where the record says {due}")
        return due

    def traffic(self, service: str, served: Served) -> None:
        """I1, I5 and I9, at every change of traffic: at an apply, and when a revision becomes ready."""
        component, record = served.component, self._head_record(service)
        seat, self.seat[service] = self.seat.get(service, ""), component.rolled
        if record is None or record.stable is None:
            return
        if component.previous and component.rolled == component.previous and seat not in ("", component.rolled):
            self.raced.add(service)  # KServe fell back to the revision before
        if served.contents.get(component.rolled) == record.stable.revision:
            self.raced.discard(service)
        self._one_at_a_time(service, served, record.stable.revision)
        if service in self.raced:
            return
        canary = record.canary  # at 100 for the moment in which stable gets its seat back; ready then, it is aborted
        reseating = canary is not None and manifest.owned_of(served.manifest) == Owned(100, canary.label)
        for name, percent in component.shares.items():
            content = served.contents[name]
            if not percent or content == record.stable.revision or name == seat:
                continue
            if reseating and canary is not None and content == canary.revision:
                continue
            given = self.granted.get((service, content), 0)
            if percent > given:
                self.fail("I5", f"{name} ({content}) of {service} gets {percent}%, was given {given}%")

    def _one_at_a_time(self, service: str, served: Served, stable: str) -> None:
        """I9: beside stable one revision has traffic, and one more that KServe itself seated unseen.

        It does where it loses a race, and where its status lags: who took over is not known to have done so yet.
        """
        live = [name for name, percent in served.component.shares.items() if percent]
        others = {(served.contents[name], served.labels[name]) for name in live if served.contents[name] != stable}
        for content, label in others:
            if (service, content, label) not in self.committed_texts:
                self.fail("I1", f"{content} with label {label} of {service} serves, and is in no commit")
        if len(others) > (2 if service in self.raced or self.world.lags else 1):
            self.fail("I9", f"{sorted(map(str, others))} of {service} serve beside stable {stable}")

    def lost(self) -> None:
        """A lost cluster has no baselines."""
        self.seat.clear()
        self.raced.clear()

    def _head_record(self, service: str) -> Record | None:
        path = ledger.record_path("sim", service)
        source = self.world.repository.head.read(path)
        return read_record(source, path, "sim") if source else None

    # -- the tick ------------------------------------------------------------------------------------------------

    def ticked(self, snapshot: Snapshot, head: str) -> None:
        """I3, I4 and I6: what a tick decided, and what came of it."""
        landed = not snapshot.error
        if snapshot.appended and head not in {logged.id for logged in self.world.repository.log}:
            self.fail("I6", "a decision landed on a head that is in no history")
        for seen in snapshot.services:
            if seen.error:
                self.fail("I8", f"{seen.service}: {seen.error}")
            if seen.situation is None:
                continue
            self._rise(seen)
            self._given_up(seen, seen.situation)
            outcome = seen.situation.verdict.outcome
            if seen.situation.rollout.canary is not None:
                self.told[f"verdict {outcome.value}"] += 1
                self.told["failing while Git is away"] += outcome is Outcome.FAIL and not landed
            if landed and seen.situation.verdict.outcome is Outcome.FAIL:
                self._answered(seen)

    def _rise(self, seen: Seen) -> None:
        """I3: weight rises after PASS, by a person, or for a push that needs no steps; never while blind."""
        situation, decision = seen.situation, seen.decision
        assert situation is not None
        rollout, live = situation.rollout, situation.live
        match decision:
            case Shift(weight=weight):
                if rollout.asked is Request.PROMOTE and weight == 100:
                    return
                if self.world.metrics.blind and not rollout.direct:
                    self.fail("I3", f"{seen.service} rises to {weight}% while Prometheus is blind")
                on_trial = rollout.canary is not None and rollout.canary.revision == rollout.wanted
                if on_trial and situation.verdict.outcome is not Outcome.PASS:
                    self.fail("I3", f"{seen.service} rises to {weight}% after {situation.verdict}")
                worse = rollout.wanted in self.bad and rollout.stable and rollout.stable.revision not in self.bad
                if on_trial and worse:
                    self.fail("I3", f"{seen.service} rises to {weight}% although four in ten requests fail")
            case Promote():
                served = self.world.cluster.services.get(seen.service)
                canary = rollout.canary
                there = served and canary and served.contents.get(served.component.rolled) == canary.revision
                if not there:
                    self.fail("I3", f"{seen.service} is promoted without its traffic: {live}")

    def _given_up(self, seen: Seen, situation: Situation) -> None:
        """I4: patience and time end only what could be seen, what nobody held, and what the policy does not keep."""
        decision, policy, canary = seen.decision, situation.policy, situation.rollout.canary
        silent = isinstance(decision, Abort) and decision.because.startswith(SILENCE)
        late = isinstance(decision, Abort) and decision.because.startswith(TIME_OUT)
        if policy is None or canary is None or not (silent or late):
            return
        blind = self.world.metrics.blind or situation.verdict.outcome is Outcome.BLIND
        if blind or self.world.cluster.down:
            self.fail("I4", f"{seen.service} is given up unseen: {decision}")
        if (policy.on_silence if silent else policy.on_timeout) is Exhausted.HOLD or situation.rollout.held:
            self.fail("I4", f"{seen.service} is given up where it is to be held: {decision}")
        if late and situation.now - canary.started <= policy.max_duration:
            self.fail("I4", f"{seen.service} is given up before its time: {decision}")

    def _answered(self, seen: Seen) -> None:
        """I4: after FAIL the next tick that gets through leaves the canary off the record, or down."""
        assert seen.situation is not None
        canary, record = seen.situation.rollout.canary, self._head_record(seen.service)
        still = record is not None and record.canary is not None and canary is not None
        if still and record.canary.label == canary.label:  # type: ignore[union-attr]  # both were looked at
            self.fail("I4", f"{canary} of {seen.service} stands after {seen.situation.verdict.because}")

    def progress(self, number: int) -> None:
        """I7: at one instant the controller comes to an end."""
        if number >= 7:
            messages = [logged.message.split("\n")[0] for logged in self.world.repository.log[-8:]]
            self.fail("I7", f"the controller does not come to rest: {messages}")

    # -- the end -------------------------------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Whether every service runs what the head of the branch holds, all of it."""
        return not self._unrest()

    def rest(self) -> None:
        """I8: whatever happened before, every world ends on its head."""
        unrest = self._unrest()
        if unrest:
            last = self.world.last
            decisions = [(s.service, s.decision) for s in last.services] if last else []
            self.fail("I8", f"never came to rest: {unrest}; {decisions}")

    def _unrest(self) -> list[str]:
        unrest = []
        for service, rollout in read_rollouts(self.world.repository.head, "sim", self.world.clock()).items():
            if isinstance(rollout, Invalid) or rollout.invalid:
                unrest.append(f"{service} is invalid: {rollout if isinstance(rollout, Invalid) else rollout.invalid}")
                continue
            unrest.extend(self._unsettled(service, rollout))
        return unrest

    def _unsettled(self, service: str, rollout: Rollout) -> list[str]:
        served = self.world.cluster.services.get(service)
        if rollout.stable is None or served is None:
            return [f"{service} is not adopted"]
        if rollout.canary or rollout.settling or not rollout.admitted:
            return [f"{service} is not at its stable revision: {rollout.wanted} {rollout.owned} {rollout.expected}"]
        shares = {served.contents[name]: percent for name, percent in served.component.shares.items()}
        if shares != {rollout.stable.revision: 100} or served.weight is not None:
            return [f"{service} serves {shares} with weight {served.weight}, stable is {rollout.stable.revision}"]
        return []


def _values(source: bytes) -> list[Mapping[str, Any]]:
    """Read the InferenceServices of a file that may be broken."""
    try:
        return [document.value for document in parse(source) if manifest.is_inference_service(document.value)]
    except Invalid:
        return []
