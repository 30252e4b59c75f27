"""``passgate serve``: run the gateway."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from passgate import app, config
from passgate.cli.env import client_lines, url_of
from passgate.config import ConfigError
from passgate.core.settings import Settings, replace

# As fast as a model writes, so that a stream looks like one.
_PACE_S = 0.03
_NO_CONFIGURATION = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("serve", help="run the gateway")
    parser.add_argument("--config", metavar="FILE", help="passgate.toml to read")
    parser.add_argument("--log", choices=("json", "text"), help="how log lines look")
    parser.add_argument(
        "--demo", action="store_true", help="use the built-in simulated upstream; needs no key"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    if args.demo:
        return app.run(_demo(args.log))
    load = partial(_settings, args.config, args.log)
    try:
        settings = load()
    except ConfigError as error:
        for problem in error.problems:
            app.to_stderr(problem)
        return _NO_CONFIGURATION
    reload = partial(load, reloading=True)
    return app.run(_serve(app.App(settings, load=reload, notice=app.to_stderr), settings, None))


def _settings(path: str | None, log: str | None, *, reloading: bool = False) -> Settings:
    settings = config.from_process(path, reloading=reloading)
    return replace(settings, log_format=log) if log else settings


async def _demo(log: str | None) -> int:
    from tempfile import TemporaryDirectory  # with it, 0.7 MB: for the demo alone

    from passgate.cli.simulated import Simulated

    simulated = Simulated(_PACE_S)
    settings = await simulated.start(config.listen_of(config.process_environ()))
    # Not the state of a real gateway: what is made up has no place in its ledger.
    state = TemporaryDirectory(prefix="passgate-demo-")
    settings = replace(settings, log_format=log or settings.log_format, state_dir=Path(state.name))
    app.to_stderr("the upstream is simulated: no request leaves this machine")
    app.to_stderr(f"until it ends, its ledger is there for PASSGATE_STATE_DIR={state.name}")
    try:
        return await _serve(app.App(settings, notice=app.to_stderr), settings, simulated.key)
    finally:
        await simulated.close()
        state.cleanup()


async def _serve(gateway: app.App, settings: Settings, key: str | None) -> int:
    """Start, say where, serve to the end."""
    try:
        await gateway.start()
    except OSError as error:
        app.to_stderr(f"cannot listen: {error.strerror or error}; see [server] and [admin] port")
        return 1
    except app.CannotStart as error:
        app.to_stderr(f"cannot start: {error}")
        return 1
    for warning in settings.warnings:
        app.to_stderr(f"note: {warning}")
    await gateway.serve(partial(_announce, gateway, settings, key))
    return 0


def _announce(gateway: app.App, settings: Settings, key: str | None) -> None:
    """Say where the gateway listens, and the two lines that a client needs."""
    listen, admin = gateway.addresses
    url = url_of(listen) or ""
    app.to_stderr(f"serving on {url}, for the operator on {url_of(admin)}")
    names = sorted({client.name for client in settings.clients})
    if key is None:
        mine = names == ["default"]
        key = "$PASSGATE_KEY" if mine else "<a key from `passgate keys add NAME`>"
    app.to_stderr("a client needs two lines:")
    for line in client_lines(url, key):
        app.to_stderr(f"  {line}")
