"""What may import what, and what no file may do: read from the syntax trees of the source."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "passgate"
TREES = {
    path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(SOURCE.rglob("*.py"))
}
TEXTS = {name: (SOURCE / name).read_text(encoding="utf-8") for name in TREES}

# What would wait, show, or differ from one run to the next.
IMPURE = frozenset(
    [
        *("asyncio", "logging", "os", "random", "secrets", "select", "socket", "ssl"),
        *("subprocess", "threading", "time"),
    ]
)
# A library's name appears in one file, or in one package; msgspec is our JSON everywhere.
LIBRARY_OF = {"edge/loop.py": "uvloop", "edge/wire/heads.py": "httptools"}
HOT_PATH = (
    "gateway/pipeline.py",
    "edge/wire/splice.py",
    "core/auth.py",
    "core/routing.py",
    "core/headers.py",
)
HOT_PATH_LINES = 650  # ten minutes of an operator's reading
CLOCKS = {"edge/clock.py"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What the files of one package may import.

    Attributes:
        of: How the names of its files begin, relative to the source; the longest counts.
        ours: Prefixes of our modules that it may import.
        libraries: What it may import besides the standard library.
        never: What of the standard library it may not import.
    """

    of: str
    ours: tuple[str, ...]
    libraries: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


JSON = frozenset(["msgspec"])
RULES = (
    Rule("core/", ("passgate.core",), JSON, IMPURE),
    Rule("gateway/", ("passgate.core", "passgate.gateway"), JSON, IMPURE - {"asyncio"}),
    Rule("edge/", ("passgate.core", "passgate.gateway.interfaces"), JSON),
    Rule(
        "edge/wire/", ("passgate.core", "passgate.gateway.interfaces", "passgate.edge.wire"), JSON
    ),
    Rule("admin/", ("passgate.core", "passgate.gateway", "passgate.admin"), JSON),
    Rule("config/", ("passgate.core", "passgate.config")),
    Rule(
        "cli/",
        (
            *("passgate.__version__", "passgate.app", "passgate.config", "passgate.probe"),
            *("passgate.core", "passgate.demo", "passgate.cli"),
        ),
    ),
    Rule("demo/", ("passgate.demo",)),
    Rule("__main__.py", ("passgate.cli",)),
    Rule("__init__.py", ()),
    Rule("app.py", ("passgate",)),
    Rule("probe.py", ("passgate",)),
)


def imports(tree: ast.AST) -> Iterator[str]:
    """Return every module, or member of a package, that a tree imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rule_of(name: str) -> Rule:
    """Return the rule for a file."""
    return max((rule for rule in RULES if name.startswith(rule.of)), key=lambda rule: len(rule.of))


def allowed(name: str, imported: str) -> bool:
    """Return whether a file may import something."""
    rule = rule_of(name)
    root = imported.partition(".")[0]
    if root == "passgate":
        return any(f"{imported}.".startswith(f"{prefix}.") for prefix in rule.ours)
    if root in sys.stdlib_module_names:
        return root not in rule.never
    return root in rule.libraries or root == LIBRARY_OF.get(name)


def found(matches: Callable[[ast.AST], bool]) -> set[str]:
    """Return the files in whose trees a node matches."""
    return {name for name, tree in TREES.items() if any(map(matches, ast.walk(tree)))}


def attribute(*names: str) -> Callable[[ast.AST], bool]:
    """Return what finds ``module.member``, also where the member is imported by itself."""

    def matches(node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return f"{node.value.id}.{node.attr}" in names
        return isinstance(node, ast.ImportFrom) and bool(
            {f"{node.module}.{alias.name}" for alias in node.names} & set(names)
        )

    return matches


def code_lines(text: str) -> int:
    """Return how many lines hold code: not blank, comment or docstring."""
    documented = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    prose = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in empty | {tokenize.ENDMARKER}
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - prose)


@pytest.mark.parametrize("name", TREES)
def test_imports(name: str) -> None:
    """Dependencies point inwards, and a file imports nothing that its package may not."""
    expected: list[str] = []
    got = [imported for imported in imports(TREES[name]) if not allowed(name, imported)]

    assert expected == got


@pytest.mark.parametrize(
    ("name", "imported", "expected"),
    [
        ("core/auth.py", "passgate.core.faults.Refused", True),
        ("core/auth.py", "passgate.gateway.interfaces.Clock", False),
        ("core/auth.py", "time", False),
        ("core/auth.py", "asyncio.sleep", False),
        ("core/auth.py", "httptools", False),
        ("gateway/pipeline.py", "asyncio", True),
        ("gateway/pipeline.py", "passgate.edge.clock.SystemClock", False),
        ("gateway/pipeline.py", "passgate.config", False),
        ("edge/logs.py", "passgate.edge.clock.SystemClock", False),
        ("edge/logs.py", "passgate.gateway.pipeline.Pipeline", False),
        ("edge/logs.py", "uvloop", False),
        ("edge/wire/pool.py", "passgate.edge.wire.client.ClientConnection", True),
        ("edge/wire/pool.py", "passgate.edge.clock.SystemClock", False),
        ("admin/site.py", "passgate.edge.clock.SystemClock", False),
        ("cli/serve.py", "passgate.app", True),
        ("cli/serve.py", "passgate.edge.loop", False),
        ("cli/serve.py", "passgate.application", False),
        ("demo/api.py", "passgate.core.faults", False),
        ("demo/api.py", "msgspec", False),
    ],
)
def test_table(name: str, imported: str, expected: bool) -> None:  # noqa: FBT001  a table's column
    """The table says no where it should: a check that passes everything checks nothing."""
    assert expected == allowed(name, imported)


def test_only_config_reads_the_environment() -> None:
    """What an operator can set is found in one place."""
    names = "os.environ", "os.getenv", "os.environb", "os.getenvb", "os.putenv"
    expected = {"config/__init__.py"}

    assert expected == found(attribute(*names))


def test_only_the_clock_reads_the_time() -> None:
    """Time is passed in, so that a test can say what time it is."""
    names = "time.time", "time.monotonic", "time.time_ns", "time.monotonic_ns", "time.perf_counter"
    expected = CLOCKS

    assert expected == found(attribute(*names))


def test_only_the_command_line_prints() -> None:
    """Standard output holds log lines; a print in between would break who reads them."""
    calls = found(
        lambda node: (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "pprint", "breakpoint")
        )
    )
    expected: set[str] = set()

    assert expected == {name for name in calls if not name.startswith("cli/")}


def test_nothing_global_moves() -> None:
    """A container at module level is a constant, and nobody rebinds a global."""
    constant = re.compile(r"_?[A-Z][A-Za-z0-9_]*|__all__")  # constants and names of types
    containers = ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp
    makers = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter"}
    got = []
    for name, tree in TREES.items():
        for node in tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            value = node.value
            called = isinstance(value, ast.Call) and getattr(value.func, "id", "") in makers
            if not called and not isinstance(value, containers):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            words = [ast.unparse(target) for target in targets]
            got += [f"{name}: {word}" for word in words if called or not constant.fullmatch(word)]
        got += [f"{name}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    expected: list[str] = []

    assert expected == got


def test_hot_path_is_short() -> None:
    """What every request runs through can be read in ten minutes."""
    got = sum(code_lines(TEXTS[name]) for name in HOT_PATH)

    assert 0 < got < HOT_PATH_LINES


def test_code_lines() -> None:
    """Blank lines, comments and docstrings are not code; what a string holds is."""
    text = '"""Doc.\n\nMore."""\n\nA = """\nx\n"""\n# why\ndef f():\n    """Doc."""\n    return 1\n'
    expected = 5

    assert expected == code_lines(text)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"\.claude\b|\.credentials\b(?=\.json|[\"'])", id="Claude Code's own login"),
        pytest.param(r"\.codex\b|\.gemini\b/|\.netrc|application_default", id="another program's"),
        pytest.param(r"(?i)keychain|\bkeyring\b|secretservice|libsecret", id="the system's store"),
        pytest.param(r"(?i)oauth/(?:authorize|token)|claude\.ai/|/login\b", id="a login page"),
        pytest.param(r"grant_type|refresh_token|code_verifier|client_secret", id="an OAuth flow"),
        pytest.param(r"\bwebbrowser\b", id="a browser for a login"),
    ],
)
def test_no_login(pattern: str) -> None:
    """An operator hands a credential over; nothing is logged in, and no saved login is read.

    A plan's token belongs to the program that its owner logged in with. To take it from
    there, or to get one, is not what the provider's terms let a gateway do.
    """
    expected: list[str] = []

    assert expected == [name for name, text in TEXTS.items() if re.search(pattern, text)]


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        # probe.py sends requests of its own for ``check``, and says truly who it is.
        pytest.param(r"(?i)user-agent", ["probe.py"], id="user agent"),
        pytest.param(r"(?i)\bx-app\b|x-stainless|claude-cli", [], id="mark of another client"),
        pytest.param(r"(?i)you are claude|system.?prompt", [], id="system prompt"),
    ],
)
def test_no_disguise(pattern: str, where: list[str]) -> None:
    """A request stays its client's: none is dressed up as coming from another program.

    The demo's upstream plays the provider's side, which sends no request.
    """
    expected = where
    got = [
        name
        for name, text in TEXTS.items()
        if not name.startswith("demo/") and re.search(pattern, text)
    ]

    assert expected == got
