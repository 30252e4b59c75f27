"""Where a client may put its key: rows of ``id | field | field``, for the suite and any gateway.

``<test>`` stands for a good key, ``<unknown>`` for one that nobody has, ``<expired>`` for
one that was good, ``<wide>`` for another client's.
"""

from __future__ import annotations

# The key is right, and in a place of its own; whatever else carries it goes no further.
TAKEN = """
x-api-key | x-api-key: <test>
in capitals | X-API-KEY: <test>
Bearer | Authorization: Bearer <test>
bearer | authorization: bearer <test>
BEARER with blanks | authorization: BEARER   <test>
x-goog-api-key | x-goog-api-key: <test>
x-passgate-key | x-passgate-key: <test>
two fields, one key | x-api-key: <test> | authorization: Bearer <test>
three fields, one key | X-Goog-Api-Key: <test> | x-api-key: <test> | authorization: bearer <test>
x-api-key twice | x-api-key: <test> | X-Api-Key: <test>
Bearer twice | authorization: Bearer <test> | Authorization: bearer <test>
x-goog-api-key twice | x-goog-api-key: <test> | x-goog-api-key: <test>
x-passgate-key twice | x-passgate-key: <test> | X-Passgate-Key: <test>
x-passgate-key beside others | x-passgate-key: <test> | authorization: Bearer a | x-api-key: b
x-passgate-key beside a key | x-passgate-key: <test> | x-goog-api-key: <wide> | x-api-key: <wide>
beside a login | x-api-key: <test> | authorization: Basic dTpw
carried elsewhere | x-api-key: <test> | x-a: <test> | referer: http://h/?a=<test>&b | x-b: a,<test>
in a session's field | x-api-key: <test> | x-claude-code-session-id: s<test>
in a beta's field | x-api-key: <test> | anthropic-beta: a,<test>
"""
# No key is shown, or no good one.
BAD = """
none
empty | x-api-key:
empty Bearer | authorization: Bearer
unknown | x-api-key: <unknown>
unknown Bearer | authorization: Bearer <unknown>
unknown x-goog-api-key | x-goog-api-key: <unknown>
a part of it | x-api-key: <test>x
expired | x-api-key: <expired>
expired Bearer | authorization: Bearer <expired>
expired x-passgate-key | x-passgate-key: <expired>
another scheme | authorization: Basic <test>
no blank | authorization: Bearer<test>
no scheme | authorization: <test>
twice in a line | x-api-key: <test>, <test>
a cookie | cookie: x-api-key=<test>
another name | x_api_key: <test> | X-Passgate_Key: <test> | api-key: <test> | x-goog-key: <test>
Bearer and Basic | authorization: Bearer <test> | authorization: Basic dTpw
an empty x-passgate-key | x-passgate-key: | x-api-key: <test>
a wrong x-passgate-key | x-passgate-key: <unknown> | x-api-key: <test>
"""
# Two are shown that differ: whoever reads one and checks the other can be deceived.
TWO = """
two fields | x-api-key: <test> | authorization: Bearer <unknown>
two known keys | x-api-key: <test> | x-goog-api-key: <wide>
an unknown one first | x-api-key: <unknown> | authorization: Bearer <test>
the third | x-api-key: <test> | authorization: Bearer <test> | x-goog-api-key: <unknown>
x-api-key twice | x-api-key: <test> | X-Api-Key: <wide>
Bearer twice | authorization: Bearer <test> | authorization: Bearer <unknown>
x-goog-api-key twice | x-goog-api-key: <unknown> | x-goog-api-key: <test>
x-passgate-key twice | x-passgate-key: <test> | x-passgate-key: <unknown>
"""
# A query is kept in logs and histories; a key in it is refused, whatever its name.
IN_QUERY = (
    *("<test>", "a=<test>", "a=b<test>c&d", "<%test>", "a=<%test>&b", "%61=p%67_<test>"),
    *("key=<test>", "key=<%test>", "key=", "key", "KEY=a", "a=1&key=a", "%6Bey=a", "a&%6b%65y"),
    *("api_key=a", "access_token=a", "b=&Access_Token=a&c", "api%5Fkey=a", "a=1%26key=2"),
)
