"""Pictures in class folders: PNG, JPEG, GIF, BMP and WebP, decoded by Pillow within bounds."""

import io
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card, Raw
from services.datasets.options import Options
from services.datasets.uploaded.folders import (
    Unreadable,
    contents,
    facts_of,
    read_files,
    report_of,
    samples_of,
    sizes_of,
)
from services.datasets.uploaded.kind import MAX_CONTENT_BYTES, Survey, Uploaded, data_uri, shown
from services.errors import Invalid, Mistake

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 50_000_000
"""Pixels of a picture in its file."""
MAX_SIDE = 2_048
"""Pixels of a side of a picture as it is trained on."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_MAGICS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")
_DEFAULT_SIDE, _LARGEST_DEFAULT, _PREVIEW = 32, 256, 96

Side = Annotated[int, Interval(ge=4, le=MAX_SIDE)]


@final
@dataclass(frozen=True)
class PictureOptions(Options):
    """`size`: pixels of every picture, one number or [height, width]; others are resized. By default the size that
    all have in common, or 32 × 32. `channels`: 1 for grey, 3 for red, green and blue; by default 3 if any picture has
    colours."""

    size: Side | tuple[Side, Side] | None = None
    channels: Literal[1, 3] | None = None


@final
class Pictures(Uploaded):
    """An uploaded archive of pictures in class folders."""

    kind = "images"
    docs = "A zip or tar(.gz) of pictures in class folders, optionally under train/ and test/: classification."
    options_type = PictureOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """Decode every picture."""
        found = contents(file, is_picture, _look)
        sizes = Counter(size for size, _ in found.good.values())
        colour = any(coloured for _, coloured in found.good.values())
        facts = {**facts_of(found), "sizes": [[*size, n] for size, n in sizes.most_common(10)], "colour": colour}
        facts["common"] = list(next(iter(sizes))) if len(sizes) == 1 else None
        report = report_of(found, facts) | {"sizes": facts["sizes"], "colour": colour}
        if len(sizes) > 1:
            report["warnings"].append(f"The pictures have {len(sizes):,} different sizes and are resized to one.")
        return Survey(cls.kind, facts, report, shown(samples_of(found, facts)))

    def shape(self, options: PictureOptions) -> tuple[int, int, int]:
        """Height, width and channels of every row."""
        common = self.facts["common"]
        if options.size is None:
            height, width = common if common and max(common) <= _LARGEST_DEFAULT else (_DEFAULT_SIDE, _DEFAULT_SIDE)
        else:
            height, width = (options.size,) * 2 if isinstance(options.size, int) else options.size
        return height, width, options.channels or (3 if self.facts["colour"] else 1)

    def card_for(self, options: PictureOptions) -> Card:
        """Shape and counts follow from the facts."""
        shape = self.shape(options)
        rows = sum(sum(counts.values()) for counts in self.facts["counts"].values())
        if (held := rows * int(np.prod(shape))) > MAX_CONTENT_BYTES:
            message = f"{rows:,} pictures of {shape} need {held:,} bytes, more than {MAX_CONTENT_BYTES:,}"
            raise Invalid([Mistake("dataset.size", "too_large", message, "Choose a smaller size.")])
        return Card(
            name=self.name,
            title=self.name,
            kind="image",
            tasks=("classification",),
            input_shape=shape,
            classes=tuple(self.facts["classes"]),
            target_names=("class",),
            description=f"{rows:,} uploaded pictures; {len(self.facts['corrupt']):,} files could not be read.",
            source="upload",
            license="",
            **sizes_of(self.facts),
        )

    def read_file(self, file: Path, options: PictureOptions) -> Raw:
        """Every good picture as bytes (height, width, channels)."""
        shape = self.shape(options)
        return read_files(file, self.name, self.facts, is_picture, lambda data: _row(data, shape), shape, np.uint8)


def is_picture(name: str, data: bytes) -> bool:
    """Whether a file is, or should be, a picture."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp or data.startswith(_MAGICS) or name.lower().endswith(_SUFFIXES)


def decoded(data: bytes) -> "Image":
    """The (first) picture of a file, upright; Unreadable says why there is none."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise Unreadable(f"it has {picture.width:,} × {picture.height:,} pixels; {MAX_PIXELS:,} are read")
            picture.load()
            return ImageOps.exif_transpose(picture)
    except (Unreadable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it has far more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # A decoder may stumble over foreign bytes in any way; the file is broken then.
        raise Unreadable(f"it is no good picture ({type(error).__name__}: {str(error)[:120]})") from error


def is_coloured(picture: "Image") -> bool:
    """Whether a picture has other colours than greys."""
    if picture.mode in {"1", "L", "LA", "La", "I", "I;16", "I;16B", "F"}:
        return False
    pixels = np.asarray(flat(picture, 3))
    return bool((pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 1] != pixels[..., 2]).any())


def flat(picture: "Image", channels: int) -> "Image":
    """The picture with 1 or 3 channels of 8 bits; what is transparent is white."""
    from PIL import Image

    if picture.mode.startswith("I"):
        # 16 bits: the upper 8 of them.
        values = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        picture = Image.fromarray(values)
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        picture = Image.new("RGBA", above.size, "white")
        picture.alpha_composite(above)
    return picture.convert("L" if channels == 1 else "RGB")


def _row(data: bytes, shape: tuple[int, int, int]) -> Array:
    from PIL.Image import Resampling

    height, width, channels = shape
    picture = flat(decoded(data), channels)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Resampling.BILINEAR)
    return np.asarray(picture).reshape(shape)


def _look(data: bytes) -> tuple[tuple[tuple[int, int], bool], Callable[[], str]]:
    picture = decoded(data)
    try:
        return ((picture.height, picture.width), is_coloured(picture)), lambda: _preview(picture)
    except MemoryError:
        raise
    except Exception as error:  # Converting uses the decoder's tables, which a broken file may have spoilt.
        raise Unreadable(f"it is no good picture ({type(error).__name__})") from error


def _preview(picture: "Image") -> str:
    small = flat(picture, 3)
    small.thumbnail((_PREVIEW, _PREVIEW))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return data_uri(stream.getvalue())
