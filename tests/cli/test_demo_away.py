"""What the demonstration does while nobody answers: it looks who ended, tries again, and repeats what was said last.

A demonstration failed once, in CI and nowhere else, with nothing but "Connection refused".
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.cli import demo as module
from gitops_serving.cli.demo import Scene, Stage, demo
from gitops_serving.cli.demo_stage import Bell, DemoError
from gitops_serving.cli.demo_watch import Watch
from gitops_serving.config import Settings
from gitops_serving.core.errors import Unavailable
from gitops_serving.local import statedir
from gitops_serving.local.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gitops_serving.local.statedir import StateDir


class Counts(BaseHTTPRequestHandler):
    """A gateway's admin port, as far as the demonstration looks at it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"fraud/scorer": []}')

    def log_message(self, *_: object) -> None: ...


@contextmanager
def gateway(state: StateDir) -> Iterator[None]:
    """Listen somewhere, and say where."""
    server = HTTPServer(("127.0.0.1", 0), Counts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    admin = f"http://127.0.0.1:{server.server_port}"
    write_json(state.addresses, {"pid": os.getpid(), "gatewayAdmin": admin})
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    found = statedir.StateDir(tmp_path)
    found.logs.mkdir()
    with statedir.lock(found):
        yield found


@pytest.fixture
def watch(state: StateDir, tmp_path: Path) -> Iterator[Watch]:
    found = Watch(Settings(repo=str(tmp_path), cache_dir=tmp_path / "cache"), "demo", state)
    yield found
    found.close()


class Told:
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def show(self, _: object) -> None: ...

    def close(self) -> None: ...


def seen(state: StateDir, view: Told, look: Callable[[], Any], *, ended: list[int | None]) -> Any:
    """Look in a demonstration whose cluster gives these exit codes, one at each look at it."""
    codes = iter(ended)
    cluster: Any = SimpleNamespace(poll=lambda: next(codes, ended[-1]))
    kept: Any = SimpleNamespace(tend=lambda: None)
    nothing: Any = None
    scene = Scene(trained=nothing, fleet=nothing, state=state, cluster=cluster, where={})
    with Bell() as bell:
        return module._seen(Stage(place=state.root, bell=bell, stack=nothing, view=view), scene, kept, look)


def test_a_gateway_that_moved_is_found_where_it_is_now(
    state: StateDir, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address was read once, at the start: a gateway that came back was asked for where it had been."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    view = Told()
    with gateway(state):
        assert seen(state, view, watch.epochs, ended=[None]) == {"fraud/scorer": []}
    looks = []

    def look() -> Any:
        looks.append(1)
        if len(looks) < 3:
            return watch.epochs()
        with gateway(state):
            return watch.epochs()

    assert seen(state, view, look, ended=[None]) == {"fraud/scorer": []}
    assert len(looks) == 3
    (line,) = view.lines
    assert line.startswith("cannot look, and tries again: the gateway at http://127.0.0.1:")


def test_a_cluster_that_ended_is_told_with_its_last_lines_and_not_as_a_refused_connection(
    state: StateDir, watch: Watch
) -> None:
    state.supervisor_log.write_text("KeyError: 'fraud/ranker-predictor-00002'\n", encoding="utf-8")
    with gateway(state):
        pass

    with pytest.raises(DemoError, match=r"the local cluster ended; its last lines(.|\n)*KeyError") as caught:
        seen(state, Told(), watch.epochs, ended=[None, 1])

    assert isinstance(caught.value.__context__, Unavailable)


def test_what_is_away_for_long_fails_the_demonstration(
    state: StateDir, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.0)

    with pytest.raises(DemoError, match="nothing could be seen: nobody says where the gateway listens"):
        seen(state, Told(), watch.epochs, ended=[None])


def test_a_failed_demonstration_repeats_what_everything_hangs_on_said_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine that it had failed on was gone, and its logs with it."""

    def fail(stage: Stage, *_: object, **__: object) -> int:
        logs = stage.place / "state/logs"
        logs.mkdir(parents=True)
        (logs / "supervisor.log").write_text("\n".join(f"line {n}" for n in range(100)), encoding="utf-8")
        (logs / "gateway.log").write_text("Traceback\nKeyError: 'x'\n", encoding="utf-8")
        raise ConnectionRefusedError("Connection refused")

    monkeypatch.setattr(module, "_tell", fail)

    assert demo(tmp_path / "demo") == 1

    said = capsys.readouterr().err
    assert said.startswith("the demonstration failed: Connection refused\n")
    assert "the supervisor: its last lines" in said
    assert "\nline 60\n" in said
    assert "line 59" not in said
    assert "KeyError: 'x'" in said
    assert "the controller: it has no log at" in said
