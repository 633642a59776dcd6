"""KServe's own model server on a unix socket, quiet and without gRPC.

Everything a client sees, its quirks included, is kserve's; this module changes where the server listens, which kserve
fixes to all interfaces, and how much it logs, which is six lines per request. It knows no model format. To be imported
after `prepare`, because kserve reads the command line at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kserve
import kserve.logging
from kserve import model_server
from kserve.protocol.rest.server import RESTServer

if TYPE_CHECKING:
    from pathlib import Path

_WARNINGS_ONLY = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
        for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access")
    },
}


def serve(model: kserve.Model, socket_path: Path) -> None:
    """Serve a loaded model until SIGTERM; requests in flight are finished."""

    class UnixServer(RESTServer):  # type: ignore[misc]  # kserve ships no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.config.uds = str(socket_path)

    # The class is looked up in this module when the server starts: kserve's constructor takes no address.
    model_server.RESTServer = UnixServer
    kserve.logging.configure_logging(_WARNINGS_ONLY)
    socket_path.unlink(missing_ok=True)
    try:
        kserve.ModelServer(workers=1, enable_grpc=False, enable_latency_logging=False).start([model])
    finally:
        socket_path.unlink(missing_ok=True)
