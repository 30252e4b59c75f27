"""Single content blocks as parts, where nothing but the block itself decides what it becomes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw, UnsetType

from passgate.core.gemini.body import Block, Placed, Source, refused, shown
from passgate.core.gemini.names import NameMap
from passgate.core.gemini.parts import Blob, Link, Part

_PDF = "application/pdf"
_IMAGES = ("image/png", "image/jpeg", "image/webp")
_IMAGE_ENDINGS = {
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
}


# What they do to the tools is read elsewhere.
TOOL_CHANGES = ("tool_addition", "tool_removal")
# Blocks without a meaning elsewhere than at Anthropic.
_SILENT = ("redacted_thinking", "container_upload", "fallback", "mcp_tool_listing")


def parts_of(each: Placed, *, names: NameMap, last: bool, dropped: dict[str, None]) -> list[Part]:
    """Return the parts of a block that may stand anywhere.

    Args:
        each: The block.
        names: What Gemini calls the tools.
        last: Whether it is the user's last turn, where an unknown block is refused.
        dropped: Kinds of blocks that were left out; entered here.
    """
    block, place = each.block, each.place
    match block.type:
        case "text":
            return [Part(text=text_of(block, place))]
        case "image":
            return [image(block, place)]
        case "document":
            return document(block, place)
        case "search_result":
            return [Part(text=search_result(block))]
        case "tool_reference":
            return [Part(text=f"Tool {names.up(block.tool_name or '')} is available now.")]
        case "compaction":
            return [Part(text=text) for text in _texts(block.content)]
        case _:
            return _without_meaning(block, place, last=last, dropped=dropped)


def _without_meaning(
    block: Block, place: str, *, last: bool, dropped: dict[str, None]
) -> list[Part]:
    """Return what is left of a block that says nothing to Gemini, or that nobody knows."""
    kind = block.type
    if kind in TOOL_CHANGES:
        return []
    if kind in _SILENT:
        dropped[f"blocks.{kind}"] = None
        return []
    if last:
        raise refused(f"{place}.type", f"{shown(kind)} is not known on Gemini models")
    return [Part(text=f"[{kind}]")]


def text_of(block: Block, place: str) -> str:
    """Return the text of a text block."""
    if block.text is None:
        raise refused(f"{place}.text", "Field required")
    return block.text


def image(block: Block, place: str) -> Part:
    """Return the part for an image.

    Raises:
        Refused: Gemini cannot be shown this image; the message says which and why.
    """
    source = _source(block, place)
    if source.type == "url":
        link = _link(source, "image/jpeg", place)
        _is_image(link.mime_type, f"{place}.source.url", source.url)
        return Part(file_data=link)
    _is_image(source.media_type, f"{place}.source.media_type", source.media_type)
    return Part(inline_data=_blob(source, place))


def _is_image(kind: str | None, place: str, value: str | None) -> None:
    if kind not in _IMAGES:
        allowed = "png, jpeg and webp images"
        raise refused(place, f"{shown(value)}: Gemini takes {allowed}; convert it")


def _source(block: Block, place: str) -> Source:
    source = block.source
    if not isinstance(source, Source):
        raise refused(f"{place}.source", "an object is needed")
    if source.type == "file":
        raise refused(f"{place}.source", "'file': a file at Anthropic cannot be shown to Gemini")
    if source.type not in ("base64", "url", "text", "content"):
        raise refused(f"{place}.source.type", f"{shown(source.type)} is not known")
    if source.type in ("text", "content") and block.type != "document":
        raise refused(f"{place}.source.type", f"{shown(source.type)} is for documents")
    return source


def _blob(source: Source, place: str) -> Blob:
    if not source.data:
        raise refused(f"{place}.source.data", "Field required")
    # Some encoders break their lines; Google takes one.
    return Blob(source.media_type or "", "".join(source.data.split()))


def _link(source: Source, default: str, place: str) -> Link:
    url = source.url
    if url is None or not url.lower().startswith("https://"):
        raise refused(f"{place}.source.url", f"{shown(url)}: an https address is needed")
    ending = url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    kind = _IMAGE_ENDINGS.get(ending, default) if default != _PDF else _PDF
    return Link(url, kind)


def document(block: Block, place: str) -> list[Part]:
    """Return the parts for a document: what it is called, and what is in it.

    Raises:
        Refused: Gemini cannot be shown this document; the message says why.
    """
    source = _source(block, place)
    if source.type == "text":
        if source.data is None:
            raise refused(f"{place}.source.data", "Field required")
        title, context = _attribute("title", block.title), _attribute("context", block.context)
        return [Part(text=f"<document{title}{context}>{source.data}</document>")]
    if source.type == "content":
        return [*_named(block), *_content_parts(source.content, f"{place}.source.content")]
    if source.type == "url":
        return [*_named(block), Part(file_data=_link(source, _PDF, place))]
    if source.media_type != _PDF:
        at = f"{place}.source.media_type"
        raise refused(at, f"{shown(source.media_type)}: a document is {_PDF}")
    return [*_named(block), Part(inline_data=_blob(source, place))]


def _attribute(name: str, value: str | None) -> str:
    quoted = (value or "").replace('"', "&quot;")
    return f' {name}="{quoted}"' if quoted else ""


def _named(block: Block) -> list[Part]:
    """Return a text part with title and context, where there are any."""
    words = "\n".join(each for each in (block.title, block.context) if each)
    return [Part(text=words)] if words else []


def _content_parts(content: str | list[Block] | None, place: str) -> Iterator[Part]:
    if isinstance(content, str):
        content = [Block("text", content)]
    for index, block in enumerate(content or ()):
        at = f"{place}.{index}"
        if block.type == "text":
            if text := text_of(block, at):
                yield Part(text=text)
        elif block.type == "image":
            yield image(block, at)
        else:
            raise refused(f"{at}.type", f"{shown(block.type)} cannot stand in a document")


def search_result(block: Block) -> str:
    """Return what was found, as text; how it is to be cited is left out."""
    source = block.source if isinstance(block.source, str) else ""
    return "\n".join(each for each in (block.title, source, *_texts(block.content)) if each)


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [each.text for each in content if each.text] if isinstance(content, list) else []


def arguments(block: Block, place: str) -> Raw | dict[str, Raw]:
    """Return the arguments of a call: the client's own bytes, where they are an object.

    Raises:
        Refused: They are not UTF-8; the decoder has not looked into them.
    """
    if isinstance(block.arguments, UnsetType):
        return {}
    raw = bytes(block.arguments)
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise refused(f"{place}.input", f"not valid JSON: {error}") from None
    if raw.startswith(b"{"):
        return block.arguments
    return {} if raw == b"null" else {"value": block.arguments}


_decode = msgspec.json.Decoder().decode


def server_call(block: Block, place: str) -> str:
    """Return a call that Anthropic's server made, as text."""
    given = None
    if not isinstance(block.arguments, UnsetType):
        try:
            given = _decode(block.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refused(f"{place}.input", f"not valid JSON: {error}") from None
    values = given.values() if isinstance(given, dict) else ()
    words = ", ".join(each for each in values if isinstance(each, str))
    name = block.name or block.type
    return f"[{name}: {words}]" if words else f"[{name}]"


def server_result(block: Block) -> str:
    """Return what such a call gave: titles and addresses, output, or text."""
    content = block.content
    if isinstance(content, str):
        return content
    found = [content] if isinstance(content, Block) else content or []
    return "\n".join(line for each in found for line in _result_lines(each))


def _result_lines(found: Block) -> Iterator[str]:
    if found.title or found.url:
        yield " ".join(each for each in (found.title, found.url) if each)
    elif found.error_code:
        yield f"error: {found.error_code}"
    yield from (each for each in (found.text, found.stdout, found.stderr) if each)
    inner = found.content
    if isinstance(inner, str) and inner:
        yield inner
    for each in found.tool_references or ():
        if each.tool_name:
            yield each.tool_name
    held = inner.source if isinstance(inner, Block) else None
    if isinstance(held, Source) and held.type == "text" and held.data:
        yield held.data
