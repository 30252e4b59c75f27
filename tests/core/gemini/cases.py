"""The edge cases of the translation, each by its name, and the file whose rows show it.

``test_cases.py`` checks that the file names the case. None: not shown yet.
"""

from __future__ import annotations

REQUEST = "tests/core/gemini/test_request.py"
SIGNATURES = "tests/core/gemini/test_signatures.py"
REPLAY = "tests/core/gemini/test_replay.py"
SCHEMA = "tests/core/gemini/test_schema.py"
NAMES = "tests/core/gemini/test_names.py"
THINKING = "tests/core/gemini/test_thinking.py"
MINTED = "tests/core/gemini/test_minted.py"
PROPERTIES = "tests/core/gemini/test_conversations.py"

CASES: dict[str, str | None] = {
    "sys-attribution": REQUEST,
    "sys-string": REQUEST,
    "sys-mid": REQUEST,
    "sys-only-attr": REQUEST,
    "empty-text-block": REQUEST,
    "whitespace-text": REQUEST,
    "merge-users": REQUEST,
    "prefill": REQUEST,
    "first-assistant": REQUEST,
    "tool-args-empty": None,
    "tool-args-unicode": REQUEST,
    "tool-args-big": None,
    "tool-input-null": REQUEST,
    "parallel-two": REPLAY,
    "parallel-result-order": REQUEST,
    "seq-steps": REPLAY,
    "finish-later": None,
    "dup-call-chunk": None,
    "no-id": SIGNATURES,
    "id-collision": SIGNATURES,
    "id-odd-chars": SIGNATURES,
    "claude-ids": REPLAY,
    "sig-roundtrip": REPLAY,
    "sig-other-model": REPLAY,
    "sig-other-key": REPLAY,
    "sig-stripped": REPLAY,
    "sig-corrupt-400": REPLAY,
    "sig-on-thought": REPLAY,
    "sig-trailing-empty": REPLAY,
    "sig-to-claude": None,
    "claude-sig-to-gemini": REPLAY,
    "thinking-disabled": THINKING,
    "thinking-omitted": THINKING,
    "effort-max-38": THINKING,
    "minimal-38": THINKING,
    "small-max-tokens": THINKING,
    "max-thoughts-only": None,
    "safety-mid": None,
    "prompt-blocked": None,
    "malformed-call": None,
    "empty-stop": None,
    "eof-no-finish": None,
    "error-mid-stream": None,
    "slow-first-byte": None,
    "client-abort": None,
    "429-two-keys": None,
    "too-long": None,
    "schema-claude-code": SCHEMA,
    "name-128": NAMES,
    "tool-result-image": REQUEST,
    "result-list-content": REQUEST,
    "result-empty": REQUEST,
    "result-nonjson": REQUEST,
    "reminder-after-result": REQUEST,
    "result-is-a-schema": REQUEST,
    "maxitems-1000": SCHEMA,
    "strip-empties-message": None,
    "cache-usage": None,
    "long-decode": None,
    "deterministic": None,
    "sdk-fold": None,
}
