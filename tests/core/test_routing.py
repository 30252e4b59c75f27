"""What a path is, who may use it, and where a request goes."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.exchange import NO_ASK, Ask
from passgate.core.faults import Fault, Refused
from passgate.core.routes import globs, opened_paths, routes_of
from passgate.core.routing import (
    PathKind,
    Routes,
    choose,
    kind_of,
    native_model,
    permit,
    speaks_google,
)
from passgate.core.settings import RouteSettings, UpstreamKind

LOCAL, MESSAGES, MODELS = PathKind.LOCAL, PathKind.MESSAGES, PathKind.MODELS
NATIVE, NATIVE_MODEL = PathKind.NATIVE, PathKind.NATIVE_MODEL
CLOSED, OTHER, NOTHING = PathKind.CLOSED, PathKind.OTHER, PathKind.NOTHING

KINDS = [
    ("GET", "/", LOCAL),
    ("GET", "/health", LOCAL),
    ("POST", "/ready", LOCAL),
    ("HEAD", "/api/hello", LOCAL),
    ("GET", "/healthz", NOTHING),
    ("POST", "/api/telemetry/installs", PathKind.TELEMETRY),
    ("PUT", "/api/telemetry/metrics", PathKind.TELEMETRY),
    ("GET", "/api/telemetry", NOTHING),
    ("GET", "/api/telemetry/metrics/", NOTHING),
    ("GET", "/api/telemetry/%6Detrics", NOTHING),
    ("GET", "/HEALTH", NOTHING),
    ("GET", "/%68ealth", NOTHING),
    ("POST", "/v1/messages", MESSAGES),
    ("POST", "/v1/messages/count_tokens", MESSAGES),
    ("GET", "/v1/messages", OTHER),
    ("post", "/v1/messages", OTHER),
    ("POST", "/v1/messages/batches", OTHER),
    ("POST", "/v1/Messages", OTHER),
    ("POST", "/v1/message%73", OTHER),
    ("POST", "/v1/messages/", NOTHING),
    ("POST", "/v1", NOTHING),
    ("POST", "/v1/", NOTHING),
    ("POST", "/v2/messages", NOTHING),
    ("POST", "/V1/messages", NOTHING),
    ("GET", "/v1/models", MODELS),
    ("GET", "/v1/models/claude-x", MODELS),
    ("GET", "/v1/models/a%3Ab", MODELS),
    ("GET", "/v1/models/anthropic%2Fgemini-x", MODELS),
    ("GET", "/v1/models/anthropic%2fgemini-x", MODELS),
    ("GET", "/v1/models/anthropic%2Fa%2Fb", NOTHING),
    ("GET", "/v1/models/anthropic%2F", NOTHING),
    ("GET", "/v1/models/anthropic%2F.", NOTHING),
    ("GET", "/v1/models/anthropic%2F..", NOTHING),
    ("GET", "/v1/models/anthropic%2F...", MODELS),
    ("GET", "/v1/models/anthropic%2Fa/b", NOTHING),
    ("GET", "/v1/models/other%2Fx", NOTHING),
    ("GET", "/v1/messages/anthropic%2Fx", NOTHING),
    ("GET", "/v1/models/a/b", OTHER),
    ("POST", "/v1/models/gemini-x:generateContent", NATIVE_MODEL),
    ("POST", "/v1/models/anthropic%2Fx:generateContent", NATIVE_MODEL),
    ("POST", "/v1/models/gemini-x:", MODELS),
    ("POST", "/v1beta/models/gemini-x:streamGenerateContent", NATIVE_MODEL),
    ("POST", "/v1alpha/tunedModels/x:generateContent", NATIVE_MODEL),
    ("POST", "/v1beta/models/a:b:generateContent", NATIVE_MODEL),
    ("POST", "/v1beta/models/a/b:generateContent", NATIVE),
    ("GET", "/v1beta/models", NATIVE),
    ("POST", "/v1alpha/cachedContents", NATIVE),
    ("POST", "/upload/v1beta/files", NATIVE),
    ("POST", "/upload/v1/files", NOTHING),
    ("GET", "/v1beta", NOTHING),
    ("GET", "/v1bet%61/models", NOTHING),
    ("GET", "/v1/organizations", CLOSED),
    ("GET", "/v1/organizations/api_keys", CLOSED),
    ("POST", "/v1/oauth/token", CLOSED),
    ("POST", "/v1/%6Fauth/token", CLOSED),
    ("GET", "/v1/%6f%72ganization%73", CLOSED),
    ("GET", "/v%31/oauth", CLOSED),
    ("GET", "/v1/organizationsx", OTHER),
    ("GET", "/v1/Organizations", OTHER),
    ("GET", "/v1/files/oauth", OTHER),
]


@pytest.mark.parametrize(
    ("method", "path", "expected"), KINDS, ids=[f"{method} {path}" for method, path, _ in KINDS]
)
def test_kind(method: str, path: str, expected: PathKind) -> None:
    """Each path is of one kind; case counts, and an escape hides nothing that is closed."""
    assert expected is kind_of(method, path, google_key=False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", NATIVE),
        ("/v1/models/gemini-x", NATIVE),
        ("/v1/models/gemini-x:generateContent", NATIVE_MODEL),
        ("/v1/messages", MESSAGES),
        ("/v1/files", OTHER),
        ("/health", LOCAL),
    ],
)
def test_google_key(path: str, expected: PathKind) -> None:
    """A key in Google's own field makes the model list Google's, and nothing else."""
    assert expected is kind_of("POST", path, google_key=True)


# The grammar, by an oracle that shares nothing with it.

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
# RFC 3986's pchar without ``;`` and ``@``.
_MARKS = frozenset("-._~" + "!$&'()*+," + "=" + ":")
_HEX = frozenset("0123456789abcdefABCDEF")
_HIDDEN = frozenset("%./\\?#;")


def is_path(path: str) -> bool:
    """Return whether the contract lets *path* through, looked at a character at a time."""
    if path == "/":
        return True
    alias = re.match(r"/v1/models/anthropic%2[Ff]", path)
    if alias and "/" not in path[alias.end() :]:
        return _is_segment(path[alias.end() :])
    root, *segments = path.split("/")
    return root == "" and segments != [] and all(_is_segment(each) for each in segments)


def _is_segment(segment: str) -> bool:
    if segment in ("", ".", ".."):
        return False
    at = 0
    while at < len(segment):
        if segment[at] == "%":
            digits = segment[at + 1 : at + 3]
            if len(digits) < 2 or not _HEX.issuperset(digits):
                return False
            byte = int(digits, 16)
            if byte <= 0x20 or byte >= 0x7F or chr(byte) in _HIDDEN:
                return False
            at += 3
        elif segment[at] in _PLAIN or segment[at] in _MARKS:
            at += 1
        else:
            return False
    return True


def served(path: str) -> bool:
    """Return whether the gateway takes *path* for one, given that it is below ``/v1/``."""
    return kind_of("GET", path, google_key=False) is not NOTHING


PLACES = ["/v1/{}", "/v1/a{}", "/v1/{}b", "/v1/a{}b", "/v1/{}/b", "/v1/a/{}", "/v1/{0}{0}"]


@pytest.mark.parametrize("place", PLACES)
def test_every_byte(place: str) -> None:
    """Every byte, at every place of a segment, is served just where the contract says so."""
    paths = [place.format(chr(byte)) for byte in range(256)]

    assert [path for path in paths if is_path(path)] == [path for path in paths if served(path)]


@pytest.mark.parametrize("digits", ["{:02x}", "{:02X}"])
@pytest.mark.parametrize("place", [*PLACES, "/v1/models/anthropic{}x", "/v1/models/anthropic%2F{}"])
def test_every_escape(place: str, digits: str) -> None:
    """Every escape from %00 to %FF, in both cases, is served just where the contract says so."""
    paths = [place.format("%" + digits.format(byte)) for byte in range(256)]

    assert [path for path in paths if is_path(path)] == [path for path in paths if served(path)]


@given(
    st.lists(
        st.sampled_from(
            ["/", ".", "..", "%", "%2", "%2e", "%2F", "%41", "%zz", "a", ":", ";", "é", "\n", "//"]
        ),
        max_size=8,
    ).map(lambda parts: "/v1/" + "".join(parts))
)
def test_any_path(path: str) -> None:
    """However a path is put together, grammar and oracle agree."""
    assert is_path(path) is served(path)


@pytest.mark.parametrize("path", ["", "v1/x", "*", "http://a/v1/x", "/v1/x\n", "/v1/x?"])
def test_not_a_path(path: str) -> None:
    """What does not begin with a slash, or ends in something else, is nothing."""
    assert NOTHING is kind_of("GET", path, google_key=False)


@pytest.mark.parametrize(
    ("path", "google", "model"),
    [
        ("/v1/messages", False, ""),
        ("/v1/models/gemini-x:generateContent", True, "gemini-x"),
        ("/v1beta/models/gemini-x", True, ""),
        ("/v1beta/tunedModels/a:b:countTokens", True, "a:b"),
        ("/upload/v1beta/files", True, ""),
        ("/v1betas/models", False, ""),
    ],
)
def test_google_path(path: str, google: bool, model: str) -> None:  # noqa: FBT001  a column
    """Google's own paths get Google's errors, and some of them name a model."""
    assert (google, model) == (speaks_google(path, google_key=False), native_model(path))


# Globs.


@given(
    st.lists(st.text("ab*?[]!-./\n", min_size=1, max_size=6), max_size=3),
    st.text("ab-./\n[]", max_size=6),
)
def test_globs(patterns: list[str], name: str) -> None:
    """A list of globs matches what one of them matches, to the letter; an empty one nothing."""
    found = globs(patterns)
    expected = any(fnmatchcase(name, pattern) for pattern in patterns)

    assert expected is (found is None or found.fullmatch(name) is not None)
    assert ("*" in patterns) is (found is None)


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["*"], "/v1/organizations/x", False),
        (["/v1/*"], "/v1/organizations/x", False),
        (["/v1/org*"], "/v1/organizations/x", False),
        (["/v1/organizations/*"], "/v1/organizations/x", True),
        (["/v1/organizations/*"], "/v1/organizations", False),
        (["/v1/organizations"], "/v1/organizations", True),
        (["*", "/v1/oauth/token"], "/v1/oauth/token", True),
        (["*", "/v1/oauth/token"], "/v1/organizations/x", False),
        (["/v1/oauth/*", "/v1/organizations/*"], "/v1/organizations/x", True),
        ([], "/v1/oauth/token", False),
    ],
)
def test_opened(patterns: list[str], path: str, expected: bool) -> None:  # noqa: FBT001  a column
    """A closed path is opened by naming it outright, not by a star that covers it."""
    found = opened_paths(patterns)

    assert expected is bool(found and found.fullmatch(path))


# Who may.

WIDE = Client("wide", b"")
SCOPE = faults.scope("this path")


def client(
    models: str | None = None, paths: str | None = None, opened: str | None = None
) -> Client:
    """Return a client with globs, one each."""
    return Client(
        "c",
        b"",
        models=globs([models]) if models else None,
        paths=globs([paths]) if paths else None,
        opened=opened_paths([opened]) if opened else None,
    )


@pytest.mark.parametrize(
    ("who", "kind", "path", "expected"),
    [
        pytest.param(WIDE, MESSAGES, "/v1/messages", None, id="all: messages"),
        pytest.param(WIDE, OTHER, "/v1/files", None, id="all: files"),
        pytest.param(WIDE, NATIVE, "/v1beta/files", None, id="all: native"),
        pytest.param(WIDE, CLOSED, "/v1/oauth/x", SCOPE, id="all: not what is closed"),
        pytest.param(client(opened="/v1/oauth/*"), CLOSED, "/v1/oauth/x", None, id="opened"),
        pytest.param(
            client(opened="/v1/oauth/*"), CLOSED, "/v1/%6Fauth/x", SCOPE, id="opened, but disguised"
        ),
        pytest.param(
            client(opened="/v1/oauth/*"), CLOSED, "/v1/organizations", SCOPE, id="the other opened"
        ),
        pytest.param(
            client("a*", opened="/v1/oauth/*"), CLOSED, "/v1/oauth/x", SCOPE, id="opened, models"
        ),
        pytest.param(client("a*"), MESSAGES, "/v1/messages", None, id="models: messages"),
        pytest.param(client("a*"), MODELS, "/v1/models", None, id="models: the list"),
        pytest.param(client("a*"), NATIVE_MODEL, "/v1beta/models/a:b", None, id="models: native"),
        pytest.param(client("a*"), OTHER, "/v1/files", SCOPE, id="models: not files"),
        pytest.param(client("a*"), OTHER, "/v1/messages/batches", SCOPE, id="models: not batches"),
        pytest.param(client("a*"), NATIVE, "/v1beta/files", SCOPE, id="models: not native files"),
        pytest.param(client(paths="/v1/files*"), OTHER, "/v1/files/x", None, id="paths: in"),
        pytest.param(client(paths="/v1/files*"), MESSAGES, "/v1/messages", SCOPE, id="paths: out"),
        pytest.param(client("a*", "/v1/files"), OTHER, "/v1/files", SCOPE, id="paths and models"),
    ],
)
def test_permit(who: Client, kind: PathKind, path: str, expected: Fault | None) -> None:
    """A client may use what its entry says, before a byte of its body is read."""
    assert expected == fault_of(lambda: permit(who, kind, path))


def fault_of(call: object) -> Fault | None:
    """Return the fault for which *call* refuses, or None."""
    assert callable(call)
    try:
        call()
    except Refused as refused:
        return refused.fault
    return None


# Where to.

ANTHROPIC, GEMINI = UpstreamKind.ANTHROPIC, UpstreamKind.GEMINI
ROUTES = routes_of(
    [
        RouteSettings("claude-3-*", "old"),
        RouteSettings("claude-*", "new", rename="other"),
        RouteSettings("gemini-*", "google"),
        RouteSettings("*", "first", rename="x"),
        RouteSettings("*", "last", rename="y"),
        RouteSettings("never", "old"),
    ],
    [("old", ANTHROPIC), ("new", ANTHROPIC), ("google", GEMINI), ("second", GEMINI)],
)
NO_STAR = routes_of([RouteSettings("claude-*", "new")], [("new", ANTHROPIC)])
NO_GEMINI_ROUTE = routes_of([RouteSettings("*", "new")], [("new", ANTHROPIC), ("google", GEMINI)])
ONLY_GOOGLE = routes_of([RouteSettings("gemini-*", "google")], [("google", GEMINI)])
NATIVE_PATH = "/v1beta/models/gemini-x:generateContent"


@pytest.mark.parametrize(
    ("routes", "kind", "path", "model", "expected"),
    [
        pytest.param(ROUTES, MESSAGES, "", "claude-3-x", ("claude-3-*", "old", None), id="first"),
        pytest.param(ROUTES, MESSAGES, "", "claude-4", ("claude-*", "new", "other"), id="second"),
        pytest.param(ROUTES, MESSAGES, "", "never", ("*", "first", "x"), id="behind a star"),
        pytest.param(ROUTES, MESSAGES, "", "", ("*", "first", "x"), id="a model without a name"),
        pytest.param(ROUTES, MESSAGES, "", None, ("*", "last", None), id="none: the last star"),
        pytest.param(ROUTES, OTHER, "/v1/files", None, ("*", "last", None), id="files"),
        pytest.param(
            NO_GEMINI_ROUTE, MODELS, "/v1/models", None, ("*", "new", None), id="the model list"
        ),
        pytest.param(
            ROUTES, MODELS, "/v1/models", None, ("models", "last", None), id="a list of both"
        ),
        pytest.param(
            ROUTES, MODELS, "/v1/models/claude-4", None, ("*", "last", None), id="one of Claude's"
        ),
        pytest.param(
            ROUTES,
            MODELS,
            "/v1/models/anthropic%2Fgemini-x",
            None,
            ("models", "last", None),
            id="one of Gemini's",
        ),
        pytest.param(
            ONLY_GOOGLE, MODELS, "/v1/models", None, ("models", "google", None), id="Gemini's alone"
        ),
        pytest.param(ROUTES, MESSAGES, "", "gemini-x", ("gemini-*", "google", None), id="Gemini"),
        pytest.param(
            ROUTES, MESSAGES, "", "anthropic/gemini-x[1m]", ("gemini-*", "google", None), id="alias"
        ),
        pytest.param(
            ROUTES, MESSAGES, "", "anthropic/claude-3-x", ("*", "first", "x"), id="no such alias"
        ),
        pytest.param(
            ROUTES, NATIVE, "/v1beta/files", None, ("native", "google", None), id="native"
        ),
        pytest.param(
            ROUTES, NATIVE_MODEL, NATIVE_PATH, None, ("native", "google", None), id="native model"
        ),
    ],
)
def test_choose(
    routes: Routes,
    kind: PathKind,
    path: str,
    model: str | None,
    expected: tuple[str, str, str | None],
) -> None:
    """First match wins; what names no model goes by the last star, and keeps its body."""
    got = choose(routes, WIDE, kind, path, Ask(model) if model is not None else NO_ASK)

    assert expected == (got.label, got.upstream, got.rename)


NARROW = client("claude-*")


@pytest.mark.parametrize(
    ("routes", "who", "kind", "path", "model", "expected"),
    [
        pytest.param(
            NO_STAR, WIDE, MESSAGES, "", "gpt", faults.no_route("gpt"), id="no route for a model"
        ),
        pytest.param(NO_STAR, WIDE, MESSAGES, "", None, faults.NOT_FOUND, id="no star"),
        pytest.param(NO_STAR, WIDE, NATIVE, "/v1beta/x", None, faults.NOT_FOUND, id="no Gemini"),
        pytest.param(
            NO_STAR,
            WIDE,
            NATIVE_MODEL,
            NATIVE_PATH,
            None,
            faults.no_route("gemini-x"),
            id="no Gemini for a model",
        ),
        pytest.param(
            ROUTES, NARROW, MESSAGES, "", "gpt", faults.scope("this model"), id="not its model"
        ),
        pytest.param(
            ROUTES,
            NARROW,
            NATIVE_MODEL,
            NATIVE_PATH,
            None,
            faults.scope("this model"),
            id="not its model, native",
        ),
        pytest.param(
            ROUTES,
            NARROW,
            MESSAGES,
            "",
            None,
            faults.request("model: this key needs a body that names one"),
            id="which model",
        ),
    ],
)
def test_refused(
    routes: Routes, who: Client, kind: PathKind, path: str, model: str | None, expected: Fault
) -> None:
    """A model without a route, or not open to the client, is refused and never guessed."""
    ask = NO_ASK if model is None else Ask(model)

    assert expected == fault_of(lambda: choose(routes, who, kind, path, ask))


def test_google_words() -> None:
    """The list of models is Google's for who shows the key as Google wants it."""
    assert speaks_google("/v1/models", google_key=True)
    assert speaks_google("/v1/models/gemini-x", google_key=True)
    assert not speaks_google("/v1/models", google_key=False)
    assert not speaks_google("/v1/messages", google_key=True)


def test_open_models() -> None:
    """A client with a list gets the models that are on it, and the list of models."""
    aliased = choose(ROUTES, client("gemini-*"), MESSAGES, "", Ask("anthropic/gemini-x"))
    by_alias = choose(ROUTES, client("anthropic/*"), MESSAGES, "", Ask("anthropic/gemini-x"))
    assert "google" == aliased.upstream == by_alias.upstream
    got = choose(ROUTES, NARROW, MESSAGES, "", Ask("claude-4"))
    listed = choose(ROUTES, NARROW, MODELS, "/v1/models", NO_ASK)

    assert ("new", "last") == (got.upstream, listed.upstream)
