"""``kill -9`` at random moments under load: what the ledger promises of what is left.

``make kill-test`` does it fifty times and says what was found; the suite does it a few times.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sql import FILE_NAME
from tests.loopback.gateway import WAIT_S, Served, connect, eventually, read_answer
from tests.loopback.test_lifecycle import KEY, client, config, put, request
from tests.loopback.upstream import Beside

KILLS = int(os.environ.get("PASSGATE_KILLS", "6"))  # noqa: TID251  the suite's own switch
_CLIENTS = 4
# What is promised, and what a commit may take on a machine that has other things to do.
_GATHERED_S, _COMMIT_S = 0.1, 0.4
_SUMMED = """
    SELECT (SELECT ifnull(sum(requests), 0) FROM sums_daily)
        + (SELECT count(*) FROM exchanges WHERE seq > (SELECT seq FROM summed_upto))
"""
_MODELS = ("claude-text-5", "claude-sonnet-4-5", "claude-error-429")


@dataclass
class Round:
    """What clients saw of one life of the gateway.

    Attributes:
        ended: The id of each exchange whose answer came whole, and when that was.
    """

    ended: dict[str, float] = field(default_factory=dict)

    def asks(self, port: int, seed: int) -> None:
        """Ask one thing after another until the connection breaks."""
        chance = random.Random(seed)  # noqa: S311  a schedule, not a secret
        with suppress(OSError, EOFError), connect(port) as connection:
            while True:
                streams = chance.random() < 0.5
                connection.sendall(request(chance.choice(_MODELS), stream=streams))
                answer = read_answer(connection)
                if not answer.complete:
                    return
                self.ended[answer.get("request-id")[0]] = time.monotonic()


def kept_in(file: Path) -> dict[str, str]:
    """Return the upstream's id of each row by our own; fail where the file is not sound."""
    LedgerFile(file).settle()
    with closing(sqlite3.connect(file)) as connection:
        [verdict] = connection.execute("PRAGMA integrity_check").fetchone()
        rows = connection.execute("SELECT id, upstream_request_id, model FROM exchanges").fetchall()

        [summed] = connection.execute(_SUMMED).fetchone()

    assert "ok" == verdict
    assert len(rows) == summed
    assert "claude-silent" not in {model for _, _, model in rows}
    assert len(rows) == len({id_ for id_, *_ in rows})
    return {id_: upstream_id for id_, upstream_id, _ in rows}


@pytest.mark.timeout(60 + 10 * KILLS)
def test_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing damaged, nothing twice, and no more lost than is promised.

    All lives share one ledger, so each of them begins with what a killed one left, and
    without a repair. An exchange that runs, as one does through each of them, has no row.
    """
    put(tmp_path / "credential", "up_first")
    file = tmp_path / "state" / FILE_NAME
    seed = random.randrange(1 << 32)  # noqa: S311  a schedule, not a secret
    chance = random.Random(seed)  # noqa: S311
    ended, lost, oldest_s = 0, 0, 0.0
    before: dict[str, str] = {}
    with Beside() as beside:
        toml = config(beside.port, clients=client("test", KEY))
        for number in range(KILLS):
            seen = Round()
            with Served(toml, tmp_path) as gateway, connect(gateway.port) as running:
                running.sendall(request("claude-silent", stream=True))
                assert running.recv(1)
                threads = [
                    threading.Thread(target=seen.asks, args=(gateway.port, seed + n))
                    for n in range(_CLIENTS)
                ]
                for thread in threads:
                    thread.start()
                eventually(lambda: seen.ended)  # noqa: B023  called at once
                time.sleep(chance.uniform(0, 1))  # the moment is the point
                killed_s = time.monotonic()
                gateway.process.kill()
                for thread in threads:
                    thread.join(WAIT_S)
            kept = kept_in(file)
            new = [upstream_id for id_, upstream_id in kept.items() if id_ not in before]
            gone = {id_: killed_s - at for id_, at in seen.ended.items() if id_ not in new}

            assert len(new) == len(set(new)), f"doubled in life {number}, seed {seed}"
            assert set(before) <= set(kept), f"rows are gone in life {number}, seed {seed}"
            assert all(age < _GATHERED_S + _COMMIT_S for age in gone.values()), (seed, gone)
            before = kept
            ended, lost = ended + len(seen.ended), lost + len(gone)
            oldest_s = max([oldest_s, *gone.values()])
    with capsys.disabled():
        if KILLS > 6:
            print(  # noqa: T201  the result of `make kill-test`
                f"\n{KILLS} kills (seed {seed}): {ended} exchanges had ended, {lost} of them "
                f"lost, the oldest {oldest_s * 1000:.0f} ms before its kill; {len(before)} rows"
            )

    assert len(before) >= ended - lost > 0
