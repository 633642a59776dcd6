"""Judges measured: generated rollouts, what other controllers would make of them, and the tables that compare."""
