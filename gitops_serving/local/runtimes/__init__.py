"""One small kserve.Model for each model format, each run in a process of its own."""
