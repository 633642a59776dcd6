"""One library, one door; no adapter knows another."""
