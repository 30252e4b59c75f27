"""Random bytes from either side; see ``python -m tests.fuzz --help``."""
