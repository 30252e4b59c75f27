"""Which client a request belongs to.

Keys are 32 random bytes, so that SHA-256 is enough to keep them by; a slow hash would
be a denial of service.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import msgspec

from passgate.core import faults
from passgate.core.faults import Refused


class Client(msgspec.Struct, frozen=True):
    """A client that may use the gateway.

    Attributes:
        name: The operator's name for it.
        digest: SHA-256 of its key.
        expires_s: Wall clock from which the key is refused, or None.
        models: What matches the models it may ask for; None for every model and path.
        paths: What matches the paths it may use; None for all.
        opened: What matches the closed paths that its entry opens; None for none.
    """

    name: str
    digest: bytes
    expires_s: float | None = None
    models: re.Pattern[str] | None = None
    paths: re.Pattern[str] | None = None
    opened: re.Pattern[str] | None = None


_NOBODY = Client("", hashlib.sha256(b"").digest())

# The parameters in which some APIs take a key. A query ends in logs and histories.
_KEY_PARAMETER = re.compile(rb"(?:^|&)(?:key|api_key|access_token)(?:=|&|$)", re.IGNORECASE)


def identify(presented: bytes, clients: Mapping[bytes, Client], now_s: float) -> Client:
    """Return the client that *presented* belongs to.

    *clients* is keyed by the SHA-256 of the whole key. An unknown key costs the same
    work as a known one, so timing names no client.

    Args:
        presented: The key as sent; empty where none was.
        clients: Every client by digest.
        now_s: Wall clock.

    Raises:
        Refused: No key, or one that is unknown or expired: one answer for all.
    """
    digest = hashlib.sha256(presented).digest()
    client = clients.get(digest, _NOBODY)
    matches = hmac.compare_digest(digest, client.digest)
    expired = client.expires_s is not None and now_s >= client.expires_s
    # The digest of an empty key may stand in a configuration: that of a variable not set.
    if not presented or not matches or expired:
        raise Refused(faults.KEY)
    return client


def presented_key(said: Mapping[bytes, bytes], query: bytes | None) -> bytes:
    """Return the key a request shows, empty where it shows none.

    ``x-passgate-key`` alone counts where it is present: the other fields are then the
    client's own credential.

    Args:
        said: The fields we look at, see ``RequestHead.said``.
        query: The query as received, or None.

    Raises:
        Refused: Two keys that differ, or a key in the query.
    """
    key = said.get(b"x-passgate-key")
    if key is not None:
        key = _alone(key)
    else:
        key = b""
        for name, read in _KEY_FIELDS:
            if name in said:
                found = read(said[name])
                if key and found and not hmac.compare_digest(key, found):
                    raise Refused(faults.TWO_KEYS)
                key = key or found
    if query is not None:
        _refuse_key_in_query(key, query)
    return key


def _alone(value: bytes) -> bytes:
    """Return the one key in *value*, in which a repeated field is joined by line feeds."""
    if b"\n" not in value:
        return value
    first, *others = value.split(b"\n")
    if not all(hmac.compare_digest(first, other) for other in others):
        raise Refused(faults.TWO_KEYS)
    return first


def _bearer(value: bytes) -> bytes:
    lines = value.split(b"\n")
    if any(line[:7].lower() != b"bearer " for line in lines):
        return b""
    return _alone(b"\n".join(line[7:].strip() for line in lines))


_KEY_FIELDS = ((b"x-api-key", _alone), (b"authorization", _bearer), (b"x-goog-api-key", _alone))


def _refuse_key_in_query(key: bytes, query: bytes) -> None:
    plain = unquote_to_bytes(query)
    parameter = _KEY_PARAMETER.search(query) or _KEY_PARAMETER.search(plain)
    if parameter or (key and (key in query or key in plain)):
        raise Refused(faults.KEY_IN_QUERY)
