"""What passgate is made of and what it does unasked: nothing at import, nobody called."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUPPLY = ROOT / "tools" / "supply.py"
DIRECT = [
    re.split(r"[<>=]", line)[0]
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
]
DECISIONS = "".join(page.read_text() for page in (ROOT / "docs" / "adr").glob("0*.md"))
LOCK = (ROOT / "requirements" / "run.txt").read_text()


def supply(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tool; what it needs is there where developers work."""
    return subprocess.run(  # noqa: S603  our own program
        [sys.executable, str(SUPPLY), *arguments], capture_output=True, text=True, check=False
    )


# What is locked.


def test_few_dependencies() -> None:
    """At most nine direct ones."""
    assert 0 < len(DIRECT) <= 9


@pytest.mark.parametrize("name", DIRECT)
def test_each_is_justified(name: str) -> None:
    """A decision says what each is for and what was left instead."""
    assert re.search(rf"\| \*\*{re.escape(name)}\*\* \|", DECISIONS)


def test_everything_is_locked_by_hash() -> None:
    """Each line of the lock names one version and its hashes, and no index or URL."""
    entries = re.split(r"\n(?=\S)", LOCK)
    pinned = [entry for entry in entries if not entry.startswith("#") and entry.strip()]

    assert len(pinned) >= len(DIRECT)
    assert all(re.match(r"[a-z0-9.-]+==\S+", entry) for entry in pinned)
    assert all("--hash=sha256:" in entry for entry in pinned)
    assert "://" not in LOCK


def test_licences() -> None:
    """Each licence is one that may be given away with ours."""
    told = supply("licences")

    assert (0, "") == (told.returncode, told.stderr)
    assert set(DIRECT) <= set(re.findall(r"^  (\S+) ", told.stdout, re.MULTILINE))


def test_a_licence_that_is_not_allowed(tmp_path: Path) -> None:
    """One that nobody has looked at fails, and so does none."""
    lenient = SUPPLY.read_text().replace('"MIT",', "")
    other = tmp_path / "tools" / "supply.py"
    other.parent.mkdir()
    other.write_text(lenient)
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    told = subprocess.run(  # noqa: S603  our own program
        [sys.executable, str(other), "licences"], capture_output=True, text=True, check=False
    )

    assert told.returncode == 1
    assert "! httptools 0" in told.stdout


# What happens unasked.

_QUIET = """
import importlib, json, pkgutil, sys, threading
seen = []
LOUD = ("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.exec", "os.fork",
        "os.system", "os.posix_spawn", "signal.", "shutil.", "sqlite3.connect", "tempfile.",
        "urllib.", "http.client.", "webbrowser.")
def hook(event, args):
    if event.startswith(LOUD):
        seen.append(event + " " + repr(args)[:200])
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append("open " + repr(args[:2]))
sys.addaudithook(hook)
import passgate
names = [m.name for m in pkgutil.walk_packages(passgate.__path__, "passgate.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps({"names": len(names), "seen": seen, "threads": threading.active_count()}))
"""


def test_imports_do_nothing() -> None:
    """To import every module opens no socket, starts nothing and writes nothing."""
    told = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-B", "-W", "error", "-c", _QUIET],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(told.stdout)

    assert found["names"] > 60
    assert (found["seen"], found["threads"]) == ([], 1)


_COUNTED = """
import fcntl, socket, struct, subprocess, sys
with socket.socket() as up:  # loopback is down in a new network
    fcntl.ioctl(up, 0x8914, struct.pack("16sh", b"lo", 1 | 64))
def routeless():
    names, values = [l.split() for l in open("/proc/net/snmp") if l.startswith("Ip:")]
    six = [l.split() for l in open("/proc/net/snmp6") if l.startswith("Ip6OutNoRoutes")]
    return int(values[names.index("OutNoRoutes")]) + sum(int(value) for _, value in six)
before = routeless()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(done, routeless() - before)
"""


def alone(*command: str) -> tuple[int, int]:
    """Run a command where there is loopback alone; return its status, and its calls outside."""
    told = subprocess.run(  # noqa: S603  our own programs
        ["unshare", "--net", sys.executable, "-c", _COUNTED, *command],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in told.stderr:
        pytest.skip("no network of its own can be made here")
    status, calls = told.stdout.split()
    return int(status), int(calls)


def test_nobody_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A conversation, its price and its record call nobody but the configured upstream.

    Watched by the kernel, so that a child process or a C library is seen too.
    """
    monkeypatch.setenv("PASSGATE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PASSGATE_KEY", "pg_" + "k" * 43)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "up_" + "u" * 40)
    monkeypatch.chdir(tmp_path)
    calls = "import socket; s = socket.socket({}); s.settimeout(1); s.connect_ex(('{}', 80))"

    for family, address in (("", "192.0.2.1"), ("socket.AF_INET6", "2001:db8::1")):
        assert (0, 1) == alone(sys.executable, "-c", calls.format(family, address))
    for command in ("demo", "check"):
        assert (0, 0) == alone(sys.executable, "-m", "passgate", command)
