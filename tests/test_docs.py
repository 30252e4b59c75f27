"""What is there is documented, and what the documents say is there.

The names come from the code itself, so that a new one without its line fails here.
``tests/test_config.py`` reads the examples of ``configuration.md`` and ``credentials.md``,
``tests/test_docs_blocks.py`` runs or parses every block of code.
"""

import argparse
import ast
import inspect
import re
import shlex
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

from passgate import config
from passgate.cli import main
from passgate.core import faults
from passgate.core.exchange import Record
from passgate.core.faults import Fault
from passgate.core.settings import Limits
from passgate.edge import ledger_sql

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "passgate"
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
# What a user reads. A decision (docs/adr) tells why, a changelog what was.
MANUAL = {
    name: text
    for name, text in PAGES.items()
    if name == "README.md" or (name.startswith("docs/") and "/adr/" not in name)
}
PROTOCOL, OPERATIONS = MANUAL["docs/protocol.md"], MANUAL["docs/operations.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


def without_code(text: str) -> str:
    """Return a page's prose."""
    return SPAN.sub("", FENCE.sub("", text))


def code_of(text: str) -> str:
    """Return what a page shows as code, in blocks and in lines."""
    blocks = [block for _, block in FENCE.findall(text)]
    return "\n".join([*blocks, *SPAN.findall(FENCE.sub("", text))])


def blocks_of(text: str, *languages: str) -> list[str]:
    """Return the code blocks of a page in one of *languages*."""
    return [block for language, block in FENCE.findall(text) if language in languages]


def section_of(text: str, title: str) -> str:
    """Return one section of a page."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def unnamed(names: set[str], text: str) -> list[str]:
    """Return those of *names* that *text* does not show as code."""
    code = code_of(text)
    return sorted(n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", code))


# Names.

VARIABLE = re.compile(r"(?:PASSGATE|ANTHROPIC|CLAUDE|GEMINI|XDG)_[A-Z_]+|NO_COLOR")
# The methods of config.tables.Table that take a key.
TAKES_KEY = {"choice", "digest", "flag", "has", "instant", "peek", "price", "seconds", "table"}
TAKES_KEY |= {"tables", "text", "texts", "whole"}


def nodes(under: Path) -> Iterator[ast.AST]:
    """Return the syntax of every module under a directory, node by node."""
    for module in sorted(under.rglob("*.py")):
        yield from ast.walk(ast.parse(module.read_text()))


def variables() -> set[str]:
    """Return every environment variable that the code names."""
    texts = {n.value for n in nodes(SOURCE) if isinstance(n, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and VARIABLE.fullmatch(text)}


def keys() -> set[str]:
    """Return every table and key of the configuration file."""
    found = set(Limits.__struct_fields__)
    for node in nodes(SOURCE / "config"):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(key)), *_]):
                found |= {key} if name in TAKES_KEY else set()
            case _:
                pass
    return found


def test_variables() -> None:
    """Every environment variable that passgate reads is in the manual."""
    expected: list[str] = []

    assert len(variables()) > 10
    assert expected == unnamed(variables(), "".join(MANUAL.values()))


def test_configuration() -> None:
    """Every table and key of the file is in its page."""
    expected: list[str] = []

    assert len(keys()) > 30
    assert expected == unnamed(keys(), MANUAL["docs/configuration.md"])


def test_error_codes() -> None:
    """Every error that passgate writes stands in the protocol with its status and type.

    And the operator is told what to do about each code.
    """
    told: dict[str, str] = defaultdict(str)
    for row in section_of(PROTOCOL, "Errors that passgate writes").splitlines():
        told[row.rpartition("| `")[2].removesuffix("` |")] += row
    advised = section_of(OPERATIONS, "Error codes")
    advice = re.findall(r"^\| `(\w+)` \| [0-9]", advised, re.MULTILINE)
    every = list(errors())

    assert {fault.code for fault in every} == set(advice)
    for fault in every:
        assert f"{fault.status} " in told[fault.code].replace(";", " ").replace(",", " ")
        assert f"`{fault.kind}`" in told[fault.code] or fault.code == "http"
        assert not fault.final or "`x-should-retry: false`" in told[fault.code]


def errors() -> Iterator[Fault]:
    """Return every fault, one of each kind of those that are made with details."""
    for thing in vars(faults).values():
        if isinstance(thing, Fault):
            yield thing
        elif inspect.isfunction(thing) and inspect.signature(thing).return_annotation == "Fault":
            needed = inspect.signature(thing).parameters.values()
            hints = [each.annotation for each in needed if each.default is each.empty]
            yield thing(*(400 if hint == "int" else "x" for hint in hints))


def test_record() -> None:
    """Every field of the record is described, in its order, and no other."""
    rows = re.findall(
        r"^\| (`.*?) \|", section_of(MANUAL["docs/record.md"], "The fields"), re.MULTILINE
    )

    assert list(Record.__struct_fields__) == [name for row in rows for name in SPAN.findall(row)]


def test_ledger() -> None:
    """Every column of the ledger is described, with its type, and the version is the code's."""
    said = section_of(MANUAL["docs/ledger.md"], "Schema")
    rows = re.findall(r"^\| (`.*?) \| ([A-Z]+) \|", said, re.MULTILINE)
    told = {(name, kind) for names, kind in rows for name in SPAN.findall(names)}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        ledger_sql.migrate(connection)
        table = connection.execute("PRAGMA table_info(exchanges)").fetchall()

    assert {(name, kind) for _, name, kind, *_ in table} == told
    assert f"Version {ledger_sql.VERSION} (" in said


# Commands.


def program() -> argparse.ArgumentParser:
    """Return the command line with all its commands, as ``cli.main`` makes it."""
    parser = argparse.ArgumentParser(prog="passgate")
    parser.add_argument("--version", action="version", version="")
    commands = parser.add_subparsers()
    for name in main._COMMANDS:
        import_module(f"passgate.cli.{name}").add_parser(commands)
    return parser


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a command by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Return every command that does something, with its words."""
    for inner in below(parser).values():
        yield from commands(inner) if below(inner) else [(inner.prog, inner)]


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long options of a command."""
    return {text for action in parser._actions for text in action.option_strings if text[1] == "-"}


def test_commands() -> None:
    """Every command is in the table of commands, with all its options around it."""
    section = section_of(OPERATIONS, "Commands")
    every = dict(commands(program()))
    expected: list[str] = []
    used = options(program()).union(*map(options, every.values()))

    assert expected == [words for words in every if f"| `{words}" not in section]
    assert expected == unnamed(used, section)


def targets() -> set[str]:
    """Return the targets that ``make`` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_targets() -> None:
    """Every make target is in the manual."""
    said = re.findall(r"\bmake ([a-z -]+)", code_of("".join(MANUAL.values())))
    expected: set[str] = set()

    assert expected == targets() - {word for line in said for word in line.split()}


# A line of a shell that runs one of our programs, whatever stands before it.
OURS = re.compile(
    r"^(?:\$ )?(?:[A-Z_]+=\S* )*(?:[\w./$-]*/)?(passgate|make)(?= |$)(.*)", re.MULTILINE
)


def command_lines() -> Iterator[object]:
    """Return every line in a shell block that runs passgate or make."""
    for page, text in PAGES.items():
        for block in blocks_of(text, "sh", "bash", "shell", "console"):
            for name, rest in OURS.findall(block.replace("\\\n", " ")):
                yield pytest.param(name, rest, id=f"{page}: {name}{rest.partition('  #')[0]}")


@pytest.mark.parametrize(("name", "rest"), list(command_lines()))
def test_command_line(name: str, rest: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that a reader may paste is one that the program takes."""
    words = shlex.shlex(rest, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    given = list(takewhile(lambda word: not set(word) <= set("|&;<>()"), words))
    if name == "make":
        assert {word for word in given if "=" not in word} <= targets()
        return
    try:
        program().parse_args(given)
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_passing(page: str) -> None:
    """A command that a sentence names exists, with the options it has there."""
    for span in SPAN.findall(FENCE.sub("", PAGES[page])):
        name, *words = span.split()
        if name == "make":
            assert {word for word in words if "=" not in word} <= targets(), span
        elif name == "passgate":
            parser = program()
            for word in words:
                if word.startswith("--"):
                    assert word in options(parser), span
                elif below(parser):
                    assert word in below(parser), span
                    parser = below(parser)[word]


# Pages.


def links() -> Iterator[object]:
    """Return every link of every page that leads to a file of the project."""
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page}: {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_link(page: str, target: str) -> None:
    """A link leads to a file that is there, and to a heading in it."""
    path, _, anchor = target.partition("#")
    file = ((ROOT / page).parent / path).resolve() if path else ROOT / page

    assert file.is_relative_to(ROOT)
    assert file.exists()
    if anchor:
        titles = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text()), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def test_every_page_is_found() -> None:
    """Every page under docs is linked from another one."""
    linked = set()
    for page, text in PAGES.items():
        for path in re.findall(r"\]\(([^)#\s]+)", text):
            linked.add(((ROOT / page).parent / path).resolve())
    expected: list[str] = []

    assert expected == [p for p in PAGES if p.startswith("docs/") and ROOT / p not in linked]


def examples() -> Iterator[object]:
    """Return the TOML of every page but those that ``tests/test_config.py`` reads."""
    for page, text in PAGES.items():
        if page not in ("docs/configuration.md", "docs/credentials.md"):
            for number, block in enumerate(blocks_of(text, "toml"), 1):
                yield pytest.param(block, id=f"{page} {number}")


@pytest.mark.parametrize("text", list(examples()))
def test_example(tmp_path: Path, text: str) -> None:
    """A configuration that a page shows loads, once the files it names are there.

    What it leaves out, a client or an upstream, comes from the environment.
    """
    text = re.sub(r'(file = ")/', r"\1", text).replace("DIGEST", sha256(b"key").hexdigest())
    for path in re.findall(r'file = "([^"]+)"', text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("secret")
    (tmp_path / "passgate.toml").write_text(text)
    environ = {"PASSGATE_STATE_DIR": str(tmp_path / "state")}
    if "[[client]]" not in text:
        environ["PASSGATE_KEY"] = "k" * 40
    if "[upstream." not in text:
        environ["ANTHROPIC_API_KEY"] = "secret"
    settings = config.load(tmp_path / "passgate.toml", environ, tmp_path)

    assert settings.clients
    assert settings.upstreams


def test_tree() -> None:
    """The tree in ``architecture.md`` has every module, and no other."""
    block = section_of(MANUAL["docs/architecture.md"], "The tree").split("```")[1]
    got, inside = set(), [""]
    for indent, name in re.findall(r"^( +)([\w/.]+)", block, re.MULTILINE):
        depth = len(indent) // 2
        inside[depth:] = [name]
        if name.endswith(".py"):
            got.add("".join(inside[1:]))
    modules = {str(module.relative_to(SOURCE)) for module in SOURCE.rglob("*.py")}
    optional = {module for module in modules if module.endswith("/__init__.py")}

    assert modules - optional == got - optional
    assert got <= modules


PLACES = re.compile(
    r"(?<![\w.~])/(?:home|media|mnt|private|root|srv|tmp|work|workspace|Users)\b"
    r"|pypi\.|pythonhosted|npmjs|docker\.io|ghcr\.io|quay\.io|proxy\.golang|index-url"
    r"|(?<![\w/&])#[0-9]+\b"
)


@pytest.mark.parametrize("page", PAGES)
def test_page_speaks_of_the_project_alone(page: str) -> None:
    """No page names a path of somebody's machine, a package registry or an issue's number."""
    expected: list[str] = []

    assert expected == PLACES.findall(PAGES[page])
