"""What goes up, what comes down: which fields are cut from a head and which are added.

A head is cut, not rebuilt: one compiled expression finds the fields that we look at, and
all else stays the bytes that came, so that spelling, order and repetition are
exact by construction. Safe only on a head that the parser has accepted.

Source: RFC 9110, 7.6.1; docs/protocol.md lists the fields for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from passgate.core import faults
from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, RequestHead
from passgate.core.faults import Refused
from passgate.core.settings import CredentialKind

# Grouped by first letters: a flat list of names costs twice the time per head.
# ``[-_]``: some servers read ``_`` as ``-``, so both spellings of what we cut are cut.
_REQUEST_NAMES = (
    rb"c(?:on(?:nection|tent(?:[-_]length|-encoding))|ookie2?)"
    rb"|keep[-_]alive|t(?:e|railer|ransfer[-_]encoding)|upgrade|proxy[-_][^:\r\n]*|host|expect"
    rb"|x[-_](?:api[-_]key|goog[-_]api[-_]key|forwarded[-_][^:\r\n]*|passgate[-_][^:\r\n]*"
    rb"|claude-code-(?:session|agent|parent-agent)-id)"
    rb"|a(?:uthorization|ccept-encoding|nthropic-beta)|forwarded"
)
_ANSWER_NAMES = (
    rb"con(?:nection|tent-(?:encoding|length))|keep-alive|proxy-[^:\r\n]*|request-id|set-cookie2?"
    rb"|t(?:e|railer|ransfer-encoding)|upgrade"
)
# Used on a lower-cased copy of a head, at half the cost of matching without case.
# A split yields: text, (name, text)*.
FIND = re.compile(rb"\r\n(" + _REQUEST_NAMES + rb"):").split
FIND_IN_ANSWER = re.compile(rb"\r\n(" + _ANSWER_NAMES + rb"):").split

# Looked at and passed on; every other name that SPLIT finds is cut.
KEPT = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"anthropic-beta",
        b"x-claude-code-session-id",
        b"x-claude-code-agent-id",
        b"x-claude-code-parent-agent-id",
    }
)
KEPT_OF_ANSWER = frozenset({b"content-encoding", b"content-length", b"request-id"})
# What a client's own credential may stand in, for an upstream of kind ``client``.
_CLIENT_CREDENTIAL = frozenset({b"authorization", b"x-api-key"})

# Framing and routing that a ``Connection`` field cannot nominate away.
_PLAIN_TOKENS = frozenset({b"keep-alive", b"close"})
_NOT_NOMINATED = frozenset(
    {b"", b"close", b"keep-alive", b"content-length", b"content-encoding", b"host"}
)
# What our meter can decode, so what an upstream may be asked for.
_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"identity"})

_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)

# Bound once: reading a member through its class costs more than the comparison.
_API_KEY, _BEARER, _CLIENT = (
    CredentialKind.API_KEY,
    CredentialKind.BEARER,
    CredentialKind.CLIENT,
)
_OAUTH_BETA = b"oauth-2025-04-20"
_OAUTH_TOKEN = b"sk-ant-oat"


class Origin(msgspec.Struct, frozen=True):
    """What an upstream puts into every request head.

    Attributes:
        host: The ``Host`` value.
        prefix: What its base URL puts before every path; may be empty.
        key_field: The field in which it takes an API key.
    """

    host: bytes
    prefix: bytes
    key_field: bytes


def cut(
    head: bytes, find: Callable[[bytes], list[bytes]], kept: frozenset[bytes]
) -> tuple[bytes, dict[bytes, bytes]]:
    """Take the fields that *find* finds out of a head, which does not end in CRLF.

    Returns:
        What is left of the head, with the found fields named in *kept*; and lower-case
        name -> value of every found field, a repeated one's values joined by LF: the one
        separator that no value can contain.
    """
    found = find(head.lower())
    said: dict[bytes, bytes] = {}
    left, left_from, at = [], 0, len(found[0])
    for i in range(1, len(found), 2):
        name = found[i]
        line_at, at = at, at + len(name) + 3  # CRLF before the name, the colon behind it
        text = found[i + 1]
        end = text.find(b"\r\n")
        end = at + (len(text) if end < 0 else end)
        value = head[at:end].strip(b" \t")
        said[name] = said[name] + b"\n" + value if name in said else value
        if name not in kept:
            left.append(head[left_from:line_at])
            left_from = end
            if name == b"accept-encoding":
                left.append(_accept_encoding(head[line_at:end], value))
        at += len(text)
    if not left_from:
        return head, said
    left.append(head[left_from:])
    return b"".join(left), said


def upward(
    head: RequestHead, to: Origin, key: bytes, shown: Credential, length: int | None = None
) -> bytes:
    """Return the request head for an upstream, without framing and without its last CRLF.

    Args:
        head: The client's request head.
        to: Where it goes.
        key: The client's key, which never travels.
        shown: The upstream's credential.
        length: What ``content-length`` must say now, or None where the client's stands.

    Raises:
        Refused: Its own credential is to go up, and all that it showed was its key.
    """
    fields = head.fields
    if shown.kind is _CLIENT:
        if b"x-passgate-key" not in head.said:
            raise Refused(faults.OWN_CREDENTIAL)  # what came is its key for us, not a credential
        fields, _ = cut(head.raw_fields, FIND, KEPT | _CLIENT_CREDENTIAL)
    if length is not None:
        fields = _without_lines(fields, lambda line: line[:15].lower() == b"content-length:")
        fields += b"\r\ncontent-length: %d" % length
    nominated = head.said.get(b"connection")
    if nominated is not None:
        fields = _without_nominated(fields, nominated)
    if key and key in fields:
        fields = _without_lines(fields, lambda line: key in line)
    line = b"%s %s%s HTTP/1.1\r\nhost: %s" % (head.method.encode(), to.prefix, head.target, to.host)
    if shown.kind is _BEARER and shown.secret.startswith(_OAUTH_TOKEN):
        fields = _with_beta(fields)
    return line + fields + credential_line(to.key_field, shown)


def downward(head: AnswerHead, credential: bytes) -> bytes:
    """Return the response head for the client, without framing and without its last CRLF.

    Args:
        head: The upstream's response head.
        credential: What the upstream was shown; a field or a reason that echoes it is cut.
    """
    fields = head.fields
    nominated = head.said.get(b"connection")
    if nominated is not None:
        fields = _without_nominated(fields, nominated)
    if credential and fields.find(credential) >= 0:  # ``in`` takes twice as long
        fields = _without_lines(fields, lambda line: credential in line)
        status, crlf, rest = fields.partition(b"\r\n")
        if credential in status:
            fields = status[: len("HTTP/1.1 200 ")] + crlf + rest  # the reason is for people only
    return fields


def _accept_encoding(line: bytes, value: bytes) -> bytes:
    """Return the field with only codings that we can decode, as it is where all are."""
    codings = [part.strip() for part in value.split(b",")]
    known = [c for c in codings if c and _decodable(c)]
    if len(known) == len(codings):
        return line
    return line[: line.index(b":") + 1] + b" " + (b", ".join(known) or b"identity")


def _decodable(coding: bytes) -> bool:
    name, _, weight = coding.lower().partition(b";")
    # ``*;q=0`` forbids the rest, which is what we want.
    refused = weight.replace(b" ", b"") in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return name.strip() in _CODINGS or (name.strip() == b"*" and refused)


def _without_nominated(fields: bytes, connection: bytes) -> bytes:
    names = set(tokens(connection)) - _NOT_NOMINATED
    if not names:
        return fields
    return _without_lines(fields, lambda line: line.partition(b":")[0].lower() in names)


def tokens(value: bytes) -> list[bytes]:
    """Return the lower-case members of a comma list, over all lines of a repeated field."""
    if value in _PLAIN_TOKENS:
        return [value]  # nearly every Connection field
    return [token.strip(b" \t").lower() for token in value.replace(b"\n", b",").split(b",")]


def around_length(fields: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and behind the digits of the one content-length; else nothing."""
    length = _LENGTH_FIELD.search(fields)
    return (fields[: length.start(1)], fields[length.end(1) :]) if length else (b"", b"")


def _without_lines(fields: bytes, unwanted: Callable[[bytes], bool]) -> bytes:
    first, *lines = fields.split(b"\r\n")
    return b"\r\n".join([first, *(line for line in lines if not unwanted(line))])


def _with_beta(fields: bytes) -> bytes:
    """Return *fields* with the beta that OAuth tokens need in the last ``anthropic-beta``."""
    lines = fields.split(b"\r\n")
    betas = [i for i, line in enumerate(lines) if line[:15].lower() == b"anthropic-beta:"]
    if any(_OAUTH_BETA in tokens(lines[i][15:]) for i in betas):
        return fields
    if not betas:
        return fields + b"\r\nanthropic-beta: " + _OAUTH_BETA
    last = lines[betas[-1]].rstrip(b" \t")
    lines[betas[-1]] = last + (b" " if last[-1:] == b":" else b",") + _OAUTH_BETA
    return b"\r\n".join(lines)


def credential_line(key_field: bytes, shown: Credential) -> bytes:
    """Return the field that shows an upstream *shown*, with its CRLF in front; may be empty."""
    if shown.kind is _API_KEY:
        return b"\r\n%s: %s" % (key_field, shown.secret)
    if shown.kind is _BEARER:
        return b"\r\nauthorization: Bearer " + shown.secret
    return b""
