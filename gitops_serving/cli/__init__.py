"""The command line, a face."""
