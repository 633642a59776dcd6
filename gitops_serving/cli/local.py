"""``gitops-serving local``: bring the local cluster up and down, and look at it.

The cluster is a program of its own; this face starts it, waits for it, and asks
it the way anybody else would.  What is heavy, and what needs the extra
``local``, stays in that program, so that ``--help`` is quick everywhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gitops_serving.config import variable
from gitops_serving.local import statedir

if TYPE_CHECKING:
    from gitops_serving.local.statedir import StateDir

app = typer.Typer(
    name="local", help="Run KServe's InferenceServices on this machine, without Kubernetes.", no_args_is_help=True
)

NEEDED = ("aiohttp", "kserve", "sklearn")
UP_SECONDS = 240.0  # the first time a Prometheus may have to be fetched
DOWN_SECONDS = 90.0  # requests in flight and model servers have their graces
LOOK_SECONDS = 0.1
SAID_LINES = 15

STATE = variable("local_state")  # as for the commands that look for the cluster there
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help=f"Where the cluster lives; each place has one of its own.  [{STATE}]",
        envvar=STATE,
        show_envvar=False,
    ),
]


@app.command()
def up(
    state: State = None,
    *,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop with Ctrl-C.")] = False,
) -> None:
    """Start the cluster, wait until it is ready, and say where everything is."""
    _require_extra()
    place = _prepared(state)
    command = [sys.executable, "-m", "gitops_serving.local.cluster", "--state", str(place.root)]
    if foreground:
        os.execv(sys.executable, command)  # noqa: S606 - an argument list, no shell
    if not _running(place):
        _start(place, command)
    _print_addresses(place, _running(place))


@app.command()
def down(state: State = None) -> None:
    """Stop the cluster; its objects are kept for the next time."""
    place = _place(state)
    pid = statedir.owner(place)
    if not pid:
        print(f"no local cluster runs in {place.root}")
        return
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        ended, _, _ = select.select([descriptor], [], [], DOWN_SECONDS)
    finally:
        os.close(descriptor)
    if not ended:
        _fail(f"the local cluster (process {pid}) did not stop within {DOWN_SECONDS:g} s; see {place.supervisor_log}")
    print("the local cluster is stopped; its objects are kept")


@app.command()
def status(
    state: State = None, *, output: Annotated[str, typer.Option("-o", "--output", help="text or json.")] = "text"
) -> None:
    """Show where everything is and how the services are; exit with 1 if the cluster is not up."""
    if output not in {"text", "json"}:
        _fail(f"there is no output format {output}; use text or json", code=2)
    place = _place(state)
    where = _running(place)
    if output == "json":
        told = {key: value for key, value in where.items() if key != "api"}  # its address holds a secret
        print(json.dumps({"running": bool(where), **told, "services": _services(where) if where else []}, indent=2))
    elif where:
        _print_addresses(place, where)
        _print_services(where)
    else:
        print(f"no local cluster runs in {place.root}; start one with: gitops-serving local up")
    raise typer.Exit(0 if where else 1)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="An InferenceService, or one of its revisions.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace")] = "default",
    state: State = None,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now on.")] = False,
) -> None:
    """Print what the model servers of a service or revision wrote."""
    folder = _place(state).logs / namespace
    read: dict[Path, int] = {}
    if not _print_news(folder, name, read) and not follow:
        _fail(f"there is no log of {namespace}/{name} in {folder}; check the name and -n")
    while follow:
        time.sleep(LOOK_SECONDS)
        _print_news(folder, name, read)


def _print_news(folder: Path, name: str, read: dict[Path, int]) -> bool:
    """Print what the logs have beyond what was read, which is noted; tell whether there is any log."""
    found = sorted((*folder.glob(f"{name}/*.log"), *folder.glob(f"{name}-predictor-?????/*.log")))
    for path in found:
        size, seen = path.stat().st_size, read.get(path, 0)
        if size == seen:
            continue
        with path.open("rb") as file:
            file.seek(seen if size > seen else 0)  # a shorter file is a new one
            for line in file.read(size).decode(errors="replace").splitlines():
                print(f"{path.parent.name}/{path.stem} {line}")
            read[path] = file.tell()
    return bool(found)


def _start(place: StateDir, command: list[str]) -> None:
    """Start the supervisor as a process of its own and wait until everything is up."""
    place.supervisor_log.touch(mode=0o600)
    before = place.supervisor_log.stat().st_size
    pid = _spawned(command, place.supervisor_log)
    print(f"starting the local cluster in {place.root} ...", file=sys.stderr)
    deadline = time.monotonic() + UP_SECONDS
    while not _running(place):
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            said = place.supervisor_log.read_bytes()[before:].decode(errors="replace").splitlines()[-SAID_LINES:]
            _fail("\n".join(said) or f"the local cluster ended with code {os.waitstatus_to_exitcode(code)}, silently")
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGTERM)
            _fail(f"the local cluster did not come up within {UP_SECONDS:g} s; see {place.logs}")
        time.sleep(LOOK_SECONDS)


def _spawned(command: list[str], log: Path) -> int:
    """Start a process that outlives this one, in a session of its own; a Popen would complain about that."""
    writing = os.O_WRONLY | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), writing, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, os.environ, file_actions=files, setsid=True)


def _print_addresses(place: StateDir, where: dict[str, Any]) -> None:
    """Say where everything is, and how to use it."""
    lines = {
        "predictions": where["gateway"],
        "gateway metrics": f"{where['gatewayAdmin']}/metrics",
        "Prometheus": where["prometheus"],
        "kubeconfig": where["kubeconfig"],
        "logs": place.logs,
    }
    for label, value in lines.items():
        print(f"{label:16} {value}")
    print(
        f"\nkubectl --kubeconfig {where['kubeconfig']} get isvc -A\n"
        f"kubectl --kubeconfig {where['kubeconfig']} apply --server-side -f scorer.yaml\n"
        f"curl -H 'Content-Type: application/json' -d '{{\"instances\": [[1, 2]]}}' \\\n"
        f"  {where['gateway']}/serving/NAMESPACE/NAME/v1/models/NAME:predict"
    )


def _print_services(where: dict[str, Any]) -> None:
    """Print the services in a table."""
    services = _services(where)
    if not services:
        print("\nthere are no services yet")
        return
    columns = ("service", "ready", "traffic", "reason")
    rows = [[str(row[column]) for column in columns] for row in services]
    widths = [max(len(row[i]) for row in [list(columns), *rows]) for i in range(len(columns))]
    print()
    for row in [[column.upper() for column in columns], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _services(where: dict[str, Any]) -> list[dict[str, str]]:
    """Ask the API for the services and how they are."""
    url = f"{where['api']}/apis/serving.kserve.io/v1beta1/inferenceservices"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        items: list[dict[str, Any]] = json.load(answer)["items"]
    return [_service_row(item) for item in items]


def _service_row(item: dict[str, Any]) -> dict[str, str]:
    """Sum up one service."""
    told = item.get("status", {})
    ready = {c["type"]: c for c in told.get("conditions", [])}.get("Ready", {})
    traffic = told.get("components", {}).get("predictor", {}).get("traffic", [])
    return {
        "service": f"{item['metadata']['namespace']}/{item['metadata']['name']}",
        "ready": ready.get("status", "Unknown"),
        "traffic": " ".join(f"{t['revisionName']}={t['percent']}%" for t in traffic) or "none",
        "reason": " ".join(f"{ready.get('reason', '')} {ready.get('message', '')}".split()),
    }


def _place(state: Path | None) -> StateDir:
    """Find the directory without making it."""
    return statedir.StateDir((state or statedir.default_root()).expanduser().absolute())


def _prepared(state: Path | None) -> StateDir:
    """Find the directory and make it."""
    try:
        return statedir.prepare(_place(state).root)
    except (statedir.StateError, OSError) as error:
        _fail(str(error))


def _running(place: StateDir) -> dict[str, Any]:
    """Read where everything is; empty: the cluster is not up."""
    return statedir.addresses(place)


def _require_extra() -> None:
    """Say how to install what the cluster needs, if it is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _fail(
            f"the local cluster needs packages that are not installed: {', '.join(missing)}; "
            "run: pip install 'gitops-serving[local]'"
        )


def _fail(message: str, code: int = 1) -> NoReturn:
    """End with a message."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)
