"""The policies of the worlds: the steps are the same in all, and what follows from silence and from time is not."""

from __future__ import annotations

import random

POLICY_PATH = "policies/brisk.yaml"
POLICY = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {{name: brisk}}
spec:
  steps:
    - {{setWeight: 10, dwell: 60s}}
    - {{setWeight: 25, dwell: 60s}}
    - {{setWeight: 50, dwell: 60s}}
  readyWithin: 5m
  patience: {patience}
  onSilence: {on_silence}
  maxDuration: {max_duration}
  onTimeout: {on_timeout}
  analysis:
    minRequests: 40
    timing: {{block: 30s, warmUp: 20s, warmUpAfterShift: 10s}}
    metrics:
      - {{name: errors, pack: knative/errors, compare: {{tolerance: 20%, atLeast: 5%}}}}
      - {{name: latency, pack: knative/latency, compare: {{tolerance: 50%, atLeast: 100ms}}}}
"""


def policy_of(seed: int) -> bytes:
    """Draw what a world's policy does when patience or time is over, and when that is."""
    drawn = random.Random(f"the policy of world {seed}")
    text = POLICY.format(
        patience=drawn.choice(("90s", "6m")),  # forty requests at the first weight take a hundred seconds
        on_silence=drawn.choice(("abort", "hold")),
        max_duration=drawn.choice(("4m", "10m", "6h")),
        on_timeout=drawn.choice(("abort", "hold")),
    )
    return text.encode()
