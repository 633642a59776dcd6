"""The Prometheus beside the gateway: there from the start, and started again when either of the two was.

Its one target is the gateway's admin port, which is another one after the gateway
has come back; so it follows the gateway.  Prometheus is started in a thread of its
own that lives as long as this object, because the kernel ties a child to the
thread that started it.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gitops_serving.local.prometheus import Prometheus, PrometheusFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
BEGIN_SECONDS = 10.0  # an earlier one whose supervisor was killed needs a moment to let go of the directory


class Monitor:
    """A Prometheus that is kept running."""

    def __init__(self, directory: Path, changed: Callable[[], None]) -> None:
        self._directory, self._changed = directory, changed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prometheus")
        self._prometheus: Prometheus | None = None
        self._target = 0

    @property
    def url(self) -> str:
        """Where it answers; empty: it is not up."""
        return self._prometheus.url if self._prometheus else ""

    async def follow(self, target: int) -> None:
        """Start it for a gateway's admin port, in the place of the one before."""
        await self._in_thread(self._stop)
        await self._in_thread(self._start, target)
        self._changed()

    async def begin(self, target: int) -> None:
        """Start it for the first time; raises PrometheusFailedError if it does not come up for a while."""
        deadline = asyncio.get_running_loop().time() + BEGIN_SECONDS
        while True:
            try:
                return await self.follow(target)
            except PrometheusFailedError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def keep(self, target: Callable[[], int]) -> None:
        """Start it again whenever it ended or its target moved; a target of 0 is away for now."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            wanted = target()
            if not wanted or (wanted == self._target and self._prometheus and self._prometheus.alive()):
                continue
            try:
                await self.follow(wanted)
            except (PrometheusFailedError, OSError) as error:
                log.warning("Prometheus could not be started again and is tried once more: %s", error)
            except Exception:
                log.exception("Prometheus could not be started again and is tried once more")

    async def stop(self) -> None:
        """End it, and its thread."""
        await self._in_thread(self._stop)
        self._thread.shutdown()

    def _start(self, target: int) -> None:
        self._prometheus = Prometheus(self._directory, gateway_admin_port=target)
        self._target = target

    def _stop(self) -> None:
        before, self._prometheus = self._prometheus, None
        if before is not None:
            before.stop()

    async def _in_thread(self, call: Callable[..., None], *arguments: int) -> None:
        """Run something that blocks in the thread that lives on."""
        await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
