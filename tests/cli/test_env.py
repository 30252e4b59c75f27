"""The lines to paste: right for a shell, and for what this gateway's upstreams need."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from passgate.cli import env
from passgate.core.settings import Listen

DIGEST = "ab" * 32
CLIENT = f'[[client]]\nname = "ci"\nkey_sha256 = "{DIGEST}"\n'
UPSTREAM = """
[upstream.claude]
kind = "anthropic"
base_url = "https://api.example.com"
credential = {{ kind = "{kind}" }}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``passgate env`` beside the file *text*; return status, stdout and stderr."""
    for name in ("ANTHROPIC_API_KEY", "PASSGATE_CONFIG", "PASSGATE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PASSGATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PASSGATE_KEY", "k" * 24)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, text: str = CLIENT + UPSTREAM.format(kind="none")):
        (tmp_path / "passgate.toml").write_text(text)
        parser = argparse.ArgumentParser()
        env.add_parser(parser.add_subparsers())
        args = parser.parse_args(["env", *words])
        status = args.run(args)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def in_shell(lines: str, *names: str) -> list[str]:
    """Return what *names* are in a shell in which *lines* were pasted."""
    shown = "; ".join(f'printf "%s\\n" "${name}"' for name in names)
    done = subprocess.run(  # noqa: S603  our own lines, that is the point
        ["/bin/sh", "-c", f"{lines}\n{shown}"],
        env={"PASSGATE_KEY": "the-key"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def shell_lines(page: str) -> str:
    """Return the lines of a page that are for the shell a client starts in."""
    return "\n".join(line for line in page.splitlines() if line.startswith("export "))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(
            ("ci",),
            ["http://127.0.0.1:8787", "<the key that passgate keys add ci printed>"],
            id="ci",
        ),
        pytest.param(("default",), ["http://127.0.0.1:8787", "the-key"], id="default"),
        pytest.param(
            ("default", "--key-placeholder"),
            ["http://127.0.0.1:8787", "<the key that passgate keys add default printed>"],
            id="default, with a gap",
        ),
        pytest.param(
            ("default", "--url", "https://gate.example.com/"),
            ["https://gate.example.com", "the-key"],
            id="url",
        ),
        pytest.param(
            ("default", "--url", "http://x/$(id) 'y'"),
            ["http://x/$(id) 'y'", "the-key"],
            id="quotes",
        ),
    ],
)
def test_two_lines_for_a_shell(run: Run, words: tuple[str, ...], expected: list[str]) -> None:
    """Pasted into a shell, the lines set what the client reads, whatever is in them."""
    status, out, _ = run(*words)
    got = in_shell(shell_lines(out), "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")

    assert (0, expected) == (status, got)


def test_own_credential(run: Run) -> None:
    """Where clients' own credentials pass, the gateway's key goes beside them."""
    _, out, _ = run("default", text=CLIENT + UPSTREAM.format(kind="client"))
    lines = shell_lines(out)
    got = in_shell(lines, "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_API_KEY")
    expected = ["http://127.0.0.1:8787", "x-passgate-key: the-key", ""]

    assert expected == got


def test_own_credential_of_a_client_with_a_key(run: Run) -> None:
    """A key that is not in the environment gets a line to be filled in."""
    _, out, _ = run("ci", text=CLIENT + UPSTREAM.format(kind="client"))
    got = in_shell(shell_lines(out), "ANTHROPIC_CUSTOM_HEADERS")
    expected = ["x-passgate-key: <the key that passgate keys add ci printed>"]

    assert expected == got


def test_unrouted_upstream_changes_nothing(run: Run) -> None:
    """An upstream that no model goes to does not decide how clients show themselves."""
    text = (
        CLIENT
        + UPSTREAM.format(kind="none")
        + UPSTREAM.format(kind="client").replace("claude", "other")
        + '[[route]]\nmodel = "*"\nupstream = "claude"\n'
    )
    _, out, _ = run("ci", text=text)

    assert "x-passgate-key" not in out


@pytest.mark.parametrize("kind", ["none", "client"])
def test_python_lines(run: Run, kind: str) -> None:
    """The lines for Python are Python, and the client takes every name that they use."""
    _, out, _ = run("default", text=CLIENT + UPSTREAM.format(kind=kind))
    source = out[out.index("import os") : out.index("\n// TypeScript")]
    [call] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    anthropic = pytest.importorskip("anthropic")
    taken = anthropic.Anthropic.__init__.__annotations__

    assert {each.arg for each in call.keywords} <= taken.keys()


@pytest.mark.parametrize("kind", ["none", "client"])
def test_all_clients_have_their_lines(run: Run, kind: str) -> None:
    """Claude Code, both SDKs and curl are served."""
    _, out, _ = run("ci", text=CLIENT + UPSTREAM.format(kind=kind))
    expected = ["Claude Code", "Python", "TypeScript", "curl"]

    assert expected == re.findall(
        r"^(?:#|//) .*?(Claude Code|Python|TypeScript|curl)", out, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (Listen("0.0.0.0", 1), "http://127.0.0.1:1"),  # noqa: S104  read, not bound
        (Listen("::", 1), "http://[::1]:1"),
        (Listen("2001:db8::1", 80), "http://[2001:db8::1]:80"),
        (Listen("gate", 80), "http://gate:80"),
        (Listen("gate", 0), None),
    ],
)
def test_url_of(listen: Listen, expected: str | None) -> None:
    """An address that means all addresses is no address to call."""
    assert expected == env.url_of(listen)


def test_unknown_client(run: Run) -> None:
    """A name that has no key gets no lines."""
    status, out, err = run("nobody")
    expected = (1, "", True)

    assert expected == (status, out, "no client 'nobody'" in err)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        pytest.param(("ci",), "[server]\nport = 0\n", id="port not known"),
        pytest.param(("ci", "--url", "gate:8787"), "", id="url without a scheme"),
    ],
)
def test_url_that_is_needed(run: Run, words: tuple[str, ...], text: str) -> None:
    """Where the gateway cannot know how it is reached, it has to be told."""
    status, out, err = run(*words, text=text + CLIENT + UPSTREAM.format(kind="none"))
    expected = (2, "", True)

    assert expected == (status, out, "--url" in err)


def test_configuration_that_is_not_whole_here(run: Run) -> None:
    """A credential that only the gateway's own environment has does not hold the lines back."""
    status, out, err = run("ci", text=CLIENT)
    expected = (0, True, True)

    assert expected == (status, "export ANTHROPIC_BASE_URL=" in out, "no upstream" in err)
