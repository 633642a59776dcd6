"""``python -m gitops_serving``, which is the same as ``gitops-serving``."""

from __future__ import annotations

from .cli.main import main

main()
