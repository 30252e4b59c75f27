"""Which tools the model is offered, and whether it has to call one."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tests.core.gemini.asks import (
    FLASH,
    HI,
    OLD,
    READ_TOOL,
    Json,
    ask,
    asked,
    assistant,
    at,
    call,
    fault,
    result,
    sent,
    signed,
    user,
)


def tool(name: str, **more: Any) -> Json:
    """Return a tool of a client's own."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    return {"name": name, "input_schema": schema, **more}


def declared(request: Json, model: str = FLASH, **how: Any) -> list[str]:
    """Return the names of the functions that Gemini is told of."""
    found = at(sent(request, model, **how), "tools.0.functionDeclarations")
    return [each["name"] for each in found or []]


def test_declaration() -> None:
    """A function is told by name, description and schema, and nothing else of the tool."""
    more = {
        "type": "custom",
        "strict": True,
        "input_examples": [{"path": "a"}],
        "eager_input_streaming": True,
        "allowed_callers": ["direct"],
        "cache_control": {"type": "ephemeral"},
        "defer_loading": False,
    }
    expected = {
        "name": "Read",
        "description": "Read a file.",
        "parametersJsonSchema": READ_TOOL["input_schema"],
    }

    assert [{"functionDeclarations": [expected]}] == sent(ask(tools=[{**READ_TOOL, **more}]))[
        "tools"
    ]


@pytest.mark.parametrize(
    "schema",
    [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "string"}],
    ids=["absent", "empty", "no properties", "empty properties", "no object"],
)
def test_no_arguments(schema: Json | None) -> None:
    """A function without arguments has no schema of them."""
    given = {"name": "a", "description": "", "input_schema": schema}

    assert [{"name": "a"}] == sent(ask(tools=[given]))["tools"][0]["functionDeclarations"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"anyOf": [{"type": "object", "properties": {"a": {}}}]},
    ],
    ids=["a map", "branches"],
)
def test_arguments_without_properties(schema: Json) -> None:
    """Arguments that have no fixed names are arguments all the same."""
    got = sent(ask(tools=[{"name": "a", "input_schema": schema}]))

    assert schema == at(got, "tools.0.functionDeclarations.0.parametersJsonSchema")


def test_names_are_mapped_everywhere() -> None:
    """A name that Gemini does not take is the same in declaration, history and choice."""
    got = sent(
        ask(
            HI,
            assistant(signed(), call(name="7zip")),
            user(result()),
            tools=[tool("7zip")],
            tool_choice={"type": "tool", "name": "7zip"},
        )
    )

    assert "_7zip" == at(got, "tools.0.functionDeclarations.0.name")
    assert "_7zip" == at(got, "contents.1.parts.0.functionCall.name")
    assert "_7zip" == at(got, "contents.2.parts.0.functionResponse.name")
    assert ["_7zip"] == at(got, "toolConfig.functionCallingConfig.allowedFunctionNames")


def test_history_without_declaration() -> None:
    """A call of a tool that is not offered any more is history like any other."""
    got = sent(ask(HI, assistant(signed(), call()), user(result())))

    assert "tools" not in got
    assert "Read" == at(got, "contents.1.parts.0.functionCall.name")


AUTO = {"type": "auto"}
READ = {"type": "tool", "name": "Read"}
STRICT = {**READ_TOOL, "strict": True}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (AUTO, {"mode": "AUTO"}),
        ({"type": "any"}, {"mode": "ANY"}),
        ({"type": "none"}, {"mode": "NONE"}),
        (READ, {"mode": "ANY", "allowedFunctionNames": ["Read"]}),
    ],
    ids=["absent", "auto", "any", "none", "tool"],
)
def test_choice(choice: Json | None, expected: Json | None) -> None:
    """Each choice has its mode; without one nothing is said, and ``none`` keeps the tools."""
    got = sent(ask(tools=[READ_TOOL], tool_choice=choice))

    assert expected == at(got, "toolConfig.functionCallingConfig")
    assert "tools" in got


@pytest.mark.parametrize(
    ("choice", "model", "validated", "expected"),
    [
        (None, FLASH, True, "VALIDATED"),
        (AUTO, FLASH, True, "VALIDATED"),
        ({"type": "any"}, FLASH, True, "ANY"),
        (None, FLASH, False, None),
        (AUTO, OLD, True, "AUTO"),
    ],
)
def test_strict(choice: Json | None, model: str, *, validated: bool, expected: str | None) -> None:
    """Calls of strict tools are checked by Google where the operator wants it."""
    got = sent(ask(tools=[STRICT], tool_choice=choice), model, validated=validated)

    assert expected == at(got, "toolConfig.functionCallingConfig.mode")


def test_choice_without_tools() -> None:
    """Where there is no tool, a free choice says nothing."""
    assert "toolConfig" not in sent(ask(tools=[], tool_choice=AUTO))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, False),
        (AUTO, False),
        ({**AUTO, "disable_parallel_tool_use": True}, True),
        ({**READ, "disable_parallel_tool_use": False}, False),
    ],
)
def test_one_call(choice: Json | None, *, expected: bool) -> None:
    """A client that takes one call at a time is known to the answer's translation."""
    assert expected is asked(ask(tools=[READ_TOOL], tool_choice=choice)).one_call


LATER = [tool("a"), tool("b", defer_loading=True), tool("c", defer_loading=True)]


def change(kind: str, **of: Any) -> Json:
    """Return a system message that changes the tools."""
    return {"role": "system", "content": [{"type": f"tool_{kind}", "tool": of}]}


def named(name: str) -> Json:
    """Return a reference to a tool."""
    return {"type": "tool_reference", "name": name}


def found(name: str) -> Json:
    """Return a block that says a tool was found."""
    return {"type": "tool_reference", "tool_name": name}


SEARCH = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
SEARCHED = {
    "type": "tool_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "tool_search_tool_search_result", "tool_references": [found("c")]},
}
SUMMARY = {
    "type": "compaction",
    "content": "s",
    "tool_changes": [{"type": "tool_addition", "tool": named("b")}],
}
INLINE = {"type": "tool_definition", "definition": tool("x")}


@pytest.mark.parametrize(
    ("messages", "tools", "expected"),
    [
        pytest.param([HI], LATER, ["a"], id="deferred"),
        pytest.param([HI], [SEARCH, *LATER], ["a", "b", "c"], id="with a search"),
        pytest.param(
            [HI, assistant(call()), user(result(content=[found("c"), found("z")]))],
            LATER,
            ["a", "c"],
            id="named by a result",
        ),
        pytest.param(
            [HI, assistant(call()), user(result(content=[{"type": "tool_reference"}]))],
            LATER,
            ["a"],
            id="named by nothing",
        ),
        pytest.param([HI, assistant(SEARCHED, "a"), HI], LATER, ["a", "c"], id="searched there"),
        pytest.param([HI, assistant(SUMMARY), HI], LATER, ["a", "b"], id="before a compaction"),
        pytest.param(
            [HI, assistant({"type": "compaction", "content": "s"}), HI],
            LATER,
            ["a"],
            id="a compaction without changes",
        ),
        pytest.param([HI, change("addition", **named("b"))], LATER, ["a", "b"], id="added"),
        pytest.param([HI, change("removal", **named("a"))], LATER, [], id="removed"),
        pytest.param(
            [
                HI,
                change("removal", **named("a")),
                assistant("x"),
                HI,
                change("addition", **named("a")),
            ],
            LATER,
            ["a"],
            id="removed and added",
        ),
        pytest.param([HI, change("addition", **INLINE)], LATER, ["a", "x"], id="brought along"),
        pytest.param(
            [HI, change("addition", **INLINE), change("removal", **INLINE)],
            LATER,
            ["a"],
            id="brought along and removed",
        ),
        pytest.param(
            [HI, change("addition", type="mcp_toolset_reference", server_name="s")],
            LATER,
            ["a"],
            id="of an MCP server",
        ),
        pytest.param([HI, change("addition", **named("z"))], LATER, ["a"], id="unknown"),
    ],
)
def test_offered(messages: list[Json], tools: list[Json], expected: list[str]) -> None:
    """Deferred tools are offered once the conversation has named them, in the client's order."""
    assert expected == declared(ask(*messages, tools=tools))


def test_a_deferred_tool_that_must_be_called() -> None:
    """A choice names a tool as much as a search does."""
    assert ["a", "c"] == declared(ask(tools=LATER, tool_choice={"type": "tool", "name": "c"}))


def test_changes_say_nothing() -> None:
    """A change of the tools is no text."""
    got = sent(ask(HI, change("addition", **named("b")), tools=LATER))
    inner = sent(ask(user({"type": "tool_addition", "tool": named("b")}, "a"), tools=LATER))

    assert [{"text": "hi"}] == at(got, "contents.0.parts")
    assert [{"text": "a"}] == at(inner, "contents.0.parts")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(
            ask(tools=[READ_TOOL, {"type": "web_search_20250305", "name": "web_search"}]),
            "tools.1.type: tool type web_search_20250305 is not available on Gemini models "
            "through this gateway",
            id="web search",
        ),
        pytest.param(
            ask(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]),
            "tools.0.type: tool type web_fetch_20250910 is not available",
            id="web fetch",
        ),
        pytest.param(
            ask(tools=[{"type": "code_execution_20250825", "name": "code_execution"}]),
            "tools.0.type: tool type code_execution_20250825 is not available",
            id="code",
        ),
        *(
            pytest.param(
                ask(tools=[{"type": kind, "name": "a"}]),
                f"tools.0.type: tool type {kind} is defined by Anthropic",
                id=kind,
            )
            for kind in (
                "bash_20250124",
                "text_editor_20250728",
                "memory_20250818",
                "computer_20251124",
                "browser_20260101",
                "mcp_toolset",
                "advisor_20260301",
            )
        ),
        pytest.param(ask(tools=[{"input_schema": {}}]), "tools.0.name: Field", id="no name"),
        pytest.param(
            ask(tools=[{"name": "a", "input_schema": {"minimum": Raw(b"1e999")}}]),
            "tools.0.input_schema: not valid JSON: Number out of range",
            id="a number out of range",
        ),
        pytest.param(
            ask(tools=[tool("a"), tool("a")]),
            "tools: Tool names must be unique: 'a'",
            id="one name twice",
        ),
        pytest.param(
            ask(tools=[{"name": "a", "input_schema": [1]}]),
            "tools.0.input_schema: not an object: [1]",
            id="no schema",
        ),
        pytest.param(
            ask(
                tools=[
                    {**tool(f"t{n}"), "input_schema": {"$comment": "x" * (1 << 20)}} for n in (1, 2)
                ]
            ),
            "tools: 2097182 bytes of schemas; at most 2097152",
            id="too large",
        ),
        pytest.param(
            ask(tools=[tool(f"t{n}") for n in range(513)]), "tools: 513 tools", id="too many"
        ),
        pytest.param(
            ask(tools=[READ_TOOL], tool_choice={"type": "tool", "name": "Fly"}),
            "tool_choice.name: Tool 'Fly' not found",
            id="choice of an unknown tool",
        ),
        pytest.param(
            ask(tools=[READ_TOOL], tool_choice={"type": "some"}),
            "tool_choice.type: 'some' is not one of auto",
            id="unknown choice",
        ),
        pytest.param(
            ask(tool_choice={"type": "any"}), "tool_choice: 'any' needs a tool", id="any of none"
        ),
        pytest.param(
            ask(HI, {"role": "system", "content": [{"type": "tool_addition"}]}),
            "messages.1.content.0.tool: Field required",
            id="a change of nothing",
        ),
        pytest.param(
            ask(HI, change("addition", type="tool_definition", definition={"type": "bash_1"})),
            "messages.1.content.0.tool.definition.type: tool type bash_1",
            id="Anthropic's, brought along",
        ),
        pytest.param(
            ask(HI, change("addition", type="tool_definition", definition={})),
            "messages.1.content.0.tool.definition.name: Field required",
            id="brought along without a name",
        ),
    ],
)
def test_refused(request_: Json, expected: str) -> None:
    """A tool that Gemini cannot have is a 400 that names it."""
    assert fault(request_).message.startswith(expected)


@pytest.mark.parametrize("description", ["What a does.", None])
def test_schema_in_words(description: str | None) -> None:
    """A schema that Google refused is told in the description."""
    request = ask(tools=[READ_TOOL, tool("a", description=description)])
    first, second = asked(request).schemas
    got = at(sent(request, plain=frozenset([second])), "tools.0.functionDeclarations")
    words = 'Arguments as JSON schema: {"type":"object","properties":{"a":{"type":"string"}}}'

    assert first != second
    assert READ_TOOL["input_schema"] == got[0]["parametersJsonSchema"]
    assert {"type": "object"} == got[1]["parametersJsonSchema"]
    assert (f"{description}\n\n{words}" if description else words) == got[1]["description"]
