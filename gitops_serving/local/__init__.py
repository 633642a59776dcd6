"""KServe on one machine: a program of its own that knows nothing of Git, policies or rollouts."""
