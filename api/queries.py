"""Query parameters as values: what a data set's options are is known only when the data set is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def options_from(schema: Mapping[str, Any], query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The options that parameters spell out, read as the JSON Schema of the options has them; a key that comes
    several times is a list."""
    texts: dict[str, list[str]] = {}
    for key, text in query:
        texts.setdefault(key, []).append(text)
    known = schema.get("properties", {})
    return {key: value_of(types_of(known.get(key, {}), schema), found) for key, found in texts.items()}


def types_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema admits."""
    if "$ref" in schema:
        return types_of(root.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {}), root)
    found = schema.get("type", [])
    own = {found} if isinstance(found, str) else set(found)
    return own.union(*(types_of(one, root) for one in schema.get("anyOf", [])))


def value_of(types: set[str], texts: list[str]) -> Any:
    """One parameter: a list where lists are admitted or several values came; numbers, true, false and null where text
    is not admitted."""
    if len(texts) > 1 or ("array" in types and "string" not in types):
        return [one for text in texts for one in text.split(",")] if len(texts) == 1 else texts
    return texts[0] if "string" in types or not types else literal(texts[0])


def literal(text: str) -> Any:
    """A number, true, false or null; the text itself where it is none of them."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(found, dict | list) else found
