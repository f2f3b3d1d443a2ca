"""What a spec may say about a data set beside its name: each source has a frozen dataclass whose fields are the keys.

The fields carry their limits as `annotated_types`, so that spec, schema and this parser read the same declaration.
"""

import types
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.errors import Invalid, Mistake, did_you_mean

COMMON_KEYS = ("name", "upload", "split", "train_fraction", "preprocessing", "noise")
"""What a spec may say about every data set; named in hints, for a misspelt one ends up among the options."""

_ANOTHER_KEY = frozenset({"unexpected_keyword_argument", "extra_forbidden"})


@dataclass(frozen=True)
class Options:
    """The options of a source; this base has none, which is enough for most data sets."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


def parse(kind: type[Options], values: Options | Mapping[str, Any] | None) -> Options:
    """The options that `values` describe; Invalid lists every mistake under `dataset.<key>`."""
    if isinstance(values, kind):
        return values
    given = vars(values) if isinstance(values, Options) else dict(values or types.MappingProxyType({}))
    try:
        parsed: Options = _adapter(cast(Hashable, kind)).validate_python(given)
        return parsed
    except ValidationError as error:
        known = [*COMMON_KEYS, *(field.name for field in fields(kind))]
        found = {_path(finding): _mistake(finding, known) for finding in reversed(error.errors(include_url=False))}
        raise Invalid(list(found.values())[::-1]) from error


def schema(kind: type[Options]) -> dict[str, Any]:
    """The JSON Schema of the options."""
    return _adapter(cast(Hashable, kind)).json_schema()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Making one takes half of the time of reading a spec."""
    return TypeAdapter(kind)


def _path(finding: Any) -> str:
    return ".".join(["dataset", *(str(step) for step in finding["loc"][:1])])


def _mistake(finding: Any, known: list[str]) -> Mistake:
    if finding["type"] in _ANOTHER_KEY:
        key = str(finding["loc"][0])
        return Mistake(_path(finding), "unknown_key", f"unknown key {key!r}", did_you_mean(key, known))
    message = finding["msg"].removeprefix("Value error, ")
    return Mistake(_path(finding), finding["type"], message[:1].lower() + message[1:])
