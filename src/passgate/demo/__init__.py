"""A simulated Anthropic API on loopback, for ``--demo``, ``passgate demo`` and the tests.

It imports nothing else of passgate: what judges the gateway must not share its mistakes.
"""
