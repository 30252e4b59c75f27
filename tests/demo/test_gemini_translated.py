"""The simulated Gemini's answers, translated: each of its scenes, as a Messages client sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passgate.demo.gemini import Gemini
from tests.core.gemini.google import streamed, whole
from tests.core.gemini.grammar import told_by
from tests.demo.test_gemini import MODEL, TOOLS, gemini, sse  # noqa: F401  gemini: the fixture
from tests.demo.test_upstream import Answer, ask

# Scene -> what ended the stream, and the types of its blocks.
SCENES: dict[str, tuple[str, str]] = {
    "text:20": ("end_turn", "thinking text"),
    "unicode": ("end_turn", "thinking text"),
    "thinking": ("end_turn", "thinking text"),
    "thought-signed": ("end_turn", "thinking text"),
    "text-signed": ("end_turn", "text"),
    "trailing": ("end_turn", "text"),
    "tool": ("tool_use", "thinking text thinking tool_use"),
    "steps:1": ("tool_use", "thinking tool_use"),
    "parallel:3": ("tool_use", "thinking tool_use tool_use tool_use"),
    "split:3": ("tool_use", "thinking tool_use tool_use tool_use"),
    "late-finish": ("tool_use", "thinking tool_use"),
    "early-finish": ("tool_use", "text thinking tool_use"),
    "id-less:3": ("tool_use", "thinking tool_use tool_use tool_use"),
    "odd-id": ("tool_use", "thinking tool_use"),
    "same-id": ("tool_use", "thinking tool_use"),
    "dup": ("tool_use", "thinking tool_use"),
    "prefixed": ("tool_use", "thinking tool_use"),
    "unsigned": ("tool_use", "tool_use"),
    "no-args": ("tool_use", "thinking tool_use"),
    "big-args:100000": ("tool_use", "thinking tool_use"),
    "max-tokens": ("max_tokens", "thinking text"),
    "max-thoughts": ("max_tokens", "thinking"),
    "max-call": ("tool_use", "thinking tool_use"),
    "finish:SAFETY": ("refusal", "text"),
    "abort:SPII": ("refusal", ""),
    "blocked:OTHER": ("refusal", ""),
    "image": ("end_turn", "text"),
    "grounded": ("end_turn", "text"),
    "sparse-usage": ("end_turn", "thinking text"),
    "no-usage": ("end_turn", "thinking text"),
    "slow:2:1000": ("end_turn", "text"),
    "pause:1:1": ("end_turn", "text"),
    "empty": ("overloaded_error", ""),
    "abort:MALFORMED_FUNCTION_CALL": ("api_error", ""),
    "finish:OTHER": ("api_error", "text"),
    "mid-error:1": ("overloaded_error", "text"),
    "mid-error:1:raw": ("overloaded_error", "text"),
    "mid-error:0:raw": ("overloaded_error", ""),
    "end:2": ("api_error", "text"),
    "cut:2": ("api_error", "text"),
}


async def answer_of(server: Gemini, scene: str) -> Answer:
    """Return what is streamed to a client that sees thoughts and has a tool."""
    config = {"thinkingConfig": {"includeThoughts": True}}
    return await ask(server, sse(f"demo:{scene}", tools=TOOLS, generationConfig=config))


@pytest.mark.parametrize(("scene", "expected"), SCENES.items(), ids=SCENES)
async def test_scene(
    gemini: Gemini,  # noqa: F811  a fixture
    scene: str,
    expected: tuple[str, str],
) -> None:
    """Every scene is a legal stream that ends as it should."""
    body = (await answer_of(gemini, scene)).body
    stream, translation = streamed(*(body[at : at + 100] for at in range(0, len(body), 100)))
    told = told_by(stream)
    kinds = " ".join(block["type"] for block in told.message.get("content", []))
    end = told.error.get("type") or told.message["stop_reason"]

    assert expected == (end, kinds)
    if told.ended == "message_stop":
        assert told.message["content"] == json.loads(whole(body))["content"]
        assert told.message["model"] == translation.model_served == MODEL


async def test_usage(gemini: Gemini) -> None:  # noqa: F811  a fixture
    """Counts that come in pieces are the same in the end."""
    at_once, _ = streamed((await answer_of(gemini, "thinking")).body)
    usage: dict[str, Any] = told_by(at_once).message["usage"]

    assert 12 == usage["output_tokens_details"]["thinking_tokens"]
    assert usage["output_tokens"] > 12
    assert usage["input_tokens"] > 0


@pytest.mark.parametrize("scene", ["trailing", "text-signed", "tool", "thought-signed"])
async def test_signatures_are_what_was_issued(
    gemini: Gemini,  # noqa: F811  a fixture
    scene: str,
) -> None:
    """What is remembered or carried is the signature itself."""
    body = (await answer_of(gemini, scene)).body
    stream, translation = streamed(body)
    learnt = translation.learnt
    known = [each.signature for each in learnt.calls.values()]
    known += [learnt.text.signature] if learnt.text else []
    carried = [block.get("signature", "") for block in told_by(stream).message["content"]]
    known += [signature.rpartition(":")[2] for signature in carried]
    issued = body.partition(b'"thoughtSignature":"')[2].partition(b'"')[0].decode()

    assert issued in known
