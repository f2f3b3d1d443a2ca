"""JSON and YAML as one kind of plain document, with limits that no parser gives by itself."""

import json
import re
from typing import Any, Final, Never, final

import yaml

from services.errors import Invalid, Mistake

DEPTH: Final = 32
"""Levels of nesting that a document may have."""

YAML_BYTES: Final = 100_000

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@final
class _Plain(yaml.SafeLoader):
    """YAML as far as it means the same as JSON: the 1.2 core schema, no aliases, no dates, no key twice."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases (they multiply), tags and deep nesting before anything is built."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted: write the value out")
        if getattr(self.peek_event(), "tag", None) is not None:  # type: ignore[no-untyped-call]
            raise yaml.YAMLError("tags are not accepted: write the plain value")
        if self.level > DEPTH:
            raise yaml.YAMLError(f"nested more than {DEPTH} levels deep")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with text keys, each of them once."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value
            if not isinstance(name, str) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.YAMLError(f"the key {name!r} is not text; put it in quotes")
            if name in seen:
                raise yaml.YAMLError(f"the key {name!r} stands there twice")
            seen.add(name)
        return super().construct_mapping(node, deep)


for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Plain.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})\\Z"), first)


def from_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, every key once."""
    try:
        return plain(json.loads(body.decode("utf-8-sig"), parse_constant=_constant, object_pairs_hook=_pairs))
    except json.JSONDecodeError as error:
        refuse("json_invalid", f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}.")
    except ValueError as error:
        refuse("json_invalid", f"Not JSON: {error}.")


def from_yaml(body: bytes) -> Any:
    """Plain YAML, at most 100 kB of it."""
    if len(body) > YAML_BYTES:
        refuse("yaml_too_large", f"YAML may have {YAML_BYTES:,} bytes.", "Send the same document as JSON.")
    try:
        return plain(_Plain(body.decode("utf-8-sig")).get_single_data())
    except (yaml.YAMLError, ValueError) as error:
        refuse("yaml_invalid", f"Not plain YAML: {' '.join(str(error).split())}.")


def plain(data: Any) -> Any:
    """`data` again, once it is sure that it can be written as UTF-8 JSON into any database."""
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error}") from None
    if _NUL.search(text):
        raise ValueError("text must not hold the character U+0000")
    return data


def refuse(code: str, message: str, hint: str | None = None) -> Never:
    """One mistake about the body as a whole."""
    raise Invalid([Mistake("body", code, message, hint)])


def _constant(name: str) -> Never:
    raise ValueError(f"{name} is not a number in JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found
