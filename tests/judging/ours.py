"""Factories of our own judge, for ``--judge tests.judging.ours:standard``.

Named by a word and imported when asked for, so that the worlds and the peers run without it.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compare import Judge

ROOT = Path(__file__).parents[2]


def standard() -> Judge:
    """Judge by the standard policy, or by the file that the environment names."""
    path = Path(os.environ.get("JUDGING_POLICY", ROOT / "policies" / "standard.yaml"))
    read_policy = importlib.import_module("gitops_serving.core.policy").read_policy
    judging = importlib.import_module("gitops_serving.core.jsonl").Judging
    take: Judge = judging(read_policy(path.read_bytes(), str(path))).take
    return take
