"""The demonstration's processes: a killed one comes back, a failed one is told, and none is left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gitops_serving.cli import demo_stage
from gitops_serving.cli.demo_stage import Bell, DemoError, Kept, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOR_EVER = ["http.server", "0", "--bind", "127.0.0.1"]
WAIT_SECONDS = 20


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept("the server", FOR_EVER, tmp_path / "logs/server.log")
    yield one
    one.stop()


def test_a_killed_process_is_started_again(kept: Kept) -> None:
    kept.tend()
    before = kept.process.pid

    kept.process.kill()
    kept.process.wait()
    kept.tend()

    assert kept.process.pid != before
    assert kept.process.poll() is None
    assert kept.restarts == 1


def test_a_process_that_fails_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    kept = Kept("the server", ["http.server", "no-port"], tmp_path / "server.log")
    kept.process.wait()

    with pytest.raises(DemoError, match=r"the server ended with code 2; its last lines(.|\n)*no-port"):
        kept.tend()

    assert kept.restarts == 0


def test_a_stopped_process_has_ended(kept: Kept) -> None:
    kept.stop()

    assert kept.process.poll() is not None


def test_a_process_does_not_see_how_the_persons_own_controller_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITOPS_SERVING_REPO", "https://elsewhere.example")

    (tmp_path / "probe.py").write_text("import os; print(sorted(k for k in os.environ if 'SERVING' in k))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    demo_stage.start(["probe"], tmp_path / "probe.log").wait()

    assert (tmp_path / "probe.log").read_text() == "[]\n"


def test_a_process_ends_with_a_demonstration_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from gitops_serving.cli import demo_stage\n"
        f"process = demo_stage.start({FOR_EVER!r}, pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        pid = int(demo.stdout.readline())
        descriptor = os.pidfd_open(pid)
        log = tmp_path / "log"
        deadline = time.monotonic() + WAIT_SECONDS
        while "Serving" not in log.read_text():  # it has tied itself by then
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        demo.kill()

    ended = select.select([descriptor], [], [], WAIT_SECONDS)[0]
    os.close(descriptor)
    assert ended


def test_a_signal_ends_a_wait_as_a_persons_wish() -> None:
    with Bell() as bell:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
            bell.pause(WAIT_SECONDS)

    assert stopped.value.sent == signal.SIGTERM


def test_a_signal_between_two_waits_is_not_lost() -> None:
    with Bell() as bell:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            bell.pause(0)


def test_the_end_of_a_process_ends_a_wait_early(tmp_path: Path) -> None:
    with Bell() as bell:
        began = time.monotonic()
        process = demo_stage.start(["platform"], tmp_path / "log")
        while process.poll() is None:
            bell.pause(WAIT_SECONDS)

    assert time.monotonic() - began < WAIT_SECONDS


def test_signals_mean_what_they_meant_before() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    with Bell():
        pass

    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == before


def test_an_answer_that_does_not_come_in_time_is_told() -> None:
    with Bell() as bell, pytest.raises(DemoError, match=r"the start of it took more than 0\.1 s"):
        bell.until(lambda: None, 0.1, "the start of it")
