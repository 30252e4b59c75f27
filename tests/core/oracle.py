"""What a recorded answer says, read in one go and as plainly as can be: the meters' oracle.

It shares no code with them, reads with another JSON parser, and sees the whole answer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
_NOTHING: dict[str, Any] = dict.fromkeys(
    re.findall(
        r"\w+",
        """
        input_tokens output_tokens cache_read_tokens cache_write_5m_tokens
        cache_write_1h_tokens thinking_tokens web_searches model_served stop_reason speed
        service_tier inference_geo iterations
        """,
    )
)


def recorded(kind: str, suffix: str) -> dict[str, bytes]:
    """Return every recorded answer of a *kind*, by its name."""
    return {path.stem: path.read_bytes() for path in sorted((DATA / kind).glob(f"*.{suffix}"))}


def events(stream: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Return every event that is complete: how many bytes its lines take, and its data."""
    lines = re.split(rb"(\r\n|\n|\r)", stream)
    found, data, size, last_end = list[tuple[int, dict[str, Any]]](), list[bytes](), 0, b""
    for line, end in zip(lines[::2], lines[1::2], strict=False):
        if line:
            size += len(line) + len(end)
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
        elif size:
            value = json.loads(b"\n".join(data)) if data else {}
            found.append((size - len(last_end), value))
            data, size = [], 0
        last_end = end
    return found


def of_stream(stream: bytes, *, complete: bool) -> dict[str, Any]:
    """Return what the record of a streamed message must say, which may have been cut."""
    usage: dict[str, Any] = {}
    model, reason = "", None
    told = over = opened = False
    said = events(stream)
    for _, event in said:
        match event.get("type"):
            case "message_start":
                model = event["message"]["model"]
                _overwrite(usage, event["message"].get("usage") or {})
            case "message_delta":
                reason = event["delta"].get("stop_reason") or reason
                _overwrite(usage, event.get("usage") or {})
                told = told or "output_tokens" in (event.get("usage") or {})
            case "message_stop":
                over = True
            case kind:
                opened = opened or str(kind).startswith("content_block")
    if not usage:
        return _NOTHING | {"kind": "none"}
    if not told:
        usage["output_tokens"] = max(usage.get("output_tokens", 0), _text_bytes(said) // 4)
    final = told and (over or complete or reason is not None)
    free = reason == "refusal" and not opened
    return _record("final" if final else "partial", usage, model, reason, free=free)


def _text_bytes(said: list[tuple[int, dict[str, Any]]]) -> int:
    """Return how much content came: in each block, what goes beyond its first event's frame."""
    total = around = 0
    for size, event in said:
        if event.get("type") == "content_block_start":
            around = 0
        elif event.get("type") == "content_block_delta":
            [*_, text] = event["delta"].values()
            around = around or size - len(json.dumps(text, ensure_ascii=False).encode()) + 2
            total += size - around
    return total


def of_message(body: bytes) -> dict[str, Any]:
    """Return what the record of a whole message must say."""
    said = json.loads(body)
    if "usage" not in said:
        return _NOTHING | {"kind": "none"}
    free = said["stop_reason"] == "refusal" and not said["content"]
    return _record("final", said["usage"], said["model"], said["stop_reason"], free=free)


def _overwrite(usage: dict[str, Any], later: dict[str, Any]) -> None:
    for name, value in later.items():
        if isinstance(value, dict):
            _overwrite(usage.setdefault(name, {}), value)
        elif value is not None:
            usage[name] = value


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    written, split = usage.get("cache_creation_input_tokens"), usage.get("cache_creation", {})
    hour = split.get("ephemeral_1h_input_tokens")
    # What grew without being told again for how long was for 5 minutes.
    five = written - (hour or 0) if written is not None else None
    return {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_tokens": usage.get("cache_read_input_tokens"),
        "cache_write_5m_tokens": five,
        "cache_write_1h_tokens": hour,
        "thinking_tokens": usage.get("output_tokens_details", {}).get("thinking_tokens"),
        "web_searches": usage.get("server_tool_use", {}).get("web_search_requests"),
    }


def _record(
    kind: str, usage: dict[str, Any], model: str, reason: str | None, *, free: bool
) -> dict[str, Any]:
    entries = usage.get("iterations", [])
    back = [entry["model"] for entry in entries if entry["type"] == "fallback_message"]
    served = back[-1] if back else model
    extra = [{"type": "unbilled"}] if free else []
    for entry in entries:
        declined = back and entry["type"] == "message" and entry["model"] != served
        if entry["type"] in ("compaction", "advisor_message") or (
            declined and entry["output_tokens"]
        ):
            counts = {name: n for name, n in _counts(entry).items() if n is not None}
            named: dict[str, Any] = {"model": entry["model"]} if "model" in entry else {}
            extra.append(named | {"type": entry["type"], "usage": counts})
    return _counts(usage) | {
        "kind": kind,
        "model_served": served,
        "stop_reason": reason,
        "speed": usage.get("speed"),
        "service_tier": usage.get("service_tier"),
        "inference_geo": usage.get("inference_geo"),
        "iterations": extra or None,
    }


def of_gemini(answer: bytes, *, complete: bool) -> dict[str, Any]:
    """Return what the record of an answer of Gemini's own API must say.

    Args:
        answer: One response, an array of them, or events; it may have been cut.
        complete: Whether it was not.
    """
    text = re.sub(r"^data: ?", "", answer.decode(errors="ignore"), flags=re.MULTILINE)
    told: dict[str, Any] = {}
    model = reason = searches = None
    written, content = 0, False
    for response in _objects(text):
        _overwrite(told, response.get("usageMetadata", {}))
        model = response.get("modelVersion", model)
        for candidate in response.get("candidates", []):
            reason = candidate.get("finishReason", reason)
            if "groundingMetadata" in candidate:
                searches = len(candidate["groundingMetadata"]["webSearchQueries"])
            for part in candidate.get("content", {}).get("parts", []):
                content = True
                written += len(part.get("text", "").encode())
    if not told:
        return _NOTHING | {"kind": "none"}
    seen, thought = told.get("candidatesTokenCount"), told.get("thoughtsTokenCount")
    output = None if seen is None and thought is None else (seen or 0) + (thought or 0)
    if seen is None and written:
        output = max(output or 0, written // 4)
    cached = told.get("cachedContentTokenCount")
    prompt = told.get("promptTokenCount")
    if prompt is not None:
        prompt += told.get("toolUsePromptTokenCount", 0) - (cached or 0)
    return _NOTHING | {
        "kind": "final" if complete and (reason or not content) else "partial",
        "input_tokens": prompt,
        "output_tokens": output,
        "cache_read_tokens": cached,
        "thinking_tokens": thought,
        "web_searches": searches,
        "model_served": model,
        "stop_reason": reason,
        "service_tier": told.get("serviceTier", told.get("trafficType")),
    }


def _objects(text: str) -> list[dict[str, Any]]:
    """Return every object in *text* that is whole and in no other."""
    found, at = [], text.find("{")
    while at >= 0:
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            break
        found.append(value)
        at = text.find("{", at)
    return found
