"""Clients' keys: shown once, kept as digests, and nothing else in the file is lost."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passgate import config
from passgate.cli import keys, keys_file
from passgate.core.settings import ClientSettings
from tests.cli.command import Command, Said

KEY = re.compile(r"pg_[A-Za-z0-9_-]{43}")
DIGEST = "ab" * 32


class Keys(Command):
    """The command, with a state directory of its own."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        super().__init__(keys, capture)
        self.state = directory / "state"
        self.file = self.state / "clients.toml"
        self.config = directory / "passgate.toml"

    def clients(self) -> tuple[ClientSettings, ...]:
        """Return the clients that a gateway would now read."""
        return config.clients_in(self.file)


@pytest.fixture
def passgate_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Keys]:
    """The command, in a directory of its own, without the environment of who runs the test."""
    for name in ("PASSGATE_KEY", "PASSGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PASSGATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield Keys(tmp_path, capsys)


def digest(said: Said) -> bytes:
    """Return the SHA-256 of the key that was shown."""
    return hashlib.sha256(said.out.strip().encode()).digest()


# add


def test_add(passgate_keys: Keys) -> None:
    """The key alone is on stdout; its SHA-256 alone is kept, in a file for nobody else."""
    said = passgate_keys("add", "ci")
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (passgate_keys.state, passgate_keys.file)
    ]
    key = said.out.removesuffix("\n")

    assert (
        0,
        True,
        (ClientSettings("ci", hashlib.sha256(key.encode()).digest()),),
        [0o700, 0o600],
        False,
    ) == (
        said.status,
        KEY.fullmatch(key) is not None,
        passgate_keys.clients(),
        modes,
        key in said.err or key in passgate_keys.file.read_text(),
    )


def test_add_says_where_and_what_next(passgate_keys: Keys) -> None:
    """Hints go to stderr, so that a script can take the key from stdout."""
    said = passgate_keys("add", "ci")
    expected = [True, True]

    assert expected == [words in said.err for words in (str(passgate_keys.file), "passgate env ci")]


def test_add_with_limits(passgate_keys: Keys) -> None:
    """Models, paths and the end of a key are kept."""
    said = passgate_keys(
        *("add", "ci", "--models", "claude-*, gemini-*", "--paths", "/v1/messages,/v1/models*"),
        *("--expires", "2999-01-31"),
    )
    end_s = datetime(2999, 1, 31, tzinfo=UTC).timestamp()

    assert (
        ClientSettings(
            "ci", digest(said), ("claude-*", "gemini-*"), ("/v1/messages", "/v1/models*"), end_s
        ),
    ) == passgate_keys.clients()


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        pytest.param("30d", timedelta(days=30), id="days"),
        pytest.param("12h", timedelta(hours=12), id="hours"),
        pytest.param("5m", timedelta(minutes=5), id="minutes"),
        pytest.param("90s", timedelta(seconds=90), id="seconds"),
        pytest.param("2w", timedelta(weeks=2), id="weeks"),
    ],
)
def test_add_that_expires(passgate_keys: Keys, when: str, expected: timedelta) -> None:
    """A span counts from now."""
    before_s = datetime.now(UTC).timestamp()
    passgate_keys("add", "ci", "--expires", when)
    [client] = passgate_keys.clients()
    assert client.expires_s is not None
    late_s = client.expires_s - before_s - expected.total_seconds()

    assert -1 <= late_s <= 10


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("add", "a b"), id="name"),
        pytest.param(("add", "x" * 65), id="long name"),
        pytest.param(("add", ""), id="no name"),
        pytest.param(("add", "ci", "--models", ""), id="no model"),
        pytest.param(("add", "ci", "--models", "a,,b"), id="empty model"),
        pytest.param(("add", "ci", "--models", "a\nb"), id="model of two lines"),
        pytest.param(("add", "ci", "--paths", "v1"), id="path"),
        pytest.param(("add", "ci", "--expires", "soon"), id="expires"),
        pytest.param(("add", "ci", "--expires", "1000000d"), id="too long"),
        pytest.param(("rotate", "ci", "--grace", "1"), id="grace without a unit"),
        pytest.param(("rotate", "ci", "--grace", "-1h"), id="negative grace"),
        pytest.param((), id="no action"),
    ],
)
def test_usage(passgate_keys: Keys, words: tuple[str, ...]) -> None:
    """What cannot be meant is a matter of usage, and changes nothing."""
    said = passgate_keys(*words)
    expected = (2, "", False)

    assert expected == (said.status, said.out, passgate_keys.file.exists())


def test_add_in_the_past(passgate_keys: Keys) -> None:
    """A key that has expired is not made."""
    said = passgate_keys("add", "ci", "--expires", "2001-01-01")
    expected = (1, "", True)

    assert expected == (said.status, said.out, "not in the future" in said.err)


def test_add_twice(passgate_keys: Keys) -> None:
    """A second key for the same name is a rotation, not an addition."""
    passgate_keys("add", "ci")
    before = passgate_keys.clients()
    said = passgate_keys("add", "ci")

    assert (1, "", True, before) == (
        said.status,
        said.out,
        "passgate keys rotate" in said.err,
        passgate_keys.clients(),
    )


# revoke


def test_revoke(passgate_keys: Keys) -> None:
    """Every entry of the name goes, every other stays."""
    passgate_keys("add", "other")
    other = passgate_keys.clients()
    passgate_keys("add", "ci")
    passgate_keys("rotate", "ci")
    said = passgate_keys("revoke", "ci")

    assert (0, "", other) == (said.status, said.out, passgate_keys.clients())


@pytest.mark.parametrize("action", ["revoke", "rotate"])
def test_unknown_name(passgate_keys: Keys, action: str) -> None:
    """A name that nobody has is said to be so, and nothing is shown or changed."""
    passgate_keys("add", "ci")
    before = passgate_keys.file.read_bytes()
    said = passgate_keys(action, "nobody")

    assert (1, "", True, before) == (
        said.status,
        said.out,
        "no client 'nobody'" in said.err,
        passgate_keys.file.read_bytes(),
    )


# rotate


def test_rotate(passgate_keys: Keys) -> None:
    """For the grace both keys are good; the new one may do what the old one may."""
    old = digest(passgate_keys("add", "ci", "--models", "claude-*", "--paths", "/v1/messages"))
    now_s = datetime.now(UTC).timestamp()
    said = passgate_keys("rotate", "ci", "--grace", "2h")
    first, second = passgate_keys.clients()
    assert first.expires_s is not None

    assert (
        0,
        True,
        ClientSettings("ci", old, ("claude-*",), ("/v1/messages",), first.expires_s),
        ClientSettings("ci", digest(said), ("claude-*",), ("/v1/messages",)),
    ) == (said.status, abs(first.expires_s - now_s - 7200) < 10, first, second)


def test_rotate_without_grace(passgate_keys: Keys) -> None:
    """A grace of nothing leaves the new key alone."""
    passgate_keys("add", "ci")
    said = passgate_keys("rotate", "ci", "--grace", "0s")

    assert (ClientSettings("ci", digest(said)),) == passgate_keys.clients()


def test_rotate_prolongs_nothing(passgate_keys: Keys) -> None:
    """A key that expires sooner than the grace keeps its end, and hands it on."""
    passgate_keys("add", "ci", "--expires", "1h")
    [before] = passgate_keys.clients()
    passgate_keys("rotate", "ci", "--grace", "24h")

    assert [before.expires_s] * 2 == [client.expires_s for client in passgate_keys.clients()]


def test_rotate_twice(passgate_keys: Keys) -> None:
    """A key that is on its way out keeps the end it has."""
    passgate_keys("add", "ci")
    passgate_keys("rotate", "ci", "--grace", "1h")
    first = passgate_keys.clients()[0]
    passgate_keys("rotate", "ci", "--grace", "24h")
    got = passgate_keys.clients()

    assert (3, first, None) == (len(got), got[0], got[2].expires_s)


def test_rotate_buries_the_dead(passgate_keys: Keys) -> None:
    """An entry of the same client that has expired goes; a client that has is told to revoke."""
    passgate_keys("add", "ci")
    alive = passgate_keys.file.read_text()
    expired = (
        f'\n[[client]]\nname = "ci"\nkey_sha256 = "{DIGEST}"\nexpires = 2001-01-01T00:00:00Z\n'
    )
    passgate_keys.file.write_text(alive + expired)
    passgate_keys("rotate", "ci")
    names = [client.digest == bytes.fromhex(DIGEST) for client in passgate_keys.clients()]
    passgate_keys.file.write_text(expired)
    said = passgate_keys("rotate", "ci")
    expected = ([False, False], 1, True)

    assert expected == (names, said.status, "has expired" in said.err)


# list


def test_list(passgate_keys: Keys) -> None:
    """A list shows what a key may do and where it stands, and never the key."""
    one = passgate_keys("add", "one", "--models", "claude-*", "--expires", "2999-01-31")
    passgate_keys("add", "two", "--paths", "/v1/messages")
    said = passgate_keys("list")
    rows = [re.split(r"\s{2,}", line) for line in said.out.splitlines()]

    assert (
        [
            ["NAME", "SHA-256", "MODELS", "PATHS", "EXPIRES", "FROM"],
            ["one", digest(one).hex()[:8], "claude-*", "*", "2999-01-31T00:00:00Z", "clients.toml"],
            ["two", rows[2][1], "*", "/v1/messages", "never", "clients.toml"],
        ],
        True,
        None,
    ) == (rows, str(passgate_keys.file) in said.err, KEY.search(said.out + said.err))


def test_list_for_programs(passgate_keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON the same, with the whole of where each stands."""
    passgate_keys("add", "ci")
    passgate_keys.config.write_text(
        f'[[client]]\nname = "mine"\nkey_sha256 = "{DIGEST}"\nexpires = 2001-01-01T00:00:00Z\n'
    )
    monkeypatch.setenv("PASSGATE_KEY", "k" * 24)
    said = json.loads(passgate_keys("list", "--format", "json").out)

    assert (
        str(passgate_keys.file),
        [
            ("ci", None, str(passgate_keys.file)),
            ("default", None, "PASSGATE_KEY"),
            ("mine", "2001-01-01T00:00:00Z", str(passgate_keys.config)),
        ],
        DIGEST[:8],
    ) == (
        said["file"],
        [(each["name"], each["expires"], each["source"]) for each in said["clients"]],
        said["clients"][2]["digest"],
    )


def test_list_of_nothing(passgate_keys: Keys) -> None:
    """Before the first key there is nothing to list, and that is no error."""
    said = passgate_keys("list")
    expected = (0, "")

    assert expected == (said.status, said.out)


# What stands elsewhere.


@pytest.mark.parametrize("action", ["add", "revoke", "rotate"])
def test_client_of_the_configuration(passgate_keys: Keys, action: str) -> None:
    """A client of passgate.toml is not touched: the operator is told which file to edit."""
    passgate_keys.config.write_text(f'[[client]]\nname = "ci"\nkey_sha256 = "{DIGEST}"\n')
    said = passgate_keys(action, "ci")
    expected = (1, "", True, ())

    assert expected == (
        said.status,
        said.out,
        f"ci stands in {passgate_keys.config}" in said.err,
        passgate_keys.clients(),
    )


def test_client_of_the_environment(passgate_keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PASSGATE_KEY makes is changed there."""
    monkeypatch.setenv("PASSGATE_KEY", "k" * 24)
    said = passgate_keys("revoke", "default")
    expected = (1, True)

    assert expected == (said.status, "made by PASSGATE_KEY" in said.err)


def test_broken_configuration_keeps_nobody_from_revoking(passgate_keys: Keys) -> None:
    """A key can be taken away whatever state passgate.toml is in."""
    passgate_keys("add", "ci")
    passgate_keys.config.write_text("[[[")
    said = passgate_keys("revoke", "ci")
    expected = (0, (), True)

    assert expected == (
        said.status,
        passgate_keys.clients(),
        f"{passgate_keys.config}: line 1" in said.err,
    )


def test_configuration_of_another_name(passgate_keys: Keys, tmp_path: Path) -> None:
    """``--config`` says which file is asked beside clients.toml."""
    (tmp_path / "x.toml").write_text(f'[[client]]\nname = "ci"\nkey_sha256 = "{DIGEST}"\n')
    said = passgate_keys("list", "--config", "x.toml")

    assert "x.toml" in said.out


# The file.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[server]\nport = 1\n", "server: unknown table", id="another table"),
        pytest.param("# mine\n", "holds comments", id="a comment"),
        pytest.param(
            f'[[client]]\nname = "a" # mine\nkey_sha256 = "{DIGEST}"\n',
            "holds comments",
            id="a comment in a line",
        ),
        pytest.param(
            f'[[client]]\nname = "a"\nkey_sha256 = "{DIGEST}"\nteam = "x"\n',
            "[[client]] number 1 team: unknown key",
            id="another key",
        ),
        pytest.param("[[client]\n", "line 1: is not TOML", id="no TOML"),
        pytest.param(
            f'[[client]]\nname = "a"\nkey_sha256 = "{DIGEST}"\n' * 2,
            "have the same key_sha256",
            id="a key twice",
        ),
    ],
)
@pytest.mark.parametrize("action", ["add", "revoke", "rotate"])
def test_what_would_be_lost(passgate_keys: Keys, action: str, text: str, expected: str) -> None:
    """A file with anything that writing it anew would drop is left as it is."""
    passgate_keys.state.mkdir()
    passgate_keys.file.write_text(text)
    said = passgate_keys(action, "a")

    assert (1, "", True, text) == (
        said.status,
        said.out,
        expected in said.err,
        passgate_keys.file.read_text(),
    )


def test_file_of_other_making(passgate_keys: Keys) -> None:
    """A file that was written by hand is taken up, whatever it looks like."""
    passgate_keys.state.mkdir()
    passgate_keys.file.write_text(
        f"client = [{{ key_sha256 = '{DIGEST.upper()}', name = 'a', models = [\n'x'\n] }}]"
    )
    passgate_keys("add", "ci")
    hand_made = ClientSettings("a", bytes.fromhex(DIGEST), ("x",))

    assert (hand_made, "ci") == (passgate_keys.clients()[0], passgate_keys.clients()[1].name)


def test_directory_that_cannot_be_written(passgate_keys: Keys, tmp_path: Path) -> None:
    """What the system refuses is told with the file's name, and no key is shown."""
    passgate_keys.state.write_text("not a directory")
    said = passgate_keys("add", "ci")
    expected = (1, "", True)

    assert expected == (said.status, said.out, str(tmp_path) in said.err)


def test_full_disk(passgate_keys: Keys) -> None:
    """Where writing fails the old file stands, nothing is left beside it, no key is shown."""
    passgate_keys("add", "one")
    before = passgate_keys.clients()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        said = passgate_keys("add", "two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert (1, "", before, ["clients.lock", "clients.toml"]) == (
        said.status,
        said.out,
        passgate_keys.clients(),
        sorted(path.name for path in passgate_keys.state.iterdir()),
    )


def test_reader_sees_the_old_file_or_the_new(passgate_keys: Keys) -> None:
    """The file is replaced, never written into: who has it open reads on in the old one."""
    passgate_keys("add", "one")
    with passgate_keys.file.open() as before:
        passgate_keys("add", "two")
        old = before.read()
    expected = (1, 2, ["clients.lock", "clients.toml"])

    assert expected == (
        old.count("[[client]]"),
        len(passgate_keys.clients()),
        sorted(path.name for path in passgate_keys.state.iterdir()),
    )


def test_writers_at_once(passgate_keys: Keys) -> None:
    """Of many that add a client at the same moment none is lost."""
    program = (
        "import argparse, sys; from passgate.cli import keys; p = argparse.ArgumentParser();"
        "keys.add_parser(p.add_subparsers()); a = p.parse_args(sys.argv[1:]); sys.exit(a.run(a))"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # noqa: TID251  a subprocess's
    names = [f"client-{number}" for number in range(6)]
    running = [
        subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-c", program, "keys", "add", name],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in names
    ]
    statuses = [process.wait(30) for process in running]

    assert ([0] * 6, names) == (statuses, sorted(each.name for each in passgate_keys.clients()))


def test_lock_that_is_never_given_back(
    passgate_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer waits for the other one, and not for ever."""
    monkeypatch.setattr(keys_file, "_LOCK_TRIES", 2)
    monkeypatch.setattr(keys_file, "_LOCK_PAUSE_S", 0.01)
    passgate_keys("add", "one")
    with (passgate_keys.state / "clients.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = passgate_keys("add", "two")
    expected = (1, "", True)

    assert expected == (said.status, said.out, "is locked" in said.err)


_GLOBS = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=3
).filter(lambda globs: not any("#" in glob for glob in globs))
_CLIENTS = st.builds(
    ClientSettings,
    name=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    digest=st.binary(min_size=32, max_size=32),
    models=_GLOBS.map(tuple),
    paths=_GLOBS.map(lambda globs: tuple(f"/{glob}" for glob in globs)),
    expires_s=st.none() | st.integers(0, 250_000_000_000).map(float),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(clients=st.lists(_CLIENTS, max_size=4, unique_by=lambda client: client.digest).map(tuple))
def test_what_is_written_is_read(tmp_path: Path, clients: tuple[ClientSettings, ...]) -> None:
    """Whatever a client may be, it comes back from the file as it was, also a second time."""
    file = tmp_path / "clients.toml"
    keys_file.change(file, lambda _: clients)
    keys_file.change(file, lambda same: same)

    assert clients == config.clients_in(file)
