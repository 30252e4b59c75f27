"""What the architecture promises of the source: who imports whom, and what is nowhere.

The tables below are the ones of ``docs/architecture.md``. Every exception stands here by
name, with its reason, and an exception that is needed no more fails.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from passgate.core.credential import Credential
from passgate.core.exchange import RequestHead
from passgate.core.headers import FIND, KEPT, Origin, cut, upward
from passgate.core.settings import CredentialKind

_SRC = Path(__file__).parents[1] / "src"
_STDLIB = sys.stdlib_module_names
_EVERYTHING = ("passgate",)
_HOT_PATH = (
    "gateway/pipeline.py",
    "edge/wire/splice.py",
    "core/auth.py",
    "core/routing.py",
    "core/headers.py",
)


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the source.

    Attributes:
        place: Its path below ``passgate/``.
        tree: Its syntax.
        text: Its text.
    """

    place: str
    tree: ast.Module
    text: str

    def imports(self) -> Iterator[str]:
        """Yield the full name of all that is imported, also within functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{self.place}: a relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def names(self) -> Iterator[tuple[int, str]]:
        """Yield line and dotted name of all that is read, such as ``os.environ``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute):
                yield node.lineno, ast.unparse(node)

    def strings(self) -> Iterator[tuple[int, str]]:
        """Yield line and text of every constant, docstrings left out."""
        prose = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and id(node) not in prose:
                if isinstance(node.value, bytes):
                    yield node.lineno, node.value.decode("latin-1")
                elif isinstance(node.value, str):
                    yield node.lineno, node.value

    def code_lines(self) -> int:
        """Return how many lines are neither blank, comment nor docstring."""
        prose: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        lines = enumerate(self.text.splitlines(), 1)
        return sum(
            bool(line.strip()) and not line.lstrip().startswith("#") and number not in prose
            for number, line in lines
        )


@cache
def modules() -> tuple[Module, ...]:
    """Return every file of the source."""
    found = []
    for path in sorted((_SRC / "passgate").rglob("*.py")):
        text = path.read_text()
        place = path.relative_to(_SRC / "passgate").as_posix()
        found.append(Module(place, ast.parse(text), text))
    return tuple(found)


def below(*places: str) -> list[Module]:
    """Return the files whose place begins so."""
    found = [module for module in modules() if module.place.startswith(places)]

    assert found, places
    return found


def is_in(name: str, allowed: tuple[str, ...]) -> bool:
    """Return whether *name* is one of *allowed*, or in one of these packages."""
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


# Place -> what of ours may be imported there, and which libraries.
IMPORTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "__init__.py": ((), ()),
    "__main__.py": (("passgate.cli.main",), ()),
    "app.py": (_EVERYTHING, ()),
    "probe.py": (_EVERYTHING, ()),
    "snapshots.py": (_EVERYTHING, ()),
    "standing.py": (_EVERYTHING, ()),
    "core/": (("passgate.core",), ("msgspec",)),
    "config/": (("passgate.config", "passgate.core"), ()),
    "gateway/": (("passgate.gateway", "passgate.core"), ("msgspec",)),
    "edge/__init__.py": ((), ()),
    "edge/clock.py": ((), ()),
    "edge/codings.py": (("passgate.core",), ("brotli", "zstandard")),
    "edge/credentials.py": (("passgate.core", "passgate.gateway.interfaces"), ()),
    "edge/descriptors.py": (("passgate.gateway.interfaces",), ()),
    "edge/ledger_sums.py": ((), ()),
    "edge/ledger_report.py": (("passgate.core", "passgate.edge.ledger_sums"), ()),
    "edge/ledger_file.py": (
        ("passgate.core", "passgate.edge.ledger_journal", "passgate.edge.ledger_sql"),
        (),
    ),
    "edge/ledger_journal.py": (("passgate.core", "passgate.edge.ledger_sql"), ("msgspec",)),
    "edge/ledger_sql.py": (("passgate.core", "passgate.edge.ledger_sums"), ("msgspec",)),
    "edge/ledger_sqlite.py": (
        (
            "passgate.core",
            "passgate.gateway.interfaces",
            "passgate.edge.ledger_journal",
            "passgate.edge.ledger_sums",
            "passgate.edge.ledger_sql",
        ),
        (),
    ),
    "edge/gemini_keys.py": (("passgate.core", "passgate.gateway.interfaces"), ()),
    "edge/logs.py": (("passgate.core", "passgate.gateway.interfaces"), ("msgspec",)),
    "edge/installs.py": (("passgate.core", "passgate.gateway.interfaces"), ()),
    "edge/loop.py": ((), ("uvloop",)),
    "edge/counts.py": (("passgate.core",), ()),
    "edge/metrics.py": (
        ("passgate.__version__", "passgate.core", "passgate.edge.counts"),
        ("prometheus_client",),
    ),
    "edge/tasks.py": (("passgate.core",), ()),
    "edge/price_child.py": ((), ("genai_prices",)),
    "edge/prices.py": (("passgate.core", "passgate.gateway.interfaces"), ("msgspec",)),
    "edge/wire/": (
        ("passgate.core", "passgate.gateway.interfaces", "passgate.edge.wire"),
        ("httptools",),
    ),
    # Readiness is one value that both listeners tell; the seams hold no values.
    "admin/": (
        (
            "passgate.admin",
            "passgate.core",
            "passgate.gateway.interfaces",
            "passgate.gateway.local.Readiness",
        ),
        ("msgspec",),
    ),
    "cli/": (
        (
            "passgate.__version__",
            "passgate.app",
            "passgate.cli",
            "passgate.config",
            "passgate.core",
            "passgate.demo",
            "passgate.doctor",
            "passgate.probe",
        ),
        ("msgspec", "rich"),
    ),
    # It must not share our mistakes.
    "demo/": (("passgate.demo",), ()),
    # It looks at any gateway, and at ours as at a stranger's.
    "doctor/": (("passgate.doctor",), ()),
}


def test_every_file_has_a_place() -> None:
    """A new package or adapter is entered in the table, which is where it is thought about."""
    assert [] == [
        module.place for module in modules() if not module.place.startswith(tuple(IMPORTS))
    ]
    assert [] == [place for place in IMPORTS if not below(place)]


@pytest.mark.parametrize("place", IMPORTS)
def test_imports(place: str) -> None:
    """Dependencies point inwards: each file imports only what its place may see."""
    ours, libraries = IMPORTS[place]
    wrong = [
        f"{module.place}: {name}"
        for module in below(place)
        for name in module.imports()
        if not is_in(name, (*ours, *libraries)) and name.partition(".")[0] not in _STDLIB
    ]

    assert [] == wrong


def test_pipeline_is_seen_by_the_composition_alone() -> None:
    """Adapters are called; they do not call the pipeline, nor does anybody else."""
    seen_by = {
        module.place
        for module in modules()
        if any(is_in(name, ("passgate.gateway.pipeline",)) for name in module.imports())
    }

    assert {"app.py", "standing.py"} == seen_by


def test_one_file_for_a_library() -> None:
    """A library that does input or output is imported in one file, where it can be replaced."""
    users: dict[str, set[str]] = {}
    for module in modules():
        for name in module.imports():
            users.setdefault(name.partition(".")[0], set()).add(module.place)
    libraries = {name: files for name, files in users.items() if name not in _STDLIB}
    del libraries["passgate"], libraries["msgspec"]  # JSON is no input or output

    assert {
        "brotli": {"edge/codings.py"},
        "genai_prices": {"edge/price_child.py"},
        "httptools": {"edge/wire/answers.py", "edge/wire/heads.py"},
        "prometheus_client": {"edge/metrics.py"},
        "rich": {"cli/screen.py"},
        "uvloop": {"edge/loop.py"},
        "zstandard": {"edge/codings.py"},
    } == libraries


_NOT_IN_CORE = (
    "asyncio",
    "builtins.open",
    "concurrent",
    "ctypes",
    "http.client",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "uuid",
)


def test_core_is_pure() -> None:
    """The core waits for nothing, reads nothing, and knows neither the time nor chance."""
    wrong = []
    for module in below("core/"):
        wrong += [
            f"{module.place}: {name}" for name in module.imports() if is_in(name, _NOT_IN_CORE)
        ]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{module.place}:{node.lineno}: await")
            if isinstance(node, ast.Name) and node.id in ("open", "print", "input"):
                wrong.append(f"{module.place}:{node.lineno}: {node.id}")

    assert [] == wrong


_NOT_IN_GATEWAY = tuple(name for name in _NOT_IN_CORE if name not in ("asyncio", "http.client"))


def test_gateway_does_nothing_itself() -> None:
    """The pipeline waits, but only through its seams: no socket, file, clock or log."""
    wrong = [
        f"{module.place}: {name}"
        for module in below("gateway/")
        for name in module.imports()
        if is_in(name, _NOT_IN_GATEWAY)
    ]

    assert [] == wrong


def test_no_logging() -> None:
    """What is told is a record or a sentence for the operator; nobody keeps a log of his own."""
    assert [] == [m.place for m in modules() if any(is_in(n, ("logging",)) for n in m.imports())]


def found(*dotted: str, suffix: bool = False) -> set[str]:
    """Return where one of these names is read or imported.

    Args:
        dotted: As written, such as ``os.environ``.
        suffix: Whether what stands before the last dot does not matter.
    """
    places = set()
    for module in modules():
        names = {name for _, name in module.names()} | set(module.imports())
        if suffix:
            names = {name.rpartition(".")[2] for name in names}
        if names & set(dotted):
            places.add(module.place)
    return places


def test_environment() -> None:
    """One place reads the environment, so a setting cannot come from anywhere else."""
    assert {"config/__init__.py"} == found("os.environ", "os.environb", "os.getenv", "os.putenv")


def test_time() -> None:
    """Who needs the time is given a clock, which a test can move."""
    asked = found(
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.monotonic_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.process_time",
        "time.localtime",
        "time.gmtime",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "datetime.datetime.now",
        "datetime.date.today",
        "loop.time",
    )
    exceptions = {
        "cli/keys.py",  # a person's command happens when it is given
        "cli/ledger.py",  # likewise
        "cli/report.py",  # likewise
        "doctor/inside.py",  # a person waits for it
        "doctor/outside.py",  # likewise
        "doctor/wire.py",  # likewise
        "demo/gemini.py",  # a simulated upstream has its own clock, as a real one has
        "demo/scenes.py",  # the same
    }

    assert {"edge/clock.py"} | exceptions == asked


def test_chance() -> None:
    """Ids and keys are made at the edges, and only from the system's own source."""
    makes = found("secrets.token_hex", "secrets.token_urlsafe", "secrets.token_bytes", "uuid.uuid4")

    assert {"app.py", "snapshots.py", "cli/keys.py", "cli/simulated.py"} == makes
    assert found("random") == set()


def test_tasks() -> None:
    """A task belongs to the one owner, which keeps it, reports it and cancels it."""
    starts = found("create_task", "ensure_future", "run_coroutine_threadsafe", suffix=True)
    exceptions = {
        "probe.py",  # its tasks end with the command
    }

    assert {"edge/tasks.py"} == starts - exceptions


def test_no_print() -> None:
    """The log has stdout for itself: only a command's own words are printed."""
    wrong = [
        f"{module.place}:{node.lineno}"
        for module in modules()
        if not module.place.startswith("cli/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id in ("print", "breakpoint", "input")
    ]

    assert [] == wrong


_CHANGES = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ]
)
_MUTABLE = ("dict", "list", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict")
_CACHES = ("functools.cache", "functools.lru_cache", "functools.cached_property")


def _module_names(module: Module) -> dict[str, ast.expr | None]:
    names: dict[str, ast.expr | None] = {}
    for node in module.tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        names[name.id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node.value
    return names


def _changed(node: ast.AST) -> Iterator[str]:
    """Yield the names whose value *node* changes in place."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        if isinstance(target, ast.Subscript | ast.Attribute) and isinstance(target.value, ast.Name):
            yield target.value.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if node.func.attr in _CHANGES and isinstance(owner, ast.Name):
            yield owner.id


def test_nothing_global_moves() -> None:
    """A module holds constants, types and functions: none is ever changed, cached or rebound."""
    wrong = []
    for module in modules():
        names = _module_names(module)
        for name, value in names.items():
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in _MUTABLE
            empty = isinstance(value, ast.Dict | ast.List | ast.Set) and not ast.unparse(value)[2:]
            if made or empty:
                wrong.append(f"{module.place}: {name} waits to be filled")
        wrong += [f"{module.place}: {name}" for name in module.imports() if name in _CACHES]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Global):
                wrong.append(f"{module.place}:{node.lineno}: global")
            wrong += [
                f"{module.place}:{getattr(node, 'lineno', 0)}: {name} is changed"
                for name in _changed(node)
                if name in names and name.strip("_")[:1].isupper()
            ]

    assert [] == wrong


def test_modules_do_nothing() -> None:
    """To import a module runs nothing but definitions, so that importing cannot fail or wait."""
    quiet = (
        ast.Import
        | ast.ImportFrom
        | ast.Assign
        | ast.AnnAssign
        | ast.ClassDef
        | ast.FunctionDef
        | ast.AsyncFunctionDef
    )
    exceptions = {"__main__.py: raise SystemExit(main())"}
    wrong = set()
    for module in modules():
        for node in module.tree.body:
            guarded = isinstance(node, ast.If) and ast.unparse(node.test) in (
                "TYPE_CHECKING",
                "__name__ == '__main__'",
            )
            prose = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not (isinstance(node, quiet) or guarded or prose):
                wrong.add(f"{module.place}: {ast.unparse(node)}")

    assert exceptions == wrong


def test_hot_path_is_short() -> None:
    """What every request runs through can be read in ten minutes."""
    hot = [module for module in modules() if module.place in _HOT_PATH]
    lines = sum(module.code_lines() for module in hot)

    assert len(_HOT_PATH) == len(hot)
    assert lines < 650


# Whose credential, and in whose name: what passgate promises not to do.

_OF_THE_GATEWAY = (
    "app.py",
    "probe.py",
    "snapshots.py",
    "standing.py",
    "core/",
    "config/",
    "gateway/",
    "edge/",
    "admin/",
    "cli/",
)

# A login flow would make passgate an application that acts for somebody's account. It is
# given credentials by its operator, and gets none by itself.
_LOGIN_FLOW = (
    "/authorize",
    "authorization_code",
    "refresh_token",
    "client_id",
    "client_secret",
    "code_challenge",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "oauth/token",
    "console.anthropic.com",
    "claude.ai",
    "accounts.google.com",
    "oauth2.googleapis.com",
)
# Another program's login was given to that program, not to us.
_SAVED_LOGINS = (
    ".claude",
    ".credentials.json",
    "credentials.json",
    "claude code-credentials",
    ".codex",
    ".gemini/",
    ".config/gcloud",
    "application_default_credentials",
    ".aws/",
    ".netrc",
    "keychain",
    "find-generic-password",
    "secret-tool",
    "libsecret",
)
# What an upstream sees of a client is what the client said: passgate neither claims to be
# another program nor speaks to the model.
_IDENTITIES = (
    "user-agent",
    "claude-cli",
    "claude-code/",
    "claude code",
    "x-app",
    "x-stainless",
    "anthropic-client",
    "you are ",
    '"system"',
    "system_instruction",
    "systeminstruction",
)


def said(words: tuple[str, ...]) -> set[str]:
    """Return where the gateway's own constants hold one of *words*."""
    return {
        f"{module.place}: {word}"
        for module in below(*_OF_THE_GATEWAY)
        for _, text in module.strings()
        for word in words
        if word in text.lower()
    }


def test_no_login_flow() -> None:
    """There is no login flow, and nothing that could open one."""
    opens = [m.place for m in modules() if any(is_in(n, ("webbrowser",)) for n in m.imports())]

    assert (set(), []) == (said(_LOGIN_FLOW), opens)


def test_no_saved_logins() -> None:
    """No other program's saved login is read, and no home directory is searched for one."""
    searches = found("home", "expanduser", "expandvars", suffix=True)
    imports = {
        m.place for m in modules() if any(is_in(n, ("keyring", "netrc")) for n in m.imports())
    }

    assert (set(), set(), set()) == (said(_SAVED_LOGINS), searches, imports)


def test_no_other_identity_in_the_source() -> None:
    """No user agent, no system prompt: only ``check`` says who asks, and that it is passgate."""
    allowed = {
        "probe.py: user-agent",  # "passgate/VERSION", in the one request that is our own
        "cli/env.py: claude code",  # names the client whose settings it prints
        "config/credentials.py: claude code",  # tells the operator whose traffic a plan is for
    }

    assert said(_IDENTITIES) - allowed == set()


_ADDED = {
    CredentialKind.API_KEY: {b"host", b"x-api-key"},
    CredentialKind.BEARER: {b"host", b"authorization", b"anthropic-beta"},
    CredentialKind.CLIENT: {b"host"},
    CredentialKind.NONE: {b"host"},
}


@pytest.mark.parametrize("kind", CredentialKind, ids=lambda kind: kind.value)
def test_no_identity_is_added(kind: CredentialKind) -> None:
    """To a request is added where it goes and what shows that it may: nothing about who asks."""
    raw = b"\r\nX-Passgate-Key: k\r\nUser-Agent: mine/1.0"
    fields, known = cut(raw, FIND, KEPT)
    head = RequestHead("GET", b"/v1/models", "/v1/models", None, raw, fields, known)
    secret = b"sk-ant-oat" if kind is CredentialKind.BEARER else b""
    up = upward(head, Origin(b"a", b"", b"x-api-key"), b"k", Credential("a", kind, secret))
    names = [line.partition(b":")[0].lower() for line in up.split(b"\r\n")[1:]]

    assert _ADDED[kind] | {b"user-agent"} == set(names)
    assert up.count(b"User-Agent: mine/1.0") == len([n for n in names if n == b"user-agent"]) == 1


def test_no_pool_of_tokens() -> None:
    """An upstream is shown one credential, not one of several in turn."""
    fields = Credential.__dataclass_fields__

    assert {"name": "str", "kind": "CredentialKind", "secret": "bytes"} == {
        name: field.type for name, field in fields.items()
    }
