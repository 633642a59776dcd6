"""Replicas over real processes: a tiny server that answers the readiness endpoints, or does not."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from gitops_serving.local import replica as replicas
from gitops_serving.local.replica import Health, Launch, Replica, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

pytestmark = pytest.mark.slow

SERVER = """
import http.server, os, signal, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in sys.argv[2:] else 404)
        self.end_headers()
    def log_message(self, *_): pass
class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("client", 0)
print("model loaded", flush=True)
if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
Server(sys.argv[1], Handler).serve_forever()
"""
V2 = ("/v2/health/ready", "/v2/models/scorer/ready")
V1 = ("/v2/health/ready", "/v1/models/scorer")


class Bench:
    """Replicas that are stopped at the end, and a way to await their health."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.news = asyncio.Event()
        self.replicas: list[Replica] = []

    def start(
        self, *command: str, locate: Callable[[], Path] | None = None, env: dict[str, str] | None = None
    ) -> Replica:
        launch = Launch(
            name=f"fraud/scorer-00001/u/{len(self.replicas)}",
            model="scorer",
            locate=locate or (lambda: self.directory),
            command=lambda _, socket: [part.replace("SOCKET", str(socket)) for part in command],
            env=env or {},
            run_dir=self.directory,
            log=self.directory / "logs" / "0.log",
        )
        self.replicas.append(Replica(launch, self.news.set))
        return self.replicas[-1]

    def serve(self, *ready: str, env: dict[str, str] | None = None) -> Replica:
        return self.start(sys.executable, "-c", SERVER, "SOCKET", *ready, env=env)

    async def until(self, replica: Replica, wanted: Callable[[Health], bool]) -> Health:
        async with asyncio.timeout(20):
            while not wanted(replica.health):
                self.news.clear()
                await self.news.wait()
        return replica.health


def play(directory: Path, story: Callable[[Bench], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        bench = Bench(directory)
        try:
            await story(bench)
        finally:
            await asyncio.gather(*(replica.stop() for replica in bench.replicas))

    asyncio.run(run())


@pytest.mark.parametrize("endpoints", [V2, V1])
def test_a_replica_is_ready_when_server_and_model_say_so(tmp_path: Path, endpoints: tuple[str, ...]) -> None:
    async def story(bench: Bench) -> None:
        health = await bench.until(bench.serve(*endpoints), lambda h: h.ready)
        assert health.socket.startswith(str(tmp_path))
        assert not health.failed

    play(tmp_path, story)


@pytest.mark.parametrize("endpoints", [V2[:1], V2[1:]])
def test_half_an_answer_is_not_ready(tmp_path: Path, endpoints: tuple[str, ...]) -> None:
    async def story(bench: Bench) -> None:
        replica = bench.serve(*endpoints)
        await bench.until(replica, lambda h: h.pid > 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await bench.until(replica, lambda h: h.ready)

    play(tmp_path, story)


def test_a_process_that_ends_is_started_again_and_says_its_last_words(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        failing = "import sys; [print('line', i, flush=True) for i in range(30)]; sys.exit('no such model')"
        replica = bench.start(sys.executable, "-c", failing)
        health = await bench.until(replica, lambda h: h.pausing)
        assert (health.failed, health.exit_code, health.restarts) == (True, 1, 2)
        lines = health.message.splitlines()
        assert lines[0] == "the model server ended with exit code 1; its last lines:"
        assert (lines[1], lines[-1], len(lines)) == ("line 11", "no such model", 1 + replicas.LAST_LINES)

    play(tmp_path, story)


def test_a_replica_that_fails_in_a_new_way_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody had thought of ended its keeper, and the process was never started again."""
    places = iter([None, tmp_path])

    def locate() -> Path:
        if (found := next(places)) is None:
            raise KeyError("containers")
        return found

    async def story(bench: Bench) -> None:
        replica = bench.start(sys.executable, "-c", SERVER, "SOCKET", *V2, locate=locate)
        failed = await bench.until(replica, lambda h: h.failed)
        assert failed.message == "KeyError: 'containers'"
        await bench.until(replica, lambda h: h.ready)

    play(tmp_path, story)
    assert "could not be kept" in caplog.text


def test_a_killed_replica_comes_back_on_another_socket(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        replica = bench.serve(*V2)
        before = await bench.until(replica, lambda h: h.ready)
        os.kill(before.pid, signal.SIGKILL)
        killed = await bench.until(replica, lambda h: h.failed)
        assert (killed.exit_code, killed.ready, killed.socket) == (137, False, "")
        assert "SIGKILL" in killed.message
        after = await bench.until(replica, lambda h: h.ready)
        assert after.socket != before.socket
        assert (after.failed, after.restarts) == (False, 1)

    play(tmp_path, story)


def test_a_model_that_cannot_be_found_is_a_failure_without_a_process(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        def missing() -> Path:
            raise SourceError("there is no /models/v1; create it")

        health = await bench.until(bench.start("true", locate=missing), lambda h: h.failed)
        assert (health.message, health.exit_code, health.pid) == ("there is no /models/v1; create it", None, 0)

    play(tmp_path, story)


def test_a_program_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        health = await bench.until(bench.start("/nowhere/program"), lambda h: h.failed)
        assert "/nowhere/program" in health.message

    play(tmp_path, story)


def test_a_stopped_replica_leaves_no_process_and_stays_stopped(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        replica = bench.serve(*V2)
        pid = (await bench.until(replica, lambda h: h.ready)).pid
        await replica.stop()
        assert replica.health == Health()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    play(tmp_path, story)


def test_a_replica_that_will_not_end_is_made_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "STOP_SECONDS", 0.3)

    async def story(bench: Bench) -> None:
        replica = bench.serve(*V2, env={"STUBBORN": "1"})
        pid = (await bench.until(replica, lambda h: h.ready)).pid
        await replica.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    play(tmp_path, story)


def test_the_log_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.until(bench.serve(*V2), lambda h: h.ready)

    play(tmp_path, story)
    log = tmp_path / "logs" / "0.log"
    assert log.read_text(encoding="utf-8") == "model loaded\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_replica_sees_only_the_environment_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_CREDENTIAL", "hush")

    async def story(bench: Bench) -> None:
        replica = bench.start(
            sys.executable, "-c", "import os, sys; sys.exit(repr(sorted(os.environ)))", env={"GIVEN": "1"}
        )
        health = await bench.until(replica, lambda h: h.failed)
        assert "'GIVEN'" in health.message
        assert "A_CREDENTIAL" not in health.message

    play(tmp_path, story)
