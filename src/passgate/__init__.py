"""passgate: a self-hosted gateway between AI agents and model APIs."""

__version__ = "0.1.0"
