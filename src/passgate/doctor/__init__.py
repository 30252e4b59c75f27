"""``passgate doctor``: what clients rely on, looked for in a gateway from outside.

It knows nothing of passgate: any gateway in front of a Messages API can be looked at. Rows
that a client alone cannot judge need the doctor to be the upstream as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from passgate.doctor import inside, outside
from passgate.doctor.inside import Look
from passgate.doctor.visit import Found, Verdict, Visit, fail, unseen
from passgate.doctor.wire import NoAnswer


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that clients rely on.

    Attributes:
        name: Short, and unique.
        asks: What is looked for.
        alone: How a client alone looks; None where it cannot.
        both: How it is looked at from both sides.
        needed: Whether no later row says anything if this one fails.
    """

    name: str
    asks: str
    alone: Look | None
    both: Look
    needed: bool = False


ROWS = (
    Row("reach", "it answers here", outside.reach, outside.reach, needed=True),
    Row("key", "the key is taken", outside.key, outside.key, needed=True),
    Row("other keys", "no other key is taken", outside.other_keys, outside.other_keys),
    Row("final", "a refused key is told as final", outside.final, outside.final),
    Row("upstream", "it sends to the doctor", None, inside.upstream, needed=True),
    Row("stream", "each event at once", outside.stream, inside.stream),
    Row("pings", "pings, comments, unknown events", None, inside.pings),
    Row("betas", "betas and unknown fields", None, inside.betas),
    Row("body", "the request's body untouched", None, inside.body),
    Row("reply", "the answer's body and fields", None, inside.reply),
    Row("errors", "errors untouched", outside.errors, inside.errors),
    Row("compression", "compressed bodies intact", outside.compression, inside.compression),
    Row("count_tokens", "tokens can be counted", outside.count_tokens, inside.count_tokens),
    Row("models", "models can be listed", outside.models, inside.models),
    Row("query", "?beta=true", outside.query, inside.query),
    Row("large", "a request of 8 MB", None, inside.large),
    Row("cancel", "a client's end ends the call", None, inside.cancel),
    Row("cancel early", "also before the answer", None, inside.cancel_early),
    Row("broken", "a broken body looks broken", None, inside.broken),
    Row("once", "nothing is sent twice", None, inside.once),
    Row("redirect", "no redirect is followed", None, inside.redirect),
    Row("hops", "hop-by-hop fields stay", None, inside.hops),
    Row("key stays", "the client's key goes no further", None, inside.key_stays),
    Row("credential stays", "the credential comes not back", None, inside.credential_stays),
)
_SIDES = "needs --upstream-port: the doctor as the gateway's upstream"


def examine(visit: Visit) -> Iterator[tuple[Row, Found]]:
    """Look at each row in turn; yield what was found as soon as it is."""
    spoilt = ""
    for row in ROWS:
        look = row.alone if visit.upstream is None else row.both
        if spoilt:
            found = Found(Verdict.SKIP, f"says nothing while the row {spoilt!r} fails")
        elif look is None:
            found = unseen(_SIDES)
        else:
            found = _looked(look, visit)
            spoilt = row.name if row.needed and found.verdict is Verdict.FAIL else ""
        yield row, found


def _looked(look: Look, visit: Visit) -> Found:
    try:
        return look(visit)
    except NoAnswer as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"cannot be reached: {error.strerror or type(error).__name__}")
