from __future__ import annotations

import asyncio
import signal
import sys
import textwrap

import pytest

from gitops_serving.local import tether
from tests.local.serving import eventually, in_loop, running

pytestmark = pytest.mark.slow

PARENT = textwrap.dedent(
    """
    import subprocess, sys, time
    from gitops_serving.local import tether
    child = subprocess.Popen(tether.command(*sys.argv[1:]), stdout=subprocess.PIPE)
    # What it prints shows that it has become the program.
    child.stdout.readline()
    print(child.pid, flush=True)
    time.sleep(60)
    """
)


@in_loop
async def test_a_foreign_program_dies_with_a_parent_that_was_killed() -> None:
    program = ("/bin/sh", "-c", "echo up; exec sleep 60")
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, *program), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert running(pid)
    parent.send_signal(signal.SIGKILL)
    await parent.communicate()
    await eventually(lambda: not running(pid))


@in_loop
async def test_a_tethered_program_keeps_its_arguments_and_its_exit_code() -> None:
    command = tether.command("/bin/sh", "-c", 'echo "$1"; exit 7', "sh", "two words")
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    assert said == b"two words\n"
    assert child.returncode == 7
