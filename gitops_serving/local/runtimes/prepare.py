"""What a model-server process does before it imports anything heavy.

The order matters and is the reason for this module: kserve reads `sys.argv` when it is imported and knows only its own
options, numerical libraries size their thread pools when they are imported, and a process that was orphaned while it
imported for two seconds would stay. So this comes first, and knows neither kserve nor numpy.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from gitops_serving.local.tether import die_with_parent

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of a local runtime, named as KServe's runtimes name theirs."""

    model_name: str
    model_dir: Path
    uds: Path
    """The unix socket to serve on; the directory around it is what keeps other users out."""


def prepare() -> Options:
    """Read the command line, tie this process to its parent, and quieten what would otherwise write per request."""
    options = _options()
    die_with_parent()
    for limit in _THREAD_LIMITS:
        os.environ.setdefault(limit, "1")
    # Many small models share two cores; and fastapi would say this once for every request.
    warnings.filterwarnings("ignore", message=".*ORJSONResponse.*")
    sys.argv = [sys.argv[0], "--model_name", options.model_name]
    return options


def _options() -> Options:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_dir", required=True, type=Path)
    parser.add_argument("--uds", required=True, type=Path, metavar="PATH")
    given = parser.parse_args()
    return Options(given.model_name, given.model_dir, given.uds)
