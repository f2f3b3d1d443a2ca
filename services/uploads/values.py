"""What an upload is, how it is called, and what may be a name."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, final, get_args

from services import datasets
from services.errors import Conflict, Invalid, Mistake, NotFound

Kind: TypeAlias = Literal["table", "series", "images", "audio", "text", "arrays"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
PREFIX: Final = "ds_"
_ID: Final = re.compile(PREFIX + r"[0-9a-f]{20}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@final
@dataclass(frozen=True)
class Upload:
    """One uploaded data set without its samples. `name` is what it was first called, `names` what means it now (none,
    once other content took the name over); `file` is the name of its file; `facts` make its cards."""

    id: str
    tenant: str
    name: str
    names: tuple[str, ...]
    kind: str
    sha256: str
    size: int
    file: str
    facts: dict[str, Any]
    report: dict[str, Any]
    created_at: datetime

    @property
    def title(self) -> str:
        """What to call it when talking to its owner."""
        return self.names[0] if self.names else self.name


def upload_id(tenant: str, sha256: str, kind: str) -> str:
    """The id of a tenant's content, read as a kind of data: the same whenever it is sent again."""
    return PREFIX + hashlib.sha256(f"{tenant}\0{sha256}\0{kind}".encode()).hexdigest()[:20]


def is_upload_id(text: str) -> bool:
    """Whether `text` has the form of an upload's id."""
    return _ID.fullmatch(text) is not None


def check_name(name: str) -> str:
    """A name that an upload may have: Invalid for what is no name, Conflict for a built-in data set's."""
    if _NAME.fullmatch(name) is None or name.startswith(PREFIX):
        hint = f"Up to 100 letters, digits and . _ - that begin with a letter or digit, not with {PREFIX}."
        raise Invalid([Mistake("name", "bad_name", f"{name[:120]!r} cannot be the name of a data set", hint)])
    try:
        found = datasets.find(name).card.name
    except NotFound:
        return name
    raise Conflict(f"{found} is a built-in data set.", hint="Choose another name.")
