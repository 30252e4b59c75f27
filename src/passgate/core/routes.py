"""What the operator said of paths, models and upstreams, made ready once per configuration.

How a request is judged by it stands in ``routing``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from msgspec.structs import replace

from passgate.core.routing import CLOSED_PATH, Route, Routes
from passgate.core.settings import RouteSettings, UpstreamKind


def globs(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """Return what matches any of *patterns* in full, or None where ``*`` is among them."""
    wanted = tuple(patterns)
    if "*" in wanted:
        return None
    return re.compile("|".join(translate(pattern) for pattern in wanted) or r"(?!)")


def opened_paths(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """Return what matches the closed paths that *patterns* name outright, or None.

    ``*`` and ``/v1/*`` open nothing closed; ``/v1/organizations/*`` does.
    """
    named = [pattern for pattern in patterns if CLOSED_PATH.match(pattern)]
    return re.compile("|".join(translate(pattern) for pattern in named)) if named else None


def routes_of(routes: Iterable[RouteSettings], kinds: Iterable[tuple[str, UpstreamKind]]) -> Routes:
    """Return the routes of a configuration.

    Args:
        routes: As configured, in order.
        kinds: Name and kind of every upstream, in order.
    """
    google = [name for name, kind in kinds if kind is UpstreamKind.GEMINI]
    rules = tuple(
        Route(r.model, globs([r.model]), r.upstream, r.rename, r.upstream in google) for r in routes
    )
    rest = next((rule for rule in reversed(rules) if rule.matches is None), None)
    if rest is not None:
        rest = replace(rest, rename=None)  # what names no model has none to rename
    native = Route("native", None, google[0], native=True) if google else None
    models = None
    if native is not None and any(rule.native for rule in rules):
        models = replace(rest or native, label="models", native=True)
    return Routes(rules, rest, native, models)
