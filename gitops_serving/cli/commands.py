"""What can be asked of a fleet: the commands with their options, and nothing of how they are done.

What does the work is imported when a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- typer reads it at run time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options

if TYPE_CHECKING:
    from gitops_serving.config import Settings

get = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List what there is.")

Namespace = Annotated[str | None, typer.Option("-n", "--namespace", metavar="NAME", help="Only this one.")]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on with what changes; Ctrl-C ends it.")]
Every = Annotated[float, typer.Option("--every", metavar="SECONDS", help="Between two looks of --watch.", min=0.1)]
Story = Annotated[
    Literal["text", "json", "yaml"], typer.Option("-o", "--output", metavar="text|json|yaml", help="The form.")
]
Listing = Annotated[
    Literal["table", "json", "yaml"], typer.Option("-o", "--output", metavar="table|json|yaml", help="The form.")
]
Report = Annotated[Literal["table", "json"], typer.Option("-o", "--output", metavar="table|json", help="The form.")]
Limit = Annotated[int, typer.Option("-l", "--limit", metavar="N", help="How many at most; 0: all.", min=0)]
Once = Annotated[bool, typer.Option("--once", help="Tick once in each environment, and end.")]
LogForm = Annotated[
    Literal["text", "json"], typer.Option("--log-format", metavar="text|json", help="The form of log lines.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the commit.")]
Author = Annotated[
    str | None,
    typer.Option("--author", metavar="'NAME <ADDRESS>'", help="Who asks; as git has it if absent.", show_default=False),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="WHEN", help="90s, 5m, 2h, or an instant such as 2026-12-01T08:00Z.")
]
Revision = Annotated[
    str | None, typer.Option("--revision", metavar="DIGEST", help="Which one; the newest rejection if absent.")
]


@options.shared
def run(settings: Settings, once: Once = False, log_format: LogForm = "text") -> None:
    """Run the controller.

    It puts on trial what is pushed, watches it, and promotes it or returns to what was stable.

    One process serves every environment of the repository that it finds when it starts.  It keeps nothing that
    matters: it may be killed and started again at any moment.  SIGTERM ends it after the running tick; SIGHUP makes
    it look at once.
    """
    from . import run as controller

    raise typer.Exit(controller.run(settings, once=once, log_form=log_format))


@get.command()
@options.shared
def rollouts(
    settings: Settings,
    namespace: Namespace = None,
    output: Listing = "table",
    watch: Watch = False,
    every: Every = 2.0,
) -> None:
    """List services with phase, weight and verdict.

    Weights are recorded/live.  Nothing is changed: what is shown is Git's head, what the cluster and Prometheus say
    of it now, and what the controller is to do next.  With --watch, JSON is one object a line, and YAML one document
    for each change.
    """
    from . import show

    raise typer.Exit(show.rollouts(settings, namespace, output, every if watch else None))


@options.shared
def explain(settings: Settings, name: options.Name, output: Story = "text") -> None:
    """Say why a service waits, and what is next.

    Every query is shown as it was asked, with what it gave and the limit that it was held against.
    """
    from . import show

    raise typer.Exit(show.explain(settings, name, output))


def judge(
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Read samples as JSON, one object a line.")] = False,
    policy: Annotated[
        str, typer.Option("--policy", metavar="FILE", help="A policy's file, or the name of a shipped one.")
    ] = "standard",
) -> None:
    """Judge samples, without a cluster.

    Standard input holds one JSON object a line: a start begins afresh, a sample adds the cumulative counters of both
    revisions.  Each sample that asks for an answer gets one, in a line of its own: verdict (pass, fail or
    inconclusive), because, and e, the evidence.  docs/judging.md shows the form.
    """
    from .judging import from_stdin

    raise typer.Exit(from_stdin(policy, jsonl=jsonl))


@options.shared
def backtest(
    settings: Settings,
    *,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="FILE", help="A policy's file, or a shipped one's name; each one's own if absent."
        ),
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option("--service", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="30d, 12h, or an instant such as 2026-12-01T08:00Z.")
    ] = None,
    output: Report = "table",
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw each rollout's evidence into this SVG.")
    ] = None,
) -> None:
    """Try a policy on the rollouts of the past.

    For the rollouts in the ledger, Prometheus is read as of then, and the policy decides anew, sample by sample: what
    it would have done and when, next to what was done.  The traffic is what the weights of then gave.  No cluster is
    needed, and nothing is changed.

    Ends with 1 if it would have aborted what was promoted and never taken back, or promoted what was aborted, and if
    the policy or a metric that it enforces cannot be read.
    """
    from .backtest import Wanted
    from .backtest import backtest as tried

    wanted = Wanted(policy=policy, services=tuple(service or ()), since=since, picture=picture)
    raise typer.Exit(tried(settings, wanted, output))


@options.shared
def history(settings: Settings, name: options.Name, limit: Limit = 20, output: Listing = "table") -> None:
    """List all moves of a service, newest first.

    What was decided and what people asked for, each with its reason, is read from Git alone: these are the commits
    that changed the record of the service.  No cluster is needed.
    """
    from .history import history as printed

    printed(settings, name, limit, output)


@options.shared
def hold(
    settings: Settings, name: options.Name, reason: Reason = "", until: Until = None, author: Author = None
) -> None:
    """Stop progress; aborts go on.

    No weight rises and no new revision starts.  A verdict that fails still aborts.
    """
    from . import verbs

    verbs.hold(settings, name, verbs.Said(reason, author), until)


@options.shared
def resume(settings: Settings, name: options.Name, reason: Reason = "", author: Author = None) -> None:
    """Let a held service go on.

    The time that it was held does not count as silence.
    """
    from . import verbs

    verbs.resume(settings, name, verbs.Said(reason, author))


@options.shared
def promote(settings: Settings, name: options.Name, reason: Reason = "", author: Author = None) -> None:
    """Skip the steps that are left.

    The revision on trial, or the one that waits for its trial, is given all traffic.
    """
    from . import verbs

    verbs.promote(settings, name, verbs.Said(reason, author))


@options.shared
def abort(settings: Settings, name: options.Name, reason: Reason = "", author: Author = None) -> None:
    """Return to the stable revision.

    The revision on trial is refused from now on, until somebody asks for a retry.
    """
    from . import verbs

    verbs.abort(settings, name, verbs.Said(reason, author))


@options.shared
def retry(
    settings: Settings, name: options.Name, reason: Reason = "", revision: Revision = None, author: Author = None
) -> None:
    """Try a rejected revision again.

    Its manifest is brought back to the head of the branch.
    """
    from . import verbs

    verbs.retry(settings, name, verbs.Said(reason, author), revision)


COMMANDS = (run, explain, history, judge, backtest, hold, resume, promote, abort, retry)
