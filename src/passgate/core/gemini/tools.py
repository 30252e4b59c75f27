"""Which tools a model is offered, as what, and whether it has to call one."""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import Enum
from hashlib import sha256

import msgspec
from msgspec import UNSET, UnsetType

from passgate.core.gemini.body import Block, Request, Tool, ToolChoice, refused, schema_in, shown
from passgate.core.gemini.models import Model
from passgate.core.gemini.names import NameMap
from passgate.core.gemini.parts import CallingConfig, Declaration, ToolConfig, encode
from passgate.core.gemini.references import Schema
from passgate.core.gemini.schema import normalised

# Google's limit.
_MAX_DECLARATIONS = 512
# Some half a second of work; 200 tools of real servers have a tenth of it.
_MAX_SCHEMA_BYTES = 2 << 20

# Tools whose schema or work is Anthropic's: a prefix of ``type``.
_SEARCH = "tool_search_tool_"
_RUN_THERE = ("web_search_", "web_fetch_", "code_execution_")
_DROPPED = ("strict", "input_examples", "eager_input_streaming", "allowed_callers")
_MODES = {"auto": "AUTO", "any": "ANY", "none": "NONE", "tool": "ANY"}


class Turned(Enum):
    """What a conversation does to a tool on its way."""

    ON = "on"
    OFF = "off"


class Change(msgspec.Struct, frozen=True):
    """A tool that a conversation turns on or off.

    Attributes:
        turned: Which of both.
        name: The client's name of the tool.
        definition: Where the change brings the tool along, else None.
        place: Where it stands, such as ``messages.3.content.0``.
    """

    turned: Turned
    name: str
    definition: Tool | None = None
    place: str = ""


def changes_in(block: Block, place: str) -> list[Change]:
    """Return what *block*, and what it holds, does to the tools."""
    if block.type == "tool_reference":
        return [Change(Turned.ON, block.tool_name)] if block.tool_name else []
    if block.type in ("tool_addition", "tool_removal"):
        return _changed(block, place)
    inner = _held(block)
    if not isinstance(inner, list):
        return []
    return [
        change for each in inner if each.type != block.type for change in changes_in(each, place)
    ]


def _held(block: Block) -> str | list[Block] | None:
    """Return the blocks of a block that may change the tools."""
    if block.type == "compaction":
        return block.tool_changes
    if block.type not in ("tool_result", "tool_search_tool_result"):
        return None
    return block.content.tool_references if isinstance(block.content, Block) else block.content


def _changed(block: Block, place: str) -> list[Change]:
    tool = block.tool
    turned = Turned.ON if block.type == "tool_addition" else Turned.OFF
    if tool is None:
        raise refused(f"{place}.tool", "Field required")
    if tool.definition is not None:
        name = tool.definition.name or ""
        return [Change(turned, name, tool.definition, f"{place}.tool.definition")]
    # Others name tools of MCP servers, which a request to Gemini cannot have.
    return [Change(turned, tool.name)] if tool.name and tool.type == "tool_reference" else []


class Offer(msgspec.Struct, frozen=True):
    """The tools of one request.

    Attributes:
        declarations: In the client's order.
        digests: Of each declaration's schema, by which a refused one is remembered.
        config: Whether the model has to call one, or None where nothing is said.
        names: The names on both sides.
        one_call: Whether the client takes no more than one call in an answer.
        dropped: What was left out of the declarations.
    """

    declarations: list[Declaration]
    digests: tuple[str, ...]
    config: ToolConfig | None
    names: NameMap
    one_call: bool
    dropped: tuple[str, ...]


def offer(
    request: Request,
    changes: Iterable[Change],
    model: Model,
    *,
    plain: Container[str],
    validated: bool,
) -> Offer:
    """Return what *request* offers the model after all *changes*.

    Args:
        request: As the client sent it.
        changes: In the order of the conversation.
        model: Which is asked.
        plain: Digests of schemas that Google refused: they are told in words.
        validated: Whether a strict tool has the calls checked, where they are free.

    Raises:
        Refused: A tool of Anthropic's, a name twice, a choice that is none.
    """
    tools = _tools(request.tools or [], changes)
    choice = request.tool_choice
    forced = _forced(choice, tools)
    offered = [each for each in tools.values() if each.offered or each.tool.name == forced]
    if len(offered) > _MAX_DECLARATIONS:
        raise refused("tools", f"{len(offered)} tools; Gemini takes {_MAX_DECLARATIONS}")
    size = sum(_size(each.tool) for each in offered)
    if size > _MAX_SCHEMA_BYTES:
        text = f"{size} bytes of schemas; at most {_MAX_SCHEMA_BYTES} are translated"
        raise refused("tools", text)
    names = NameMap(each.name for each in offered)
    declarations, digests = [], []
    for each in offered:
        schema = _parameters(each.tool, each.place)
        digest = sha256(encode(schema)).hexdigest()
        digests.append(digest)
        declarations.append(_declaration(each, names, schema, told=digest in plain))
    strict = validated and model.current and any(each.tool.strict is True for each in offered)
    config = _config(choice, names, strict=strict) if offered else None
    if choice is not None and choice.type == "any" and not offered:
        raise refused("tool_choice", "'any' needs a tool in tools")
    given = {key for each in offered for key in _DROPPED if getattr(each.tool, key) is not UNSET}
    one_call = bool(choice is not None and choice.disable_parallel_tool_use)
    dropped = tuple(f"tools.{key}" for key in _DROPPED if key in given)
    return Offer(declarations, tuple(digests), config, names, one_call, dropped)


class _Listed(msgspec.Struct):
    name: str
    tool: Tool
    place: str
    offered: bool


def _tools(tools: list[Tool], changes: Iterable[Change]) -> dict[str, _Listed]:
    """Return the tools in the client's order, and which of them are offered in the end."""
    own = [(f"tools.{index}", tool) for index, tool in enumerate(tools) if not _searches(tool)]
    all_found = len(own) < len(tools)  # what a search would find is there from the beginning
    listed: dict[str, _Listed] = {}
    for place, tool in own:
        name = _checked(tool, place)
        if name in listed:
            raise refused("tools", f"Tool names must be unique: {shown(name)}")
        listed[name] = _Listed(name, tool, place, all_found or not tool.defer_loading)
    for change in changes:
        if change.definition is not None and change.turned is Turned.ON:
            name = _checked(change.definition, change.place)
            listed[name] = _Listed(name, change.definition, change.place, offered=True)
        elif change.name in listed:
            listed[change.name].offered = change.turned is Turned.ON
    return listed


def _searches(tool: Tool) -> bool:
    return tool.type is not None and tool.type.startswith(_SEARCH)


def _checked(tool: Tool, place: str) -> str:
    """Return the name of *tool*, which has to be the client's own."""
    kind = tool.type
    if kind is not None and kind != "custom":
        if kind.startswith(_RUN_THERE):
            text = f"tool type {kind} is not available on Gemini models through this gateway"
        else:
            text = f"tool type {kind} is defined by Anthropic and not available on Gemini models"
        raise refused(f"{place}.type", text)
    if not tool.name:
        raise refused(f"{place}.name", "Field required")
    return tool.name


def _size(tool: Tool) -> int:
    schema = tool.input_schema
    return 0 if isinstance(schema, UnsetType) else memoryview(schema).nbytes


def _parameters(tool: Tool, place: str) -> Schema | None:
    """Return the schema of a tool's arguments, or None where it has none."""
    given = schema_in(tool.input_schema, f"{place}.input_schema")
    if given is None:
        return None
    schema = normalised(given)
    told = any(schema.get(key) for key in ("properties", "anyOf", "oneOf"))
    return schema if told or isinstance(schema.get("additionalProperties"), dict) else None


def _declaration(
    listed: _Listed, names: NameMap, schema: Schema | None, *, told: bool
) -> Declaration:
    description = listed.tool.description or None
    if told:
        words = f"Arguments as JSON schema: {encode(schema).decode()}"
        description = f"{description}\n\n{words}" if description else words
        schema = {"type": "object"}
    return Declaration(names.up(listed.name), description, schema)


def _forced(choice: ToolChoice | None, tools: dict[str, _Listed]) -> str | None:
    """Return the tool that has to be called, if any."""
    if choice is None:
        return None
    if choice.type not in _MODES:
        raise refused("tool_choice.type", f"{shown(choice.type)} is not one of {', '.join(_MODES)}")
    if choice.type != "tool":
        return None
    if choice.name not in tools:
        raise refused("tool_choice.name", f"Tool {shown(choice.name)} not found in provided tools")
    return choice.name


def _config(choice: ToolChoice | None, names: NameMap, *, strict: bool) -> ToolConfig | None:
    if choice is None:
        return ToolConfig(CallingConfig("VALIDATED")) if strict else None
    mode = "VALIDATED" if strict and choice.type == "auto" else _MODES[choice.type]
    allowed = [names.up(choice.name)] if choice.type == "tool" and choice.name else None
    return ToolConfig(CallingConfig(mode, allowed))
