"""The edge cases of the translation, each by its name, and the file whose rows show it.

``test_cases.py`` checks that the file names the case, or has the test behind the ``::``.
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
STREAM = "tests/core/gemini/test_stream.py"
ERRORS = "tests/core/gemini/test_errors.py"
SDK = "tests/clients/test_gemini_answers.py"
KEYS = "tests/loopback/test_gemini_keys.py"

CASES: dict[str, str] = {
    "sys-attribution": REQUEST,
    "sys-string": REQUEST,
    "sys-mid": REQUEST,
    "sys-only-attr": REQUEST,
    "empty-text-block": REQUEST,
    "whitespace-text": REQUEST,
    "merge-users": REQUEST,
    "prefill": REQUEST,
    "first-assistant": REQUEST,
    "tool-args-empty": STREAM,
    "tool-args-unicode": REQUEST,
    "tool-args-big": f"{STREAM}::test_tool_args_big",
    "tool-input-null": REQUEST,
    "parallel-two": REPLAY,
    "parallel-result-order": REQUEST,
    "seq-steps": REPLAY,
    "finish-later": STREAM,
    "dup-call-chunk": STREAM,
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
    "sig-to-claude": f"{MINTED}::test_cut",
    "claude-sig-to-gemini": REPLAY,
    "thinking-disabled": THINKING,
    "thinking-omitted": THINKING,
    "effort-max-38": THINKING,
    "minimal-38": THINKING,
    "small-max-tokens": THINKING,
    "max-thoughts-only": STREAM,
    "safety-mid": STREAM,
    "prompt-blocked": STREAM,
    "malformed-call": STREAM,
    "empty-stop": STREAM,
    "eof-no-finish": STREAM,
    "error-mid-stream": f"{STREAM}::test_error_as_bare_json",
    "slow-first-byte": f"{KEYS}::test_slow_first_byte",
    "client-abort": f"{KEYS}::test_a_client_that_leaves",
    "429-two-keys": f"{KEYS}::test_another_key",
    "too-long": ERRORS,
    "schema-claude-code": SCHEMA,
    "name-128": NAMES,
    "tool-result-image": REQUEST,
    "result-list-content": REQUEST,
    "result-empty": REQUEST,
    "result-nonjson": REQUEST,
    "reminder-after-result": REQUEST,
    "result-is-a-schema": REQUEST,
    "maxitems-1000": SCHEMA,
    "strip-empties-message": f"{MINTED}::test_cut",
    "cache-usage": f"{STREAM}::test_cache_usage",
    "long-decode": f"{KEYS}::test_long_decode",
    "deterministic": PROPERTIES,
    "sdk-fold": f"{SDK}::test_sdk_folds_every_stream",
}
