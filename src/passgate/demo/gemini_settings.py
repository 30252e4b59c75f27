"""What of a request's tools and settings the simulated Gemini refuses, in Google's words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from passgate.demo.content import Json, objects
from passgate.demo.gemini_models import Model
from passgate.demo.gemini_proto import bad
from passgate.demo.gemini_schemas import check_json_schema, check_schema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")


def check_tools(ask: Json, model: Model) -> None:
    """Refuse declarations that the model cannot be given."""
    names: list[str] = []
    tools = ask.get("tools")
    for tool in objects(tools):
        if "functionDeclarations" not in tool:
            continue
        declared = objects(tool["functionDeclarations"])
        if not declared:
            raise bad(
                "* GenerateContentRequest.tools[0].function_declarations: must not be empty.\n"
            )
        for n, function in enumerate(declared):
            _check_function(function, f"tools[0].function_declarations[{n}]")
            names.append(str(function["name"]))
    if len(names) > 512:
        raise bad("The number of function declarations must not exceed 512.")
    for name in names:
        if names.count(name) > 1:
            raise bad(f"Duplicate function declaration found: {name}")
    _check_tool_config(ask, names)
    _check_json_mode(ask, names, model)


def _check_function(function: Json, at: str) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad(
            f"* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter "
            "or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), "
            "colons (:), or dashes (-), with a maximum length of 128.\n"
        )
    if "parameters" in function and "parametersJsonSchema" in function:
        raise bad(
            f"{at}.parameters and {at}.parameters_json_schema are mutually exclusive: "
            "set one of them."
        )
    if "parameters" in function:
        check_schema(function["parameters"], f"{at}.parameters")
    if "parametersJsonSchema" in function:
        check_json_schema(function["parametersJsonSchema"], f"{at}.parameters_json_schema")


def _check_tool_config(ask: Json, names: Sequence[str]) -> None:
    config = ask.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    if not isinstance(calling, dict):
        return
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in _MODES:
        raise bad(f"Invalid value at 'tool_config.function_calling_config.mode': \"{mode}\"")
    if mode in ("ANY", "VALIDATED") and not names:
        raise bad("Function calling config is set without function_declarations.")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise bad("Allowed function names should only be set when function calling mode is ANY.")
    for name in allowed if isinstance(allowed, list) else []:
        if name not in names:
            raise bad(f"Allowed function name {name} is not in function_declarations.")


def _check_json_mode(ask: Json, names: Sequence[str], model: Model) -> None:
    config = ask.get("generationConfig")
    given = config if isinstance(config, dict) else {}
    mime = given.get("responseMimeType")
    shaped = [key for key in ("responseSchema", "responseJsonSchema") if key in given]
    if shaped and mime not in ("application/json", "text/x.enum"):
        raise bad("The response schema is only supported with a JSON or enum response mime type.")
    if mime == "application/json" and names and not model.signs:
        raise bad("Function calling with a response mime type: 'application/json' is unsupported")
    if "responseSchema" in given:
        check_schema(given["responseSchema"], "generation_config.response_schema")
    if "responseJsonSchema" in given:
        check_json_schema(given["responseJsonSchema"], "generation_config.response_json_schema")


def check_generation(ask: Json, model: Model) -> None:
    """Refuse settings that the model does not have."""
    config = ask.get("generationConfig")
    if not isinstance(config, dict):
        return
    stops = config.get("stopSequences") or []
    if isinstance(stops, list) and len(stops) > 5:
        raise bad(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 are allowed.\n"
        )
    most = config.get("maxOutputTokens")
    if isinstance(most, int) and not 0 < most <= 65_536:
        raise bad(
            f"Unable to submit request because it has a maxOutputTokens value of {most} but the "
            "supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and "
            "try again."
        )
    if model.fixed_sampling and (config.get("presencePenalty") or config.get("frequencyPenalty")):
        raise bad(f"Penalty is not enabled for models/{model.id}")
    if model.signs and config.get("candidateCount", 1) != 1:
        raise bad("Multiple candidates is not enabled for this model")
    if isinstance(thinking := config.get("thinkingConfig"), dict):
        _check_thinking(thinking, model)


def _check_thinking(thinking: Json, model: Model) -> None:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and budget is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if level is not None and str(level).upper() not in model.levels:
        said = f"Thinking level {level} is not supported for this model."
        raise bad(said if model.levels else "Thinking level is not supported for this model.")
    if budget is None or model.budget is None:
        return  # some newer models still take a budget
    least, most = model.budget
    allowed = budget == -1 or (budget == 0 and model.can_stop)
    if not isinstance(budget, int) or not (allowed or least <= budget <= most):
        raise bad(
            f"The thinking budget {budget} is invalid. Please choose a value between {least} "
            f"and {most}."
        )
