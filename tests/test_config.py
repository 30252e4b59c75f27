"""What TOML and environment become, and everything that is refused, each with its place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passgate import config
from passgate.config import ConfigError
from passgate.core.pricing import Override
from passgate.core.settings import (
    AdminSettings,
    ClientSettings,
    CredentialKind,
    CredentialSettings,
    LedgerSettings,
    Limits,
    Listen,
    RouteSettings,
    Settings,
    UpstreamKind,
    UpstreamSettings,
)

DOCS = Path(__file__).parents[1]
DIGEST = "ab" * 32
KEY = "k" * 24
PLAN_TOKEN = "-".join(("sk", "ant", "oat01", "x" * 8))

CLIENT = f"""
[[client]]
name = "ci"
key_sha256 = "{DIGEST}"
"""
UPSTREAM = """
[upstream.claude]
kind = "anthropic"
base_url = "https://api.example.com"
credential = { kind = "none" }
"""
# A certificate that signs itself, for nobody, made for this test.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUEIQEHIOseRzLWcTvRch8vy9HxrgwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAgFw0yNjExMjQwMjUyNDdaGA8yMTI2MTAzMTAyNTI0N1ow
DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcR0+QUuJth
APfVaVIW3l0UsiPghK44d9kVrXubEbTjzPTQETi+/op8OqW8pDOa0KpDgFzNIeXx
FSwovSc85EajUzBRMB0GA1UdDgQWBBS5ERvDkTpRcz45+FP8j7wtfCOwaTAfBgNV
HSMEGDAWgBS5ERvDkTpRcz45+FP8j7wtfCOwaTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIF/Nmx/ulmkG+NggVFxUaEIqxVM6f1wqT5TFuz1iBs58
AiEA7hUzK7HaemVVc4ZXY3VPgcOzxubmCSJ0Uby9VkxHU10=
-----END CERTIFICATE-----
"""


def load(tmp_path: Path, text: str | None = None, **environ: str) -> Settings:
    """Return the settings of a configuration that stands in a directory of its own."""
    if text is not None:
        (tmp_path / "passgate.toml").write_text(text)
    return config.load(None, {"PASSGATE_STATE_DIR": str(tmp_path / "state")} | environ, tmp_path)


def reload(tmp_path: Path, text: str) -> Settings:
    """Return the same as a gateway that serves reads it again."""
    file = tmp_path / "passgate.toml"
    file.write_text(text)
    environ = {"PASSGATE_STATE_DIR": str(tmp_path / "state")}
    return config.load(file, environ, tmp_path, reloading=True)


def problems_of(tmp_path: Path, text: str | None = None, **environ: str) -> list[str]:
    """Return every problem, without the directory in which the files stand."""
    try:
        load(tmp_path, text, **environ)
    except ConfigError as error:
        return [problem.replace(f"{tmp_path}/", "") for problem in error.problems]
    return []


def upstream(line: str) -> str:
    """Return a file with a client and one upstream, of which *line* replaces what it names."""
    key = line.split("=")[0].strip()
    kept = [each for each in UPSTREAM.splitlines() if not each.startswith(f"{key} ")]
    return "\n".join([CLIENT, *kept, line])


def credential(inside: str) -> str:
    """Return a file whose upstream has a credential of *inside*."""
    return upstream(f"credential = {{ {inside} }}")


# The environment alone.


def test_environment_alone_is_enough(tmp_path: Path) -> None:
    """A shared secret and one credential make a client, an upstream and a route."""
    got = load(tmp_path, PASSGATE_KEY=KEY, ANTHROPIC_API_KEY="secret")
    held = CredentialSettings(CredentialKind.API_KEY, env="ANTHROPIC_API_KEY", env_value="secret")
    state = tmp_path / "state"

    assert (
        Settings(
            clients=(ClientSettings("default", hashlib.sha256(KEY.encode()).digest()),),
            upstreams=(
                UpstreamSettings(
                    "anthropic",
                    UpstreamKind.ANTHROPIC,
                    tls=True,
                    host="api.anthropic.com",
                    port=443,
                    prefix="",
                    credential=held,
                ),
            ),
            routes=(RouteSettings("*", "anthropic"),),
            state_dir=state,
            watched=(tmp_path / "passgate.toml", state / "clients.toml"),
        )
        == got
    )


@pytest.mark.parametrize(
    ("variable", "kind"),
    [
        pytest.param("ANTHROPIC_API_KEY", CredentialKind.API_KEY, id="api key"),
        pytest.param("ANTHROPIC_AUTH_TOKEN", CredentialKind.BEARER, id="auth token"),
        pytest.param("CLAUDE_CODE_OAUTH_TOKEN", CredentialKind.BEARER, id="plan token"),
    ],
)
def test_anthropic_credential_of_the_environment(
    tmp_path: Path, variable: str, kind: CredentialKind
) -> None:
    """Each variable makes the upstream ``anthropic``, sent as that kind is sent."""
    [got] = load(tmp_path, PASSGATE_KEY=KEY, **{variable: " secret\n"}).upstreams

    assert ("anthropic", kind, variable, "secret") == (
        got.name,
        got.credential.kind,
        got.credential.env,
        got.credential.env_value,
    )


def test_gemini_key_of_the_environment(tmp_path: Path) -> None:
    """A Gemini key makes an upstream and a route of its own, before the ``*`` route."""
    got = load(tmp_path, PASSGATE_KEY=KEY, ANTHROPIC_API_KEY="secret", GEMINI_API_KEY="other")

    assert (
        ["anthropic", "gemini"],
        (RouteSettings("gemini-*", "gemini"), RouteSettings("*", "anthropic")),
        ("generativelanguage.googleapis.com", UpstreamKind.GEMINI),
    ) == (
        [each.name for each in got.upstreams],
        got.routes,
        (got.upstreams[1].host, got.upstreams[1].kind),
    )


def test_gemini_alone(tmp_path: Path) -> None:
    """Without a Messages upstream there is no ``*`` route."""
    got = load(tmp_path, PASSGATE_KEY=KEY, GEMINI_API_KEY="other")

    assert (RouteSettings("gemini-*", "gemini"),) == got.routes


@pytest.mark.parametrize("named", [True, False], ids=["named", "found by itself"])
def test_gemini_keys_file(tmp_path: Path, named: bool) -> None:  # noqa: FBT001
    """A keys file is found by its variable, or by its usual name in the working directory."""
    keys = tmp_path / ("k.txt" if named else "gemini_keys.txt")
    keys.write_text("one\n")
    environ = {"GEMINI_KEYS_FILE": "k.txt"} if named else {}
    [got] = load(tmp_path, PASSGATE_KEY=KEY, **environ).upstreams

    assert CredentialSettings(CredentialKind.API_KEY, file=keys) == got.credential


def test_key_in_the_environment_goes_before_a_found_keys_file(tmp_path: Path) -> None:
    """What is set by name counts over what is found by itself."""
    (tmp_path / "gemini_keys.txt").write_text("one\n")
    [got] = load(tmp_path, PASSGATE_KEY=KEY, GEMINI_API_KEY="other").upstreams
    expected = "GEMINI_API_KEY"

    assert expected == got.credential.env


def test_found_keys_file_beside_a_gemini_upstream(tmp_path: Path) -> None:
    """The keys file that the file's own Gemini upstream names is not found once more."""
    (tmp_path / "gemini_keys.txt").write_text("one\n")
    text = upstream('kind = "gemini"').replace(
        '{ kind = "none" }', '{ kind = "api_key", file = "gemini_keys.txt" }'
    )
    got = load(tmp_path, text)
    expected = ["claude"]

    assert expected == [each.name for each in got.upstreams]


def test_environment_says_where_to_listen(tmp_path: Path) -> None:
    """What the environment says of listeners and time counts over the file."""
    got = load(
        tmp_path,
        CLIENT + UPSTREAM + "[server]\nport = 1\nidle_s = 2\n[admin]\nport = 3\n",
        PASSGATE_HOST="10.0.0.1",
        PASSGATE_PORT="0",
        PASSGATE_ADMIN_PORT="8000",
        PASSGATE_HTTP_TIMEOUT_S="1.5",
    )

    assert (
        Listen("10.0.0.1", 0),
        Limits(first_byte_s=1.5, idle_s=1.5),
        AdminSettings(Listen("127.0.0.1", 8000)),
    ) == (got.listen, got.limits, got.admin)


def test_empty_variables_are_unset(tmp_path: Path) -> None:
    """Compose files set what is not set to nothing; that is no value and no second credential."""
    empty = dict.fromkeys(
        (
            *("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "GEMINI_API_KEY"),
            *("GEMINI_KEYS_FILE", "PASSGATE_HOST", "PASSGATE_PORT", "PASSGATE_ADMIN_PORT"),
            *("PASSGATE_HTTP_TIMEOUT_S", "PASSGATE_CONFIG"),
        ),
        "",
    )
    plain = load(tmp_path, PASSGATE_KEY=KEY, ANTHROPIC_API_KEY="secret")
    got = load(tmp_path, PASSGATE_KEY=KEY, ANTHROPIC_API_KEY="secret", **empty)

    assert plain == got


def test_port_that_kubernetes_sets(tmp_path: Path) -> None:
    """A pod beside a Service called passgate starts all the same, and says what it ignored."""
    got = load(
        tmp_path, PASSGATE_KEY=KEY, ANTHROPIC_API_KEY="secret", PASSGATE_PORT="tcp://10.0.0.1:80"
    )
    expected = (8787, 1)

    assert expected == (got.listen.port, len(got.warnings))


ENVIRONMENT_PROBLEMS = [
    pytest.param({"PASSGATE_KEY": "k" * 23}, "PASSGATE_KEY: must have at least 24", id="short key"),
    pytest.param({"PASSGATE_KEY": "k" * 23 + "é"}, "PASSGATE_KEY: holds", id="key not ASCII"),
    pytest.param({"PASSGATE_KEY": "k" * 12 + "\n" + KEY}, "PASSGATE_KEY: holds", id="two lines"),
    pytest.param(
        {"ANTHROPIC_AUTH_TOKEN": "other"},
        "ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN: are set together",
        id="two Anthropic credentials",
    ),
    pytest.param(
        {"GEMINI_API_KEY": "a", "GEMINI_KEYS_FILE": "b"},
        "GEMINI_API_KEY and GEMINI_KEYS_FILE: are set together",
        id="two Gemini credentials",
    ),
    pytest.param({"ANTHROPIC_API_KEY": "a b"}, "ANTHROPIC_API_KEY: holds", id="a space inside"),
    pytest.param({"ANTHROPIC_API_KEY": " "}, "ANTHROPIC_API_KEY: is empty", id="only a space"),
    pytest.param(
        {"GEMINI_KEYS_FILE": "gone"}, "GEMINI_KEYS_FILE: gone cannot be read", id="no keys file"
    ),
    pytest.param(
        {"GEMINI_KEYS_FILE": PLAN_TOKEN}, "GEMINI_KEYS_FILE: a secret has no", id="key, no file"
    ),
    pytest.param({"PASSGATE_PORT": "http"}, "PASSGATE_PORT: must be a port", id="port a word"),
    pytest.param({"PASSGATE_PORT": "65536"}, "PASSGATE_PORT: must be a port", id="port too high"),
    pytest.param({"PASSGATE_PORT": "٣"}, "PASSGATE_PORT: must be a port", id="port not ASCII"),
    pytest.param(
        {"PASSGATE_ADMIN_PORT": "-1"}, "PASSGATE_ADMIN_PORT: must be a port", id="admin port"
    ),
    pytest.param(
        {"PASSGATE_ADMIN_PORT": "8787"}, "passgate.toml: [server] port and [admin]", id="one port"
    ),
    pytest.param({"PASSGATE_HOST": "a:b:c:x"}, "PASSGATE_HOST: must be a host", id="host"),
    pytest.param(
        {"PASSGATE_HTTP_TIMEOUT_S": "nan"}, "PASSGATE_HTTP_TIMEOUT_S: must be", id="time nan"
    ),
    pytest.param(
        {"PASSGATE_HTTP_TIMEOUT_S": "0"}, "PASSGATE_HTTP_TIMEOUT_S: must be", id="time nought"
    ),
    pytest.param({"PASSGATE_CONFIG": "x.toml"}, "x.toml: cannot be read", id="config not there"),
]


@pytest.mark.parametrize(("environ", "expected"), ENVIRONMENT_PROBLEMS)
def test_what_the_environment_may_not_say(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    """A wrong variable is one problem, which begins with its name."""
    got = problems_of(tmp_path, **{"PASSGATE_KEY": KEY, "ANTHROPIC_API_KEY": "secret"} | environ)

    assert [expected] == [problem[: len(expected)] for problem in got]


def test_nothing_at_all(tmp_path: Path) -> None:
    """Without a key and an upstream passgate does not start, and says what to run."""
    got = problems_of(tmp_path)
    expected = ["no client key: `passgate keys add NAME`", "no upstream: set ANTHROPIC_API_KEY"]

    assert expected == [
        problem[: problem.index(" makes" if "keys" in problem else " or another")]
        for problem in got
    ]


def test_every_problem_at_once(tmp_path: Path) -> None:
    """One run tells all that is wrong, in environment and file."""
    got = problems_of(
        tmp_path, "[server]\nport = true\nhots = 1\n[ledger]\nkeep_days = 0\n", PASSGATE_PORT="x"
    )
    expected = [
        "no client key",
        "no upstream",
        "passgate.toml: [server] port",
        "passgate.toml: [server] hots",
        "PASSGATE_PORT",
        "passgate.toml: [ledger] keep_days",
    ]

    assert expected == [re.split(r": (?![\[])", problem)[0] for problem in got]


# The file.


def test_whole_file(tmp_path: Path) -> None:
    """Every key of the file arrives in the settings."""
    for name in ("token", "keys.txt", "ca.pem"):
        (tmp_path / name).write_text(CERTIFICATE if name == "ca.pem" else "secret\n")
        (tmp_path / name).chmod(0o600)
    got = load(
        tmp_path,
        f"""
        [server]
        host = "::1"
        port = 9000
        reuse_port = true
        connect_s = 1
        first_byte_s = 2.5
        idle_s = 3
        client_head_s = 4
        client_body_idle_s = 5
        client_stall_s = 6
        keep_alive_s = 7
        drain_delay_s = 0
        drain_s = 0
        max_connections = 10
        max_in_flight = 11
        max_body_memory_mb = 12

        [admin]
        host = "10.0.0.1"
        port = 9001
        key_sha256 = "{DIGEST.upper()}"
        allowed_hosts = ["Gate.example.com"]

        [[client]]
        name = "ci"
        key_sha256 = "{DIGEST}"
        models = ["claude-*"]
        paths = ["/v1/messages"]
        expires = 2027-01-31T01:00:00+01:00

        [[client]]
        name = "ci"
        key_sha256 = "{"cd" * 32}"

        [upstream.claude]
        kind = "anthropic"
        base_url = "https://[2001:db8::1]:8443/some/prefix/"
        credential = {{ kind = "bearer", file = "token" }}
        ca_file = "ca.pem"
        retry_stale = true

        [upstream.gemini]
        kind = "gemini"
        base_url = "http://10.0.0.1"
        allow_http = true
        credential = {{ kind = "api_key", command = ["pass", "gemini"], ttl_s = 60 }}
        signature_scope = "optimistic"
        strict_tools = true

        [[route]]
        model = "small"
        upstream = "claude"
        rename = "claude-small"

        [ledger]
        required = true
        keep_days = 7

        [log]
        format = "text"

        [pricing.override."gemini-9-neon"]
        provider = "google"
        input = "1.00"
        output = "6"
        cache_read = "0.1"

        [pricing.override.own]
        provider = "anthropic"
        input = "0"
        output = "0.123456789"
        cache_write = "2"
        cache_write_1h = "3"
        web_search = "14"
        """,
    )
    bearer = CredentialSettings(CredentialKind.BEARER, file=tmp_path / "token")
    command = CredentialSettings(CredentialKind.API_KEY, command=("pass", "gemini"), ttl_s=60)
    end_s = datetime(2027, 1, 31, tzinfo=UTC).timestamp()
    digest = bytes.fromhex(DIGEST)

    assert (
        Settings(
            Listen("::1", 9000, reuse_port=True),
            Limits(1, 2.5, 3, 4, 5, 6, 7, 0, 0, 10, 11, 12),
            AdminSettings(Listen("10.0.0.1", 9001, reuse_port=True), digest, ("gate.example.com",)),
            (
                ClientSettings("ci", digest, ("claude-*",), ("/v1/messages",), end_s),
                ClientSettings("ci", bytes.fromhex("cd" * 32)),
            ),
            (
                UpstreamSettings(
                    "claude",
                    UpstreamKind.ANTHROPIC,
                    tls=True,
                    host="2001:db8::1",
                    port=8443,
                    prefix="/some/prefix",
                    credential=bearer,
                    ca_file=tmp_path / "ca.pem",
                    retry_stale=True,
                ),
                UpstreamSettings(
                    "gemini",
                    UpstreamKind.GEMINI,
                    tls=False,
                    host="10.0.0.1",
                    port=80,
                    prefix="",
                    credential=command,
                    optimistic=True,
                    validates=True,
                ),
            ),
            (RouteSettings("small", "claude", "claude-small"),),
            LedgerSettings(required=True, keep_days=7),
            "text",
            (
                Override("google", "gemini-9-neon", Decimal(1), Decimal(6), Decimal("0.1")),
                Override(
                    "anthropic",
                    "own",
                    Decimal(0),
                    Decimal("0.123456789"),
                    cache_write_usd=Decimal(2),
                    cache_write_1h_usd=Decimal(3),
                    web_search_usd=Decimal(14),
                ),
            ),
            tmp_path / "state",
            watched=(tmp_path / "passgate.toml", tmp_path / "state" / "clients.toml"),
        )
        == got
    )


FILE_PROBLEMS = [
    # Strictness.
    pytest.param("[sevrer]\n", "sevrer: unknown table or key, perhaps `server`", id="table"),
    pytest.param("[server]\nprot = 1", "[server] prot: unknown key, perhaps `port`", id="key"),
    pytest.param("[admin]\nx = 1", "[admin] x: unknown key", id="admin key"),
    pytest.param("[ledger]\nx = 1", "[ledger] x: unknown key", id="ledger key"),
    pytest.param("[log]\nlevel = 1", "[log] level: unknown key", id="log key"),
    pytest.param('"a\\nb" = 1', '"a\\nb": unknown table or key', id="a key that needs quotes"),
    pytest.param("server = 1", "server: must be a table, not a whole number", id="no table"),
    pytest.param("[route]\n", "`route` must be written as [[route]]", id="one bracket"),
    pytest.param("upstream.b = 1", "[upstream] b: must be a table", id="no table of tables"),
    pytest.param("route = [1]", "`route` must be written as [[route]]", id="no tables"),
    pytest.param("[server]\nport = true", "[server] port: must be a whole number", id="bool"),
    pytest.param("[server]\nport = 1.0", "[server] port: must be a whole number", id="float"),
    pytest.param('[server]\nport = "1"', "[server] port: must be a whole number", id="text"),
    pytest.param("[server]\nport = 65536", "[server] port: must be from 0 to", id="port"),
    pytest.param("[server]\nport = -1", "[server] port: must be from 0 to", id="below 0"),
    pytest.param("[server]\nreuse_port = 1", "[server] reuse_port: must be true or", id="flag"),
    pytest.param("[server]\nhost = ''", "[server] host: must be printable text", id="empty"),
    pytest.param('[server]\nhost = "[::1]"', "[server] host: must be a host name", id="brackets"),
    pytest.param("[server]\nhost = 1", "[server] host: must be text", id="host no text"),
    pytest.param("[server]\nidle_s = 0", "[server] idle_s: must be a number of", id="no time"),
    pytest.param("[server]\nidle_s = nan", "[server] idle_s: must be a number of", id="nan"),
    pytest.param("[server]\nidle_s = inf", "[server] idle_s: must be a number of", id="inf"),
    pytest.param("[server]\nidle_s = -inf", "[server] idle_s: must be a number of", id="-inf"),
    pytest.param("[server]\nidle_s = true", "[server] idle_s: must be a number", id="bool time"),
    pytest.param(
        "[server]\nidle_s = 1" + "0" * 400, "[server] idle_s: must be a number", id="huge"
    ),
    pytest.param("[server]\ndrain_s = -1", "[server] drain_s: must be a number", id="drain"),
    pytest.param("[server]\nmax_in_flight = 0", "[server] max_in_flight: must be from 1", id="0"),
    pytest.param("[ledger]\nkeep_days = 0", "[ledger] keep_days: must be from 1", id="no days"),
    pytest.param("[ledger]\nrequired = 'x'", "[ledger] required: must be true", id="required"),
    pytest.param("[log]\nformat = 'xml'", '[log] format: must be "json" or "text"', id="format"),
    pytest.param("[log]\nformat = 1", "[log] format: must be text", id="format no text"),
    # Prices.
    pytest.param("[pricing]\nx = 1", "[pricing] x: unknown key", id="pricing key"),
    pytest.param("pricing = 1", "pricing: must be a table", id="pricing no table"),
    pytest.param("pricing.override.a = 1", "[pricing.override] a: must be a table", id="override"),
    *[
        pytest.param(
            f"[pricing.override.a]\nprovider = 'google'\noutput = '1'\ninput = {price}",
            "[pricing.override.a] input: must be an amount of USD in quotes",
            id=f"price {price}",
        )
        for price in ("1.0", "1", "'-1'", "'1e3'", "''", "'1.'", "'.5'", "'nan'", "'0.1234567891'")
    ],
    pytest.param(
        "[pricing.override.a]\nprovider = 'google'\ninput = '1'",
        "[pricing.override.a] output: is missing",
        id="half a price",
    ),
    pytest.param(
        "[pricing.override.a]\nprovider = 'gemini'\ninput = '1'\noutput = '1'",
        '[pricing.override.a] provider: must be "anthropic" or "google"',
        id="whose price",
    ),
    pytest.param(
        "[pricing.override.a]\nprovider = 'google'\ninput = '1'\noutput = '1'\ncache = '1'",
        "[pricing.override.a] cache: unknown key, perhaps `cache_read`?",
        id="price key",
    ),
    # What comes later.
    pytest.param("[limit]\n", "limit: comes in a later release", id="limit"),
    pytest.param("[[limit]]\n", "limit: comes in a later release", id="limits"),
    pytest.param("[budget]\n", "budget: comes in a later release", id="budget"),
    pytest.param("[server]\nlimit = 1", "[server] limit: comes in a later", id="limit as a key"),
    # The admin listener.
    pytest.param("[admin]\nhost = '0.0.0.0'", "[admin] key_sha256: is missing", id="open admin"),
    pytest.param("[admin]\nhost = '::'", "[admin] key_sha256: is missing", id="open admin, v6"),
    pytest.param("[admin]\nport = 8787", "[server] port and [admin] port", id="one port"),
    pytest.param("[admin]\nallowed_hosts = []", "[admin] allowed_hosts: must be", id="no host"),
    pytest.param(
        "[admin]\nallowed_hosts = ['a:1x']", "[admin] allowed_hosts: must be", id="host with port"
    ),
    # Clients.
    pytest.param("[[client]]\nname = 'x'", "[[client]] number 2 key_sha256: is", id="no digest"),
    pytest.param(
        f"[[client]]\nkey_sha256 = '{'cd' * 32}'", "[[client]] number 2 name: is", id="no name"
    ),
    pytest.param(
        "[[client]]\nname = 'x'\nkey_sha256 = 'abc'",
        "[[client]] number 2 key_sha256: must be the SHA-256",
        id="short digest",
    ),
    pytest.param(
        f"[[client]]\nname = 'a b'\nkey_sha256 = '{'cd' * 32}'",
        "[[client]] number 2 name: must be 1 to 64",
        id="name",
    ),
    pytest.param(CLIENT, '[[client]] "ci" and "ci": have the same key', id="client twice"),
    pytest.param(
        CLIENT.replace("ci", "me"), '[[client]] "ci" and "me": have the same', id="key twice"
    ),
    # Routes.
    pytest.param(
        "[[route]]\nmodel = '*'\nupstream = 'x'", "[[route]] number 1 upstream: there", id="route"
    ),
    pytest.param(
        "[[route]]\nupstream = 'claude'", "[[route]] number 1 model: is missing", id="no model"
    ),
    pytest.param("[[route]]\nmodel = '*'", "[[route]] number 1 upstream: is", id="nowhere"),
    pytest.param(
        "[[route]]\nmodel = '*'\nupstream = 'claude'\nlimit = 1",
        "[[route]] number 1 limit: comes in a later",
        id="limit of a route",
    ),
    # What does not parse.
    pytest.param("[server\n", "line 10: is not TOML: Expected ']'", id="no TOML"),
    pytest.param("[x]\ny = [", "line 11: is not TOML: ", id="no end"),
    pytest.param("[server]\n[server]", "line 11: is not TOML: Cannot declare", id="table twice"),
    pytest.param("x = " + "[" * 9999, "is not TOML that can be read", id="too deep"),
    pytest.param("x = " + "9" * 9999, "is not TOML that can be read", id="too long a number"),
]


@pytest.mark.parametrize(("more", "expected"), FILE_PROBLEMS)
def test_what_a_file_may_not_say(tmp_path: Path, more: str, expected: str) -> None:
    """What is wrong in a file is one problem, which begins with file, table and key."""
    text = CLIENT + UPSTREAM
    got = problems_of(tmp_path, text + more if more.strip().startswith("[") else more + text)
    if not expected.startswith('[[client]] "'):  # two entries may stand in two files
        expected = f"passgate.toml: {expected}"

    assert [expected] == [problem[: len(expected)] for problem in got]


CLIENT_PROBLEMS = [
    pytest.param("key = 'x'", "key: a secret has no place", id="key"),
    pytest.param("token = 'x'", "token: a secret has no place", id="token"),
    pytest.param("limit = {}", "limit: comes in a later release", id="limit"),
    pytest.param("budget = 3", "budget: comes in a later release", id="budget"),
    pytest.param("models = []", "models: must be an array", id="no model"),
    pytest.param("models = 'x'", "models: must be an array of texts", id="models no array"),
    pytest.param("models = ['x', 1]", "models: must be an array", id="model no text"),
    pytest.param("models = ['']", "models: must be an array", id="empty model"),
    pytest.param("paths = ['v1']", "paths: must begin with", id="path"),
    pytest.param("expires = 2027-01-31", "expires: must be a date and time", id="date only"),
    pytest.param(
        "expires = 2027-01-31T00:00:00", "expires: must be a date and time", id="no offset"
    ),
    pytest.param("expires = 1", "expires: must be a date and time", id="expires no date"),
]


@pytest.mark.parametrize(("line", "expected"), CLIENT_PROBLEMS)
@pytest.mark.parametrize("file", ["passgate.toml", "state/clients.toml"])
def test_what_a_client_may_not_be(tmp_path: Path, file: str, line: str, expected: str) -> None:
    """Both files that hold clients are judged by the same rules."""
    (tmp_path / "state").mkdir()
    (tmp_path / "passgate.toml").write_text(UPSTREAM)
    with (tmp_path / file).open("a") as out:
        out.write(f"{CLIENT}{line}\n")
    expected = f"{file}: [[client]] number 1 {expected}"

    assert [expected] == [problem[: len(expected)] for problem in problems_of(tmp_path)]


UPSTREAM_PROBLEMS = [
    pytest.param(upstream("kind = 'openai'"), 'kind: must be "anthropic" or "gemini"', id="kind"),
    pytest.param(upstream("credential = 'x'"), "credential: a secret has no place", id="raw"),
    pytest.param(
        upstream("strict_tools = true"), "strict_tools: is for an upstream of kind", id="of Gemini"
    ),
    pytest.param(
        upstream("signature_scope = 'strict'"), "signature_scope: is for an upstream", id="scope"
    ),
    pytest.param(upstream("credential = 1"), "credential: must be a table", id="no table"),
    pytest.param(upstream("token = 'x'"), "token: a secret has no place", id="raw token"),
    pytest.param(upstream("limit = 1"), "limit: comes in a later release", id="limit"),
    pytest.param(upstream("kidn = 1"), "kidn: unknown key, perhaps `kind`", id="unknown"),
    pytest.param(upstream("ca_file = 'x'"), "ca_file: x cannot be read", id="no ca_file"),
    pytest.param(
        upstream("ca_file = 'passgate.toml'"), "ca_file: passgate.toml holds no", id="bad ca_file"
    ),
    pytest.param(upstream("base_url = 'http://10.0.0.1'"), "base_url: is http", id="http"),
    pytest.param(upstream("base_url = 'http://127.1'"), "base_url: is http", id="short loopback"),
    pytest.param(
        upstream("base_url = 'http://localhost.example.com'"),
        "base_url: is http",
        id="no localhost",
    ),
    *(
        pytest.param(upstream(f"base_url = {url!r}"), "base_url: must be https://", id=url)
        for url in (
            "api.example.com",
            "ftp://example.com",
            "https://",
            "https://u@example.com",
            "https://u:p@example.com",
            "https://example.com?x=1",
            "https://example.com/#x",
            "https://example.com/a//b",
            "https://example.com/a/../b",
            "https://example.com/.",
            "https://example.com/a%20b",
            "https://example.com:",
            "https://exämple.com",
            "https://a..b",
            "https://example.com /",
            "https://::1",
        )
    ),
    pytest.param(upstream("base_url = 'https://h:0'"), "base_url: its port must", id="port 0"),
    pytest.param(upstream("base_url = 'https://h:65536'"), "base_url: its port must", id="65536"),
    pytest.param(upstream("base_url = 'https://[1.2]'"), "base_url: holds something", id="no v6"),
]


@pytest.mark.parametrize(("text", "expected"), UPSTREAM_PROBLEMS)
def test_what_an_upstream_may_not_be(tmp_path: Path, text: str, expected: str) -> None:
    """What is wrong with an upstream is one problem, and makes its routes no second one."""
    expected = f"passgate.toml: [upstream.claude] {expected}"
    routed = text + "\n[[route]]\nmodel = '*'\nupstream = 'claude'\n"

    assert [expected] == [problem[: len(expected)] for problem in problems_of(tmp_path, routed)]


CREDENTIAL_PROBLEMS = [
    pytest.param("kind = 'x'", ".credential] kind: must be", id="kind"),
    pytest.param("env = 'HELD'", ".credential] kind: is missing", id="no kind"),
    pytest.param("kind = 'federated', rule = 1", ".credential] kind: `federated`", id="federated"),
    pytest.param("kind = 'api_key'", ".credential]: needs exactly one", id="no source"),
    pytest.param(
        "kind = 'api_key', env = 'HELD', file = 'held'", ".credential]: needs exactly", id="two"
    ),
    pytest.param("kind = 'none', env = 'HELD'", ".credential] env: has no place", id="none + env"),
    pytest.param(
        "kind = 'client', file = 'held'", ".credential] file: has no place", id="client + file"
    ),
    pytest.param(
        "kind = 'api_key', env = 'UNSET'",
        ".credential] env: the environment variable UNSET is",
        id="unset",
    ),
    pytest.param(
        "kind = 'api_key', env = 'EMPTY'",
        ".credential] env: the environment variable EMPTY is",
        id="empty",
    ),
    pytest.param(
        "kind = 'api_key', env = 'a-b'", ".credential] env: must be the name", id="no variable"
    ),
    pytest.param(
        "kind = 'api_key', file = 'gone'", ".credential] file: gone cannot be read", id="no file"
    ),
    pytest.param(
        "kind = 'api_key', file = 'state'", ".credential] file: state is not a file", id="directory"
    ),
    pytest.param(
        f"kind = 'api_key', file = '{PLAN_TOKEN}'", ".credential] file: a secret", id="raw in file"
    ),
    pytest.param(
        "kind = 'api_key', env = 'HELD', ttl_s = 1", ".credential] ttl_s: is for", id="ttl_s"
    ),
    pytest.param(
        "kind = 'api_key', command = ['x'], ttl_s = 0", ".credential] ttl_s: must be", id="ttl 0"
    ),
    pytest.param(
        "kind = 'api_key', command = 'x'", ".credential] command: must be an array", id="shell"
    ),
    *(
        pytest.param(
            f"kind = 'api_key', env = 'HELD', {key} = 'x'",
            f".credential] {key}: a secret has no place",
            id=f"raw {key}",
        )
        for key in ("value", "key", "token", "secret", "api_key", "password")
    ),
]


@pytest.mark.parametrize(("inside", "expected"), CREDENTIAL_PROBLEMS)
def test_what_a_credential_may_not_be(tmp_path: Path, inside: str, expected: str) -> None:
    """A credential names its kind and exactly one source, and never holds the secret."""
    (tmp_path / "state").mkdir()
    got = problems_of(tmp_path, credential(inside), HELD="secret", EMPTY=" ")
    expected = f"passgate.toml: [upstream.claude{expected}"

    assert ([expected], False) == (
        [problem[: len(expected)] for problem in got],
        any(PLAN_TOKEN in problem for problem in got),
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://h", (True, "h", 443, ""), id="plain"),
        pytest.param("https://h/", (True, "h", 443, ""), id="slash at the end"),
        pytest.param("https://h:1/a/b", (True, "h", 1, "/a/b"), id="port and path"),
        pytest.param("https://my_host.", (True, "my_host.", 443, ""), id="underscore, last dot"),
        pytest.param("https://10.0.0.1", (True, "10.0.0.1", 443, ""), id="address"),
        pytest.param("http://localhost:11434", (False, "localhost", 11434, ""), id="localhost"),
        pytest.param("http://127.9.9.9", (False, "127.9.9.9", 80, ""), id="127.0.0.0/8"),
        pytest.param("http://[::1]", (False, "::1", 80, ""), id="::1"),
    ],
)
def test_base_url(tmp_path: Path, url: str, expected: tuple[object, ...]) -> None:
    """A base URL is cut into TLS, host, port and prefix; http needs no leave on loopback."""
    [got] = load(tmp_path, upstream(f'base_url = "{url}"')).upstreams

    assert expected == (got.tls, got.host, got.port, got.prefix)


def test_raw_secrets_are_not_repeated(tmp_path: Path) -> None:
    """A secret that stands where it must not is refused without being shown."""
    secret = "s3cr3t" * 8
    text = f"""
    [admin]
    key_sha256 = "{secret}"
    [[client]]
    name = "a"
    key_sha256 = "{secret}"
    key = "{secret}"
    [upstream.a]
    kind = "{secret}"
    base_url = "https://{secret}@h"
    credential = "{secret}"
    [upstream.b]
    kind = "anthropic"
    base_url = "https://h"
    credential = {{ kind = "api_key", env = "{secret}-", value = "{secret}" }}
    """
    got = problems_of(tmp_path, text)
    expected = (8, False)

    assert expected == (len(got), any(secret in problem for problem in got))


# Environment, file and clients.toml together.


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        pytest.param(
            CLIENT.replace("ci", "default") + UPSTREAM,
            {"PASSGATE_KEY": KEY},
            '[[client]] "default": is also made by PASSGATE_KEY',
            id="client",
        ),
        pytest.param(
            CLIENT + UPSTREAM.replace("claude", "anthropic"),
            {"ANTHROPIC_API_KEY": "x"},
            "passgate.toml: [upstream.anthropic] is also made by ANTHROPIC_API_KEY",
            id="upstream",
        ),
        pytest.param(
            CLIENT + UPSTREAM.replace("claude", "gemini"),
            {"GEMINI_KEYS_FILE": "passgate.toml"},
            "passgate.toml: [upstream.gemini] is also made by GEMINI_KEYS_FILE",
            id="upstream by a file",
        ),
    ],
)
def test_same_name_in_environment_and_file(
    tmp_path: Path, text: str, environ: dict[str, str], expected: str
) -> None:
    """A name that environment and file both make is refused: neither counts over the other."""
    got = problems_of(tmp_path, text, **environ)

    assert [expected] == [problem[: len(expected)] for problem in got]


def test_variable_that_the_file_names(tmp_path: Path) -> None:
    """A variable that the file takes a credential from makes no upstream beside it."""
    text = credential("kind = 'api_key', env = 'ANTHROPIC_API_KEY'").replace("claude", "anthropic")
    got = load(tmp_path, text, ANTHROPIC_API_KEY="secret")
    expected = [("anthropic", "api.example.com", "secret")]

    assert expected == [(each.name, each.host, each.credential.env_value) for each in got.upstreams]


def test_clients_file_is_merged(tmp_path: Path) -> None:
    """Clients of both files and of the environment stand beside each other."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "clients.toml").write_text(CLIENT.replace("ab", "cd").replace("ci", "me"))
    got = load(tmp_path, CLIENT + UPSTREAM, PASSGATE_KEY=KEY)
    expected = ["default", "ci", "me"]

    assert expected == [client.name for client in got.clients]


def test_clients_file_holds_clients_only(tmp_path: Path) -> None:
    """A listener in clients.toml is a mistake, not a setting."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "clients.toml").write_text("[server]\nport = 1\n")
    expected = ["state/clients.toml: server: unknown table or key"]

    assert expected == problems_of(tmp_path, CLIENT + UPSTREAM)


def test_broken_clients_file_is_the_only_problem(tmp_path: Path) -> None:
    """No client is missed where they could not be read."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "clients.toml").write_bytes(b"# \xff\n")
    expected = ["state/clients.toml: line 1: is not UTF-8"]

    assert expected == problems_of(tmp_path, UPSTREAM)


def test_expired_clients_stay(tmp_path: Path) -> None:
    """Whether a key has expired is asked at each request, not at the start."""
    got = load(tmp_path, CLIENT + "expires = 2001-01-01T00:00:00Z\n" + UPSTREAM)
    expected = [978307200.0]

    assert expected == [client.expires_s for client in got.clients]


def test_path_on_the_command_line_counts_over_the_variable(tmp_path: Path) -> None:
    """``--config`` counts over ``PASSGATE_CONFIG``, and relative paths are relative to the file."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text("secret")
        text = credential("kind = 'bearer', file = 'token'").replace("ci", name)
        (tmp_path / name / "x.toml").write_text(text)
    environ = {"PASSGATE_CONFIG": "one/x.toml", "PASSGATE_STATE_DIR": "state"}
    by_variable = config.load(None, environ, tmp_path)
    by_path = config.load(Path("two/x.toml"), environ, tmp_path)

    assert [
        ("one", tmp_path / "one/token", tmp_path / "state"),
        ("two", tmp_path / "two/token", tmp_path / "state"),
    ] == [
        (each.clients[0].name, each.upstreams[0].credential.file, each.state_dir)
        for each in (by_variable, by_path)
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"PASSGATE_STATE_DIR": "/s", "HOME": "/h"}, "/s", id="named"),
        pytest.param({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/passgate", id="XDG"),
        pytest.param(
            {"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/passgate", id="relative XDG"
        ),
        pytest.param({"HOME": "/h"}, "/h/.local/state/passgate", id="home"),
        pytest.param({}, "/var/lib/passgate", id="no home"),
    ],
)
def test_state_dir(environ: dict[str, str], expected: str) -> None:
    """State lives where it is told to, else where the XDG specification says."""
    assert Path(expected) == config.state_dir(environ)


# Routes.


def test_routes_are_taken_as_they_are(tmp_path: Path) -> None:
    """A file with routes gets no route beside them, also where it has none in the list."""
    got = load(tmp_path, "route = []\n" + CLIENT + UPSTREAM)
    expected = ()

    assert expected == got.routes


def test_usual_routes_of_a_file(tmp_path: Path) -> None:
    """Without routes every model goes to the first upstream of its kind, and that is said."""
    more = UPSTREAM.replace("claude", "google").replace('"anthropic"', '"gemini"')
    got = load(tmp_path, CLIENT + UPSTREAM + more + UPSTREAM.replace("claude", "b"))

    assert (
        (RouteSettings("gemini-*", "google"), RouteSettings("*", "claude")),
        ["[[route]]: there is none"],
    ) == (got.routes, [warning.split(",")[0] for warning in got.warnings])


# Warnings.


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        pytest.param(None, {"CLAUDE_CODE_OAUTH_TOKEN": "x"}, id="the variable"),
        pytest.param(None, {"ANTHROPIC_AUTH_TOKEN": PLAN_TOKEN}, id="a token in another variable"),
        pytest.param(
            credential("kind = 'bearer', env = 'CLAUDE_CODE_OAUTH_TOKEN'"),
            {"CLAUDE_CODE_OAUTH_TOKEN": "x"},
            id="the variable, by the file",
        ),
        pytest.param(
            credential("kind = 'bearer', env = 'MINE'"), {"MINE": PLAN_TOKEN}, id="a token by env"
        ),
        pytest.param(credential("kind = 'bearer', file = 'token'"), {}, id="a token in a file"),
    ],
)
def test_notice_of_a_plan_token(tmp_path: Path, text: str | None, environ: dict[str, str]) -> None:
    """Whoever lends a plan's token to the gateway is told what Anthropic's terms allow."""
    (tmp_path / "token").write_text(f" {PLAN_TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    [got] = load(tmp_path, text, PASSGATE_KEY=KEY, **environ).warnings
    expected = ("only: serve no other people's traffic", False)

    assert expected == (
        got[got.index("only: ") : got.index(" with it")],
        PLAN_TOKEN in got,
    )


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0), (0o640, 0), (0o644, 1)], ids=["owner", "group", "all"]
)
def test_readable_credential_file(tmp_path: Path, mode: int, expected: int) -> None:
    """A credential that every user can read is worth a warning, and no more.

    It names no file: a client with a key sees it at ``/ready``.
    """
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(mode)
    got = load(tmp_path, credential("kind = 'api_key', file = 'token'"), GEMINI_KEYS_FILE="token")
    named = [warning for warning in got.warnings if str(tmp_path) in warning or "token" in warning]

    assert (2 * expected, []) == (len(got.warnings), named)


def test_base_url_that_ends_in_v1(tmp_path: Path) -> None:
    """A prefix that request paths begin with again is most likely a mistake."""
    got = load(tmp_path, upstream('base_url = "https://h/v1"'))
    expected = 1

    assert expected == len(got.warnings)


# A reload.


def test_reload_without_the_credential_file(tmp_path: Path) -> None:
    """A key is taken away even while a credential's file is gone: its last value is held."""
    got = reload(tmp_path, credential("kind = 'api_key', file = 'gone'"))
    expected = (["claude"], 1)

    assert expected == ([each.name for each in got.upstreams], len(got.warnings))


def test_reload_without_a_client(tmp_path: Path) -> None:
    """The last client can be taken away: refusing that would keep its key good."""
    got = reload(tmp_path, UPSTREAM)
    expected = ((), 1)

    assert expected == (got.clients, len(got.warnings))


# What the command line asks for.


def test_clients_by_source(tmp_path: Path) -> None:
    """Clients can be listed by where they stand, whatever else is wrong with the file."""
    (tmp_path / "state").mkdir()
    kept = tmp_path / "state" / "clients.toml"
    kept.write_text(CLIENT.replace("ab", "cd").replace("ci", "me"))
    (tmp_path / "passgate.toml").write_text(CLIENT + "[sevrer]\n")
    environ = {"PASSGATE_STATE_DIR": str(kept.parent), "PASSGATE_KEY": KEY}
    got = config.clients_by_source(None, environ, tmp_path)

    assert {
        "PASSGATE_KEY": ["default"],
        str(tmp_path / "passgate.toml"): ["ci"],
        str(kept): ["me"],
    } == {source: [client.name for client in group] for source, group in got.items()}


# Whatever is written, in whatever place.


def _literals() -> st.SearchStrategy[str]:
    plain = st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(
            lambda text: json.dumps(text, ensure_ascii=False)
        ),
        st.integers().map(str),
        st.floats().map(lambda value: repr(value).replace("e+", "e")),
        st.sampled_from(["true", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "''", "0x_"]),
        st.sampled_from(["1979-05-27T07:32:00", '"\\u0000"', '"none"', '"client"', '"api_key"']),
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
            st.dictionaries(
                st.sampled_from(["kind", "env", "file", "name", "model", "upstream", "x"]),
                inner,
                max_size=3,
            ).map(lambda each: "{" + ", ".join(f"{k} = {v}" for k, v in each.items()) + "}"),
        ),
        max_leaves=6,
    )


PLACES = [
    *("server", "admin", "client", "upstream", "route", "ledger", "log", "limit", '""'),
    *(f"server.{key}" for key in ("host", "port", "reuse_port", "idle_s", "max_in_flight", "x")),
    *(f"admin.{key}" for key in ("host", "port", "key_sha256", "allowed_hosts")),
    *(f"upstream.a.{key}" for key in ("kind", "base_url", "credential", "ca_file", "allow_http")),
    *(f"upstream.a.credential.{key}" for key in ("kind", "env", "file", "command", "ttl_s")),
    *("upstream.a", "ledger.required", "ledger.keep_days", "log.format"),
]
ROWS = [
    *(f"client.{key}" for key in ("name", "key_sha256", "models", "paths", "expires")),
    *(f"route.{key}" for key in ("model", "upstream", "rename")),
]


def survives(tmp_path: Path, text: bytes, **environ: str) -> bool:
    """Return whether *text* loads, or is refused with problems that a terminal can show."""
    file = tmp_path / "any.toml"
    file.write_bytes(text)
    try:
        config.load(file, {"PASSGATE_STATE_DIR": str(tmp_path)} | environ, tmp_path)
    except ConfigError as error:
        return bool(error.problems) and all(problem.isprintable() for problem in error.problems)
    return True


ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ANY
@given(lines=st.dictionaries(st.sampled_from(PLACES), _literals(), min_size=1, max_size=4))
def test_any_value_in_any_key(tmp_path: Path, lines: dict[str, str]) -> None:
    """No value of any type in any key makes anything but settings or problems."""
    text = "\n".join(f"{place} = {value}" for place, value in lines.items())

    assert survives(tmp_path, text.encode())


@ANY
@given(lines=st.dictionaries(st.sampled_from(ROWS), _literals(), min_size=1, max_size=3))
def test_any_value_in_any_row(tmp_path: Path, lines: dict[str, str]) -> None:
    """The same holds for the tables of an array."""
    text = "\n".join(
        f"[[{place.split('.')[0]}]]\n{place.split('.')[1]} = {value}"
        for place, value in sorted(lines.items())
    )

    assert survives(tmp_path, text.encode())


@ANY
@given(text=st.binary())
def test_any_file(tmp_path: Path, text: bytes) -> None:
    """No file makes anything but settings or problems."""
    assert survives(tmp_path, text)


VARIABLES = [
    *("PASSGATE_KEY", "PASSGATE_HOST", "PASSGATE_PORT", "PASSGATE_ADMIN_PORT"),
    *("PASSGATE_HTTP_TIMEOUT_S", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GEMINI_KEYS_FILE"),
    "PASSGATE_STATE_DIR",
]


@ANY
@given(environ=st.dictionaries(st.sampled_from(VARIABLES), st.text(), max_size=4))
def test_any_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    """No environment makes anything but settings or problems."""
    assert survives(tmp_path, b"", **environ)


# The documents.


def _examples() -> Iterable[object]:
    yield pytest.param((DOCS / "passgate.example.toml").read_text(), id="passgate.example.toml")
    for name in ("docs/configuration.md", "docs/credentials.md"):
        blocks = re.findall(r"```toml\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
        for number, block in enumerate(blocks, 1):
            yield pytest.param(block, id=f"{name} {number}")


@pytest.mark.parametrize("text", list(_examples()))
def test_example_of_the_documents(tmp_path: Path, text: str) -> None:
    """Every example that the documents show loads, once the files it names are there.

    Absolute paths are taken as relative, so that nothing outside is touched; what an
    example leaves out, a client or an upstream, stands beside it.
    """
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for path in re.findall(r'(?:ca_)?file = "/?([^"]+)"', text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(CERTIFICATE if path.endswith(".pem") else "secret\n")
    text = re.sub(r'((?:ca_)?file = ")/', r"\1", text)
    text = text.replace("DIGEST", DIGEST)
    variables = dict.fromkeys(re.findall(r'env = "(\w+)"', text), "secret")
    if "[[client]]" not in text:
        variables["PASSGATE_KEY"] = KEY
    if "[upstream." not in text:
        text += UPSTREAM
    got = load(tmp_path, text, **variables)
    expected = (True, True)

    assert expected == (bool(got.clients), bool(got.upstreams))


def test_example_file_shows_the_defaults(tmp_path: Path) -> None:
    """What the example file sets is what holds without it."""
    text = (DOCS / "passgate.example.toml").read_text().replace("/run/secrets/", "")
    for name in ("anthropic", "gemini_keys.txt"):
        (tmp_path / name).write_text("secret")
    got = load(tmp_path, text, PASSGATE_KEY=KEY)
    plain = Settings()

    assert (plain.listen, plain.limits, plain.admin, plain.ledger, plain.log_format) == (
        got.listen,
        got.limits,
        got.admin,
        got.ledger,
        got.log_format,
    )


def test_documents_name_every_key() -> None:
    """A setting that nobody can read about does not exist."""
    page = (DOCS / "docs" / "configuration.md").read_text()
    example = (DOCS / "passgate.example.toml").read_text()
    of_file = {*Limits.__struct_fields__} | {"reuse_port", "allowed_hosts", "ca_file"}
    of_file |= {"expires", "models", "paths", "rename", "ttl_s", "retry_stale", "allow_http"}
    of_file |= {"signature_scope", "strict_tools"}
    expected: list[list[str]] = [[], [], []]

    assert expected == [
        [name for name in of_file if f"`{name}`" not in page],
        [name for name in of_file if name not in example],
        [name for name in VARIABLES if f"`{name}`" not in page],
    ]
