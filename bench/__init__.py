"""The project's own benchmark: ``python -m bench``, explained in ``docs/performance.md``.

It starts a fake upstream, puts passgate and nginx in front of it one after the other, and
compares what the same load costs each of them. Not part of the wheel.
"""
