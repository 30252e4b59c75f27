"""What Gemini is sent for a Messages request, and what is refused instead.

The ids are the names of the cases in ``cases.py``, where they have one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from passgate.core.faults import Refused
from passgate.core.gemini.request import continued, read
from tests.core.gemini.asks import (
    FLASH,
    HI,
    OLD,
    PLAIN,
    READ_TOOL,
    Json,
    ask,
    asked,
    assistant,
    at,
    body_of,
    call,
    fault,
    result,
    sent,
    signed,
    thinking,
    user,
)

ATTRIBUTION = "x-anthropic-billing-header: cc_version=2.1; cch=00000;"
REMINDER = "<system-reminder>\nBe brief.\n</system-reminder>"
PNG: Json = {"type": "base64", "media_type": "image/png", "data": "iVBO\nRw0K"}
PDF: Json = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
IMAGE: Json = {"type": "image", "source": PNG}
PNG_UP = {"mimeType": "image/png", "data": "iVBORw0K"}
PDF_UP = {"mimeType": "application/pdf", "data": "JVBE"}


@dataclass(frozen=True, slots=True)
class Row:
    """A request, and what of the body that Google gets is looked at.

    Attributes:
        request: The client's.
        expected: Path -> what stands there; None for nothing.
        model: Which is asked.
    """

    request: Json
    expected: Json
    model: str = FLASH


def text(*texts: str) -> list[Json]:
    """Return text parts."""
    return [{"text": each} for each in texts]


def response(said: Json, id_: str = "a", **more: Any) -> Json:
    """Return a part that answers a call of ``Read``."""
    return {"functionResponse": {"id": id_, "name": "Read", "response": said, **more}}


def answering(*blocks: Json | str, first: tuple[Json, ...] = (call(),)) -> Json:
    """Return a request whose last message answers calls with *blocks*."""
    return ask(HI, assistant(signed(), *first), user(*blocks))


LAST = "contents.2.parts"
SYSTEM = {
    "sys-attribution": Row(
        ask(system=[*({"type": "text", "text": each} for each in (ATTRIBUTION, "a", "", "b"))]),
        {"systemInstruction.parts": text("a", "b")},
    ),
    "sys-string": Row(ask(system="Be kind."), {"systemInstruction": {"parts": text("Be kind.")}}),
    "sys-mid": Row(
        ask(HI, assistant("a"), user("b"), {"role": "system", "content": "c"}),
        {
            "systemInstruction": None,
            LAST: text("b", "<system-reminder>\nc\n</system-reminder>"),
        },
    ),
    "sys-only-attr": Row(
        ask(system=[{"type": "text", "text": f"  {ATTRIBUTION}"}]), {"systemInstruction": None}
    ),
    "system before every user message": Row(
        ask({"role": "system", "content": [{"type": "text", "text": "b"}]}, HI, system="a"),
        {"systemInstruction.parts": text("a", "b"), "contents.0.parts": text("hi")},
    ),
    "system of several blocks": Row(
        ask(HI, {"role": "system", "content": user("a", "", "b")["content"]}),
        {"contents.0.parts": text("hi", "<system-reminder>\na\n\nb\n</system-reminder>")},
    ),
    "system that holds nothing": Row(
        ask(HI, {"role": "system", "output_config": {}}), {"contents.0.parts": text("hi")}
    ),
    "system that was for one turn": Row(
        ask(
            HI,
            {"role": "system", "content": "old", "clear_at": "next_user_message"},
            assistant("a"),
            user("b"),
            {"role": "system", "content": "new", "clear_at": "next_user_message"},
            {"role": "system", "content": "kept", "clear_at": "never"},
        ),
        {
            "contents.0.parts": text("hi"),
            LAST: text(
                "b",
                "<system-reminder>\nnew\n</system-reminder>",
                "<system-reminder>\nkept\n</system-reminder>",
            ),
        },
    ),
    "system between call and result": Row(
        ask(HI, assistant(signed(), call()), {"role": "system", "content": "c"}, user(result())),
        {LAST: [response({"output": "done\n\n<system-reminder>\nc\n</system-reminder>"})]},
    ),
}
MESSAGES = {
    "empty-text-block": Row(ask(user("", "a")), {"contents.0.parts": text("a")}),
    "whitespace-text": Row(ask(user(" ")), {"contents.0.parts": text(" ")}),
    "merge-users": Row(
        ask(user("a"), {"role": "user", "content": "b"}),
        {"contents": [{"role": "user", "parts": text("a", "b")}]},
    ),
    "first-assistant": Row(
        ask(assistant("a"), HI),
        {
            "contents": [
                {"role": "user", "parts": text(" ")},
                {"role": "model", "parts": text("a")},
                {"role": "user", "parts": text("hi")},
            ]
        },
    ),
    "a message of nothing is dropped": Row(
        ask(user("a"), assistant(thinking("EqQB")), user("b")),
        {"contents": [{"role": "user", "parts": text("a", "b")}]},
    ),
    "a user message of nothing is dropped": Row(
        ask(HI, assistant("a"), user(""), assistant("b"), HI),
        {"contents.1": {"role": "model", "parts": text("a", "b")}},
    ),
    "tool-args-unicode": Row(
        answering(result(), first=(call(x='é \U0001f600 \\ " \n \u2028'),)),
        {"contents.1.parts.0.functionCall.args": {"x": 'é \U0001f600 \\ " \n \u2028'}},
    ),
    "tool-input-null": Row(
        answering(result(), first=({**call(), "input": None},)),
        {"contents.1.parts.0.functionCall": {"id": "a", "name": "Read", "args": {}}},
    ),
    "no input": Row(
        answering(result(), first=({"type": "tool_use", "id": "toolu_g_a", "name": "Read"},)),
        {"contents.1.parts.0.functionCall.args": {}},
    ),
    "input that is no object": Row(
        answering(result(), first=({**call(), "input": ["a", 1.50]},)),
        {"contents.1.parts.0.functionCall.args": {"value": ["a", 1.5]}},
    ),
    "compaction": Row(
        ask(HI, assistant({"type": "compaction", "content": "So far."}), HI),
        {"contents.1.parts": text("So far.")},
    ),
    "failed compaction": Row(
        ask(HI, assistant({"type": "compaction", "content": None}, "a"), HI),
        {"contents.1.parts": text("a")},
    ),
    "what is Anthropic's alone": Row(
        ask(
            HI,
            assistant(
                {"type": "redacted_thinking", "data": "x"},
                {"type": "fallback", "to": {"model": "m"}},
                {"type": "mcp_tool_listing", "mcp_server_name": "m", "tools": []},
                "a",
            ),
            user({"type": "container_upload", "file_id": "file_1"}, "b"),
        ),
        {"contents.1.parts": text("a"), LAST: text("b")},
    ),
    "an unknown block in an older turn": Row(
        ask(user({"type": "hologram", "text": "x"}), assistant({"type": "dream"}), HI),
        {"contents.0.parts": text("[hologram]"), "contents.1.parts": text("[dream]")},
    ),
}
RESULTS = {
    "parallel-result-order": Row(
        answering(
            result("toolu_g_b", "two"),
            result("toolu_g_a", "one"),
            "now",
            first=(call(), call("toolu_g_b")),
        ),
        {
            LAST: [
                response({"output": "one"}),
                response({"output": "two"}, "b"),
                {"text": "now"},
            ]
        },
    ),
    "result-list-content": Row(
        answering(result(content=user("a", "b")["content"])),
        {LAST: [response({"output": "a\nb"})]},
    ),
    "result-empty": Row(answering(result(content=None)), {LAST: [response({"output": ""})]}),
    "result of no block": Row(answering(result(content=[])), {LAST: [response({"output": ""})]}),
    "result of one block": Row(
        answering(result(content={"type": "text", "text": "a"})),
        {LAST: [response({"output": "a"})]},
    ),
    "result-nonjson": Row(
        answering(result(content="{not json")), {LAST: [response({"output": "{not json"})]}
    ),
    "result-is-a-schema": Row(
        answering(result(content='{"$ref":"#/$defs/X"}')),
        {LAST: [response({"output": '{"$ref":"#/$defs/X"}'})]},
    ),
    "result that failed": Row(
        answering(result(content="no such file", is_error=True)),
        {LAST: [response({"error": "no such file"})]},
    ),
    "reminder-after-result": Row(
        answering(
            REMINDER,
            result(),
            REMINDER,
            result("toolu_g_b", is_error=True),
            first=(call(), call("toolu_g_b")),
        ),
        {
            LAST: [
                response({"output": "done"}),
                response({"error": f"done\n\n{REMINDER}\n\n{REMINDER}"}, "b"),
            ]
        },
    ),
    "a reminder without a result": Row(
        ask(HI, assistant("a"), user(REMINDER, "b")), {LAST: text(REMINDER, "b")}
    ),
    "result in a second message": Row(
        ask(HI, assistant(signed(), call()), user("a"), user(result())),
        {LAST: [response({"output": "done"}), {"text": "a"}]},
    ),
    "tool-result-image": Row(
        answering(result(content=[*user("a")["content"], IMAGE], is_error=True), "b"),
        {LAST: [response({"error": "a"}, parts=[{"inlineData": PNG_UP}]), {"text": "b"}]},
    ),
    "tool-result-image of generation 2.5": Row(
        answering(
            result(content=[IMAGE, *user("a")["content"]]),
            result("toolu_g_b", [{"type": "document", "title": "T", "source": PDF}]),
            "c",
            first=(call(), call("toolu_g_b")),
        ),
        {
            LAST: [
                response({"output": "a"}),
                response({"output": "T"}, "b"),
                {"text": "Image from Read:"},
                {"inlineData": PNG_UP},
                {"text": "Image from Read:"},
                {"inlineData": PDF_UP},
                {"text": "c"},
            ]
        },
        OLD,
    ),
    "a link within a result": Row(
        answering(
            result(content=[{"type": "image", "source": {"type": "url", "url": "https://a/b"}}])
        ),
        {
            LAST: [
                response({"output": ""}),
                {"text": "Image from Read:"},
                {"fileData": {"fileUri": "https://a/b", "mimeType": "image/jpeg"}},
            ]
        },
    ),
    "a reference and a search within a result": Row(
        answering(
            result(
                content=[
                    {"type": "tool_reference", "tool_name": "Write"},
                    {
                        "type": "search_result",
                        "title": "T",
                        "source": "https://a",
                        "content": user("x", "y")["content"],
                        "citations": {"enabled": True},
                    },
                ]
            )
        ),
        {LAST: [response({"output": "Tool Write is available now.\nT\nhttps://a\nx\ny"})]},
    ),
}


def source(kind: str = "image", /, **of: Any) -> Json:
    """Return a request for an image or document."""
    return ask(user({"type": kind, "source": of}))


MEDIA = {
    "image": Row(ask(user(IMAGE)), {"contents.0.parts": [{"inlineData": PNG_UP}]}),
    "image of the model": Row(
        ask(HI, assistant(IMAGE), HI), {"contents.1.parts": [{"inlineData": PNG_UP}]}
    ),
    "image by its address": Row(
        source(type="url", url="HTTPS://a/b.PNG?c=d.gif"),
        {
            "contents.0.parts.0.fileData": {
                "fileUri": "HTTPS://a/b.PNG?c=d.gif",
                "mimeType": "image/png",
            }
        },
    ),
    "document by its address": Row(
        source("document", type="url", url="https://a/b"),
        {
            "contents.0.parts.0.fileData": {
                "fileUri": "https://a/b",
                "mimeType": "application/pdf",
            }
        },
    ),
    "document": Row(
        ask(user({"type": "document", "source": PDF, "title": "T", "context": "C"})),
        {"contents.0.parts": [{"text": "T\nC"}, {"inlineData": PDF_UP}]},
    ),
    "document without a title": Row(
        ask(user({"type": "document", "source": PDF})),
        {"contents.0.parts": [{"inlineData": PDF_UP}]},
    ),
    "document of text": Row(
        ask(
            user(
                {
                    "type": "document",
                    "title": 'a "b"',
                    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                }
            )
        ),
        {"contents.0.parts": text('<document title="a &quot;b&quot;">x</document>')},
    ),
    "document of blocks": Row(
        source("document", type="content", content=[*user("a", "")["content"], IMAGE]),
        {"contents.0.parts": [{"text": "a"}, {"inlineData": PNG_UP}]},
    ),
    "document of a string": Row(
        source("document", type="content", content="a"), {"contents.0.parts": text("a")}
    ),
    "search result": Row(
        ask(user({"type": "search_result", "title": "T", "source": "S", "content": []})),
        {"contents.0.parts": text("T\nS")},
    ),
}


def server(name: str, given: Any, kind: str, content: Any) -> Json:
    """Return a request whose history has a call that Anthropic's server answered."""
    return ask(
        HI,
        assistant(
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": given},
            {"type": f"{kind}_tool_result", "tool_use_id": "srvtoolu_1", "content": content},
            "So.",
        ),
        HI,
    )


SERVER = {
    "web search": Row(
        server(
            "web_search",
            {"query": "cats"},
            "web_search",
            [
                {
                    "type": "web_search_result",
                    "title": "Cats",
                    "url": "https://c",
                    "encrypted_content": "zzz",
                },
                {"type": "web_search_result", "url": "https://d"},
            ],
        ),
        {"contents.1.parts": text("[web_search: cats]\nCats https://c\nhttps://d", "So.")},
    ),
    "web search that failed": Row(
        server(
            "web_search",
            {},
            "web_search",
            {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        ),
        {"contents.1.parts": text("[web_search]\nerror: max_uses_exceeded", "So.")},
    ),
    "web fetch": Row(
        server(
            "web_fetch",
            {"url": "https://c"},
            "web_fetch",
            {
                "type": "web_fetch_result",
                "url": "https://c",
                "content": {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "Meow."},
                },
            },
        ),
        {"contents.1.parts": text("[web_fetch: https://c]\nhttps://c\nMeow.", "So.")},
    ),
    "code": Row(
        server(
            "bash_code_execution",
            {"command": "ls", "n": 1},
            "bash_code_execution",
            {
                "type": "bash_code_execution_result",
                "stdout": "a\n",
                "stderr": "warn",
                "return_code": 0,
                "content": [],
            },
        ),
        {"contents.1.parts": text("[bash_code_execution: ls]\na\n\nwarn", "So.")},
    ),
    "a file": Row(
        server(
            "text_editor_code_execution",
            "view",
            "text_editor_code_execution",
            {"type": "text_editor_code_execution_view_result", "content": "x = 1"},
        ),
        {"contents.1.parts": text("[text_editor_code_execution]\nx = 1", "So.")},
    ),
    "tool search": Row(
        server(
            "tool_search_tool_regex",
            {"pattern": "r.*"},
            "tool_search",
            {
                "type": "tool_search_tool_search_result",
                "tool_references": [
                    {"type": "tool_reference", "tool_name": "Read"},
                    {"type": "tool_reference"},
                ],
            },
        ),
        {"contents.1.parts": text("[tool_search_tool_regex: r.*]\nRead", "So.")},
    ),
    "MCP": Row(
        ask(
            HI,
            assistant(
                {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "t", "server_name": "s"},
                {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": "r"},
                {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_2", "content": "late"},
                {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_3"},
            ),
            HI,
        ),
        {"contents.1.parts": text("[t]\nr", "late")},
    ),
}
FIELDS = {
    "max_tokens": Row(ask(), {"generationConfig": {"maxOutputTokens": 8192}}),
    "max_tokens above the limit": Row(
        ask(max_tokens=128000), {"generationConfig.maxOutputTokens": 65536}
    ),
    "stop sequences": Row(
        ask(stop_sequences=["a", "b"]), {"generationConfig.stopSequences": ["a", "b"]}
    ),
    "no stop sequences": Row(ask(stop_sequences=[]), {"generationConfig.stopSequences": None}),
    "sampling": Row(
        ask(temperature=1, top_p=0.5, top_k=3),
        {"generationConfig": {"maxOutputTokens": 8192}},
    ),
    "sampling of generation 2.5": Row(
        ask(temperature=1, top_p=0.5, top_k=3),
        {
            "generationConfig": {
                "maxOutputTokens": 8192,
                "temperature": 1.0,
                "topP": 0.5,
                "topK": 3,
            }
        },
        OLD,
    ),
    "a format": Row(
        ask(
            output_config={
                "format": {
                    "type": "json_schema",
                    "schema": {"type": "object", "properties": {"a": {"const": 1}}},
                }
            },
            tools=[READ_TOOL],
        ),
        {
            "generationConfig.responseMimeType": "application/json",
            "generationConfig.responseJsonSchema": {
                "type": "object",
                "properties": {"a": {"enum": [1]}},
            },
        },
    ),
    "a format without tools on 2.5": Row(
        ask(output_config={"format": {"type": "json_schema", "schema": {"type": "string"}}}),
        {"generationConfig.responseJsonSchema": {"type": "string"}},
        OLD,
    ),
    "empty lists that would be refused": Row(ask(mcp_servers=[]), {"contents.0.parts": text("hi")}),
}
ROWS = {**SYSTEM, **MESSAGES, **RESULTS, **MEDIA, **SERVER, **FIELDS}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_sent(row: Row) -> None:
    """Each part of a request becomes what the tables say."""
    got = sent(row.request, row.model)

    assert row.expected == {path: at(got, path) for path in row.expected}


PREFILL = (
    "This model does not support assistant message prefill. "
    "The conversation must end with a user message."
)
NO_CONTENT = (
    "all messages must have non-empty content except for the optional final assistant message"
)
ORPHAN = (
    "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_g_a. "
    "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
)
UNANSWERED = (
    "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: "
    "toolu_g_a, toolu_g_b. Each `tool_use` block must have a corresponding `tool_result` block "
    "in the next message."
)
# What clients match, or have been seen to show: word for word.
WORDED = {
    "prefill": (ask(HI, assistant("a")), PREFILL),
    "no message": ({**ask(), "messages": []}, "messages: at least one message is required"),
    "no max_tokens": (ask(max_tokens=None), "max_tokens: Field required"),
    "an empty user message": (ask(user("")), f"messages.0: {NO_CONTENT}"),
    "an empty last message": (ask(HI, assistant("a"), user()), f"messages.2: {NO_CONTENT}"),
    "instructions alone": (
        ask({"role": "system", "content": "a"}),
        f"messages: {NO_CONTENT}",
    ),
    "an orphan": (ask(user(result())), ORPHAN),
    "a result of nothing": (
        ask(HI, assistant(call()), user({"type": "tool_result"}, result())),
        ORPHAN.replace("messages.0", "messages.2").replace("toolu_g_a", "None"),
    ),
    "an older call's result": (
        ask(HI, assistant(call()), user(result()), assistant("a"), user(result())),
        ORPHAN.replace("messages.0", "messages.4"),
    ),
    "no answer": (ask(HI, assistant(call(), call("toolu_g_b")), user("a")), UNANSWERED),
    "no answer, then the system": (
        ask(HI, assistant(call(), call("toolu_g_b")), {"role": "system", "content": []}),
        UNANSWERED,
    ),
    "an answer too late": (
        ask(HI, assistant(call(), call("toolu_g_b")), user("a"), assistant("b"), user(result())),
        UNANSWERED,
    ),
    "two answers": (
        ask(HI, assistant(call()), user(result(), result())),
        "messages.2.content.1: each tool_use must have a single result. "
        "Found multiple `tool_result` blocks with id: toolu_g_a",
    ),
    "one id twice": (
        ask(HI, assistant(call(), call()), user(result())),
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    "a result of the model's": (
        ask(HI, assistant(result()), HI),
        "messages.1.content.0: `tool_result` blocks can only be in `user` messages",
    ),
    "a call of the user's": (
        ask(user(call())),
        "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages",
    ),
}


@pytest.mark.parametrize(("request_", "expected"), WORDED.values(), ids=WORDED)
def test_worded(request_: Json, expected: str) -> None:
    """What clients repair by its wording has that wording, with nothing in front of it."""
    got = fault(request_)

    assert (400, "invalid_request_error", expected) == (got.status, got.kind, got.said)


IN_SOURCE = "messages.0.content.0.source"
REFUSED = {
    "gif": (
        source(type="base64", media_type="image/gif", data="R0"),
        f"{IN_SOURCE}.media_type: 'image/gif'",
    ),
    "gif by its address": (
        source(type="url", url="https://a/b.gif"),
        f"{IN_SOURCE}.url: 'https://a/b.gif'",
    ),
    "image of no kind": (source(type="base64", data="R0"), f"{IN_SOURCE}.media_type: None"),
    "image without data": (
        source(type="base64", media_type="image/png"),
        f"{IN_SOURCE}.data: Field",
    ),
    "http": (source(type="url", url="http://a/b.png"), f"{IN_SOURCE}.url: 'http://a/b.png'"),
    "no address": (source("document", type="url"), f"{IN_SOURCE}.url: None"),
    "file": (source(type="file", file_id="file_1"), f"{IN_SOURCE}: 'file'"),
    "no source": (ask(user({"type": "image"})), f"{IN_SOURCE}: an object"),
    "unknown source": (source(type="ftp"), f"{IN_SOURCE}.type: 'ftp'"),
    "image of text": (source(type="text", data="a"), f"{IN_SOURCE}.type: 'text'"),
    "document that is no PDF": (
        source("document", type="base64", media_type="text/html", data="a"),
        f"{IN_SOURCE}.media_type: 'text/html'",
    ),
    "document without text": (source("document", type="text"), f"{IN_SOURCE}.data: Field"),
    "document in a document": (
        source("document", type="content", content=[{"type": "document"}]),
        f"{IN_SOURCE}.content.0.type: 'document'",
    ),
    "text without text": (ask(user({"type": "text"})), "messages.0.content.0.text: Field"),
    "call without an id": (
        ask(HI, assistant({"type": "tool_use", "name": "a"}), HI),
        "messages.1.content.0.tool_use.id: Field",
    ),
    "call without a name": (
        ask(HI, assistant({"type": "tool_use", "id": "a"}), HI),
        "messages.1.content.0.tool_use.name: Field",
    ),
    "unknown block": (ask(user({"type": "hologram"})), "messages.0.content.0.type: 'hologram'"),
    "unknown block in a result": (
        answering(result(content=[{"type": "browser_state"}])),
        "messages.2.content.0.content.0.type: 'browser_state'",
    ),
    "unknown role": (ask({"role": "tool", "content": "a"}), "messages.0.role: 'tool'"),
    "image of the system": (ask(system=[IMAGE]), "system.0.type: 'image'"),
    "mcp_servers": (ask(mcp_servers=[{"name": "a"}]), "mcp_servers: [{'name': 'a'}]"),
    "fallbacks": (ask(fallbacks=[{"model": "a"}]), "fallbacks: [{'model': 'a'}]"),
    "thread": (ask(thread={"type": "create"}), "thread: {'type': 'create'}"),
    "stops": (
        ask(stop_sequences=["a", "b", "c", "d", "e", "f"]),
        "stop_sequences: 6 sequences, 'f' is one too many",
    ),
    "max_tokens below 0": (ask(max_tokens=-1), "max_tokens: -1"),
    "unknown format": (
        ask(output_config={"format": {"type": "xml"}}),
        "output_config.format.type: 'xml'",
    ),
    "format without a schema": (
        ask(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.schema: Field required",
    ),
    "a wrong type": (
        ask(HI, assistant({"type": "text", "text": 3}), HI),
        "messages.1.content.0.text: Expected 'str",
    ),
    "a long value": (
        ask({"role": "x" * 200, "content": "a"}),
        "messages.0.role: '" + "x" * 79 + "... is not",
    ),
}


@pytest.mark.parametrize(("request_", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(request_: Json, expected: str) -> None:
    """What cannot be told is a 400 that names the field and the value."""
    got = fault(request_)

    assert (400, "invalid_request_error") == (got.status, got.kind)
    assert got.said.startswith(f"passgate: {expected}")


def test_format_beside_tools() -> None:
    """Generation 2.5 takes a schema of the answer or tools."""
    wanted = {"format": {"type": "json_schema", "schema": {}}}
    got = fault(ask(output_config=wanted, tools=[READ_TOOL]), OLD)

    assert got.message.startswith("output_config.format: 'json_schema' beside tools")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", "the body is not valid JSON", id="nothing"),
        pytest.param(b'{"messages":[', "the body is not valid JSON", id="cut"),
        pytest.param(
            b'{"messages":[{"role":"\xff"}]}', "the body is not valid JSON", id="not UTF-8"
        ),
        pytest.param(b"[]", "Expected 'object', got 'array'", id="a list"),
        pytest.param(b"{}", "Object missing required field 'messages'", id="no messages"),
        pytest.param(b'{"messages":3}', "messages: Expected 'array', got 'int'", id="a number"),
        pytest.param(
            b'{"messages":' + b"[" * 2000 + b"]" * 2000 + b"}", "messages.0: Expected", id="lists"
        ),
        pytest.param(
            b'{"x":' + b"[" * 2000 + b"]" * 2000 + b',"messages":[]}',
            "the body is nested too deeply",
            id="deep",
        ),
        pytest.param(
            b'{"max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"assistant",'
            b'"content":[{"type":"tool_use","id":"a","name":"b","input":{"c":"\xff"}}]},'
            b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}',
            "messages.1.content.0.input: not valid JSON",
            id="arguments that are not UTF-8",
        ),
        pytest.param(
            b'{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":'
            b'"server_tool_use","name":"b","input":{"c":1e999}}]},{"role":"user","content":"a"}]}',
            "messages.0.content.0.input: not valid JSON",
            id="arguments out of range",
        ),
    ],
)
def test_no_request(body: bytes, expected: str) -> None:
    """A body that is no Messages request is refused, however it is broken."""
    with pytest.raises(Refused) as refused:
        read(body, FLASH)

    assert refused.value.fault.message.startswith(expected)


def test_deep() -> None:
    """However deep a value is, it is written or refused."""
    seen = set()
    for levels in range(800, 1000):
        value = "[" * levels + "]" * levels
        body = body_of(ask(tools=[READ_TOOL])).replace(
            b'"type":"string"', b'"default":' + value.encode()
        )
        try:
            seen.add(read(body, FLASH).model.id)
        except Refused as refused:
            seen.add(refused.fault.message)

    assert {FLASH, "the body is nested too deeply"} == seen


def test_asked() -> None:
    """What the answer's translation has to know of the request."""
    got = asked(
        ask(
            HI,
            assistant(signed(), call(), call("toolu_01")),
            user(result(), result("toolu_01")),
            stream=True,
            thinking={"type": "adaptive"},
            tools=[READ_TOOL],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        )
    )

    assert (FLASH, True, True, False) == (
        got.model.id,
        got.stream,
        got.display,
        got.thinking_disabled,
    )
    assert (8192, True) == (got.max_tokens, got.one_call)
    assert {"toolu_g_a", "toolu_01", "toolu_g_toolu_01"} == got.taken_ids
    assert "Read" == got.names.down("Read")
    assert f"Asked({FLASH})" == repr(got)


def test_zero() -> None:
    """A request for no token is told apart: it is answered without asking Google."""
    assert 0 == asked(ask(max_tokens=0)).max_tokens


def test_dropped() -> None:
    """What has no meaning for the result is left out and told, but not what a client made up."""
    got = asked(
        ask(
            HI,
            assistant({"type": "redacted_thinking", "data": "a"}, thinking("EqQB"), "a"),
            user({"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}),
            metadata={"user_id": "u"},
            service_tier="auto",
            temperature=1.0,
            made_up=1,
            tools=[{**READ_TOOL, "strict": True, "input_examples": [], "type": "custom"}],
        )
    ).dropped

    assert (
        "metadata",
        "service_tier",
        "unknown fields",
        "cache_control",
        "temperature",
        "tools.strict",
        "tools.input_examples",
        "blocks.redacted_thinking",
        "thinking of others",
    ) == got


def test_count() -> None:
    """Tokens are counted of the same request, without what counts none."""
    request = ask(max_tokens=None, system="a", tools=[READ_TOOL], thinking={"type": "adaptive"})
    expected = sent({**request, "max_tokens": 1})
    del expected["generationConfig"]
    got = json.loads(asked(request, counting=True).count_body(PLAIN))

    assert {"generateContentRequest": {"model": f"models/{FLASH}", **expected}} == got


def test_sticky() -> None:
    """A conversation is known by how it begins, whatever it has become since."""
    first = asked(ask(user("a"), system="s")).sticky
    later = asked(ask(user("a"), assistant("b"), user("c"), system="s")).sticky
    other = asked(ask(user("b"), system="s")).sticky

    assert first == later != other


def test_the_client_s_own_bytes() -> None:
    """Arguments are sent as they came: numbers and spaces keep their form."""
    body = body_of(answering(result())).replace(b'"input":{}', b'"input": {"a": 1.0e2, "b":[ ]}')

    assert b'"args":{"a": 1.0e2, "b":[ ]}' in read(body, FLASH).body(PLAIN)
    assert read(body, FLASH).body(PLAIN) == read(bytearray(body), FLASH).body(PLAIN)


def test_continued() -> None:
    """The next hop is asked for with the same request, and the token that was given."""
    body = b'{"contents":[]}'

    assert {"contents": [], "continuationToken": 'a"b'} == json.loads(continued(body, 'a"b'))
