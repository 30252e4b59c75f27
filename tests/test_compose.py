"""What ``compose.yaml`` and the ``Dockerfile`` say of each other, of the program and its pages.

``make image-check`` builds the image and asks it; here is what needs no engine.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from hashlib import sha256
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # it comes without types

from passgate import config
from passgate.core.settings import Limits
from tests.test_docs import variables

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICE = COMPOSE["services"]["passgate"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STATE = "/var/lib/passgate"
# What the engine knows, of what is used here: a misspelt key would be refused or, worse, ignored.
KEYS = {"build", "image", "restart", "read_only", "tmpfs", "cap_drop", "security_opt", "ports"}
KEYS |= {"volumes", "secrets", "stop_grace_period"}


def said(instruction: str) -> list[str]:
    """Return what each line of an instruction says, continued lines joined."""
    whole = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", whole, re.MULTILINE)


def test_keys() -> None:
    """It has the parts that it needs, and no other."""
    assert {"services", "secrets", "volumes"} == set(COMPOSE)
    assert {"passgate"} == set(COMPOSE["services"])
    assert set(SERVICE) == KEYS


def test_it_is_locked_down() -> None:
    """The container writes to its state alone, can gain nothing, and is no root."""
    assert SERVICE["read_only"] is True
    assert (["ALL"], ["no-new-privileges:true"]) == (SERVICE["cap_drop"], SERVICE["security_opt"])
    [user] = said("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"-o {user.split(':')[0]} -g {user.split(':')[1]} {STATE}" in DOCKERFILE


def test_ports() -> None:
    """Each port is on loopback, and the one that the image exposes."""
    exposed = said("EXPOSE")

    assert [f"127.0.0.1:{port}:{port}" for port in exposed] == SERVICE["ports"]


def test_volumes() -> None:
    """The state is a volume that is declared and that the image knows; the rest is read-only."""
    mounts = [each.split(":") for each in SERVICE["volumes"]]
    [state] = [source for source, target, *_ in mounts if target == STATE]

    assert {state} == set(COMPOSE["volumes"])
    assert [STATE] == said("VOLUME")
    assert f"PASSGATE_STATE_DIR={STATE}" in DOCKERFILE
    assert [["./passgate.toml", "/etc/passgate/passgate.toml", "ro"]] == [
        mount for mount in mounts if mount[0] != state
    ]
    assert ["/build", "/etc/passgate"] == said("WORKDIR")


def test_secrets(tmp_path: Path) -> None:
    """A secret is a file, never a value, and the configuration told of reads it."""
    told = "".join(re.findall(r"^# {5}(.*\n|\n)", TEXT, re.MULTILINE))
    [(name, secret)] = COMPOSE["secrets"].items()
    path = f"/run/secrets/{name}"
    file = tmp_path / "passgate.toml"
    assert f'file = "{path}"' in told
    (tmp_path / name).write_text("secret")
    file.write_text(told.replace(path, str(tmp_path / name)))
    environ = {"PASSGATE_KEY": "k" * 40, "PASSGATE_STATE_DIR": str(tmp_path / "state")}
    [upstream] = config.load(file, environ, tmp_path).upstreams

    assert [name] == SERVICE["secrets"]
    assert {"file": f"./secrets/{name}"} == secret
    assert f"> secrets/{name} " in TEXT
    assert upstream.credential.kind.value == "api_key"
    assert "environment" not in SERVICE
    assert sha256(b"secret").hexdigest() not in TEXT


def test_time_to_drain() -> None:
    """The engine waits for longer than the gateway does."""
    limits = Limits()
    granted_s = int(SERVICE["stop_grace_period"].removesuffix("s"))

    assert granted_s > limits.drain_delay_s + limits.drain_s


def test_image() -> None:
    """Stages that are copied from exist; the program is ours; variables are ones that it reads."""
    stages = {name for each in said("FROM") for name in re.findall(r" AS (\w+)", each)}
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert set(re.findall(r"COPY --from=(\w+)", DOCKERFILE)) == stages
    assert set(scripts) == set(json.loads(said("ENTRYPOINT")[0]))
    assert ["serve"] == json.loads(said("CMD")[-1])
    assert set(re.findall(r"\bPASSGATE_\w+", DOCKERFILE + TEXT)) <= variables()
    for copied in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split()), copied


def test_health_check() -> None:
    """The image looks at itself with a program that Python takes, at a path that needs no key."""
    [check] = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    python, option, program = json.loads(check)

    assert ("python", "-c") == (python, option)
    assert ast.parse(program)
    assert "'/health'" in program
