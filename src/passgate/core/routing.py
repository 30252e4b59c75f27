"""What a path is, and which upstream a request goes to."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote

import msgspec

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.exchange import Ask
from passgate.core.faults import Refused
from passgate.core.gemini.models import is_gemini


class PathKind(Enum):
    """What is served at a path."""

    LOCAL = "local"
    TELEMETRY = "telemetry"  # ours as well, for whoever has a key
    MESSAGES = "messages"  # the body names the model, so it is held
    MODELS = "models"
    NATIVE_MODEL = "native_model"  # Gemini's own paths; this one names the model
    NATIVE = "native"
    CLOSED = "closed"  # could administer the operator's account
    OTHER = "other"
    NOTHING = "nothing"


_SAFE = r"[A-Za-z0-9\-_~!$&'()*+,=:.]"
# An escape of anything but: control, space, ``%``, ``.``, ``/``, ``\``, ``?``, ``#``, ``;``,
# DEL and what is above it.
_ESCAPE = r"%(?:2[1246-9A-Da-d]|3[0-9ACDEacde]|[46][0-9A-Fa-f]|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e])"
_SEGMENT = rf"(?!\.{{1,2}}(?:/|\Z))(?:{_SAFE}|{_ESCAPE})+"
# One exception: the alias ``anthropic/gemini-x``, which SDKs escape.
_MODEL_ALIAS = rf"/v1/models/anthropic%2[Ff]{_SEGMENT}"
_PATH = re.compile(rf"/|(?:/{_SEGMENT})+|{_MODEL_ALIAS}")

_LOCAL = frozenset({"/", "/health", "/ready", "/api/hello"})
_TELEMETRY = frozenset({"/api/telemetry/installs", "/api/telemetry/metrics"})
_HELD = frozenset({"/v1/messages", "/v1/messages/count_tokens"})
CLOSED_PATH = re.compile(r"/v1/(?:organizations|oauth)(?:/|\Z)")
_NATIVE = re.compile(r"/(?:v1beta|v1alpha|upload/v1beta)/")
_NATIVE_MODEL = re.compile(r"/v1(?:beta|alpha)?/(?:models|tunedModels)/([^/]+):[A-Za-z]+")
_MODELS = re.compile(r"/v1/models(?:/[^/]+)?")


# First match wins.
_KINDS = (
    (_NATIVE_MODEL.fullmatch, PathKind.NATIVE_MODEL),
    (_NATIVE.match, PathKind.NATIVE),
    (CLOSED_PATH.match, PathKind.CLOSED),
    (_MODELS.fullmatch, PathKind.MODELS),
    (re.compile("/v1/").match, PathKind.OTHER),
)

# Bound once: reading a member through its class costs more than the comparison.
_MESSAGES, _CLOSED_KIND = PathKind.MESSAGES, PathKind.CLOSED
_MODELS_KIND = PathKind.MODELS
_NATIVE_MODEL_KIND = PathKind.NATIVE_MODEL
NATIVE_KINDS = (PathKind.NATIVE, PathKind.NATIVE_MODEL)


def kind_of(method: str, path: str, *, google_key: bool) -> PathKind:
    """Return what is served at *path*; the path is judged before anything is matched.

    Args:
        method: Request method.
        path: Path as received, without its query.
        google_key: Whether the key came in ``x-goog-api-key``.
    """
    if path in _HELD:  # before the grammar, which it passes: nearly every request
        return _MESSAGES if method == "POST" else PathKind.OTHER
    if _PATH.fullmatch(path) is None:
        return PathKind.NOTHING
    if path in _LOCAL:
        return PathKind.LOCAL
    if path in _TELEMETRY:
        return PathKind.TELEMETRY
    if "%" in path and CLOSED_PATH.match(unquote(path)):
        return _CLOSED_KIND  # ``/v1/%6Fauth`` is ``/v1/oauth`` to an upstream
    kind = next((kind for matches, kind in _KINDS if matches(path)), PathKind.NOTHING)
    return PathKind.NATIVE if google_key and kind is PathKind.MODELS else kind


def speaks_google(path: str, *, google_key: bool) -> bool:
    """Return whether errors at *path* are worded as Google words them.

    Args:
        path: Path as received, without its query.
        google_key: Whether the key came in ``x-goog-api-key``.
    """
    if _NATIVE.match(path) or _NATIVE_MODEL.fullmatch(path):
        return True
    return google_key and _MODELS.fullmatch(path) is not None


def native_model(path: str) -> str:
    """Return the model that a ``NATIVE_MODEL`` path names."""
    found = _NATIVE_MODEL.fullmatch(path)
    return found[1] if found else ""


class Route(msgspec.Struct, frozen=True):
    """Where a request goes.

    Attributes:
        label: The glob it matched by, for the record.
        matches: That glob; None for ``*``.
        upstream: Name of the upstream.
        rename: The model's name there, or None where it keeps its name.
        native: Whether the upstream speaks Google's own API, not Messages.
    """

    label: str
    matches: re.Pattern[str] | None
    upstream: str
    rename: str | None = None
    native: bool = False


class Routes(msgspec.Struct, frozen=True):
    """Every route, in order, and where goes what names no model.

    Attributes:
        rules: First match wins.
        rest: The last ``*`` route, or None.
        native: The route of Gemini's own paths, or None without a Gemini upstream.
        models: The route of the list of models, where some of them are Gemini's; None
            where the list is as the upstream of *rest* gives it.
    """

    rules: tuple[Route, ...]
    rest: Route | None
    native: Route | None
    models: Route | None = None


def permit(client: Client, kind: PathKind, path: str) -> None:
    """Check that *client* may use a path of *kind*, before any body is read.

    Raises:
        Refused: The path is not open to it.
    """
    if kind is _CLOSED_KIND and not (client.opened and client.opened.fullmatch(path)):
        raise Refused(faults.scope("this path"))
    if client.paths is not None and not client.paths.fullmatch(path):
        raise Refused(faults.scope("this path"))
    if client.models is not None and kind in (PathKind.OTHER, PathKind.NATIVE, PathKind.CLOSED):
        # A batch could name any model, a file could be anybody's.
        raise Refused(faults.scope("this path"))


def choose(routes: Routes, client: Client, kind: PathKind, path: str, ask: Ask) -> Route:
    """Return the route of a request.

    Raises:
        Refused: The model is not open to *client*, or there is no route for it.
    """
    model = native_model(path) if kind is _NATIVE_MODEL_KIND else ask.model
    named = (is_gemini(model) or model) if model is not None else None
    if client.models is not None and kind in (PathKind.MESSAGES, PathKind.NATIVE_MODEL):
        if model is None or named is None:
            raise Refused(faults.request("model: this key needs a body that names one"))
        if not client.models.fullmatch(model) and not client.models.fullmatch(named):
            raise Refused(faults.scope("this model"))
    if kind in NATIVE_KINDS:
        return _found(routes.native, model or "")
    if model is None or named is None:
        listed = routes.models if kind is _MODELS_KIND and _of_gemini(path) else None
        return _found(listed or routes.rest, "")
    for rule in routes.rules:
        if rule.matches is None or rule.matches.fullmatch(named):
            return rule
    raise Refused(faults.no_route(model))


def _of_gemini(path: str) -> bool:
    """Return whether *path* lists models, or is one Gemini model's: others are Claude's own."""
    one = path.removeprefix("/v1/models")
    return not one or is_gemini(unquote(one[1:])) is not None


def _found(route: Route | None, model: str) -> Route:
    if route is None:
        raise Refused(faults.no_route(model) if model else faults.NOT_FOUND)
    return route
