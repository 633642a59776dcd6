"""A rollout controller for KServe: Git is its ledger, Prometheus its memory, the cluster its effect."""
