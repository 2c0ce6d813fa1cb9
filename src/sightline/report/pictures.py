"""Pictures inside a page: as data addresses, and together no larger than what can be mailed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

BUDGET = 4_200_000  # bytes of all addresses together, so that the page stays below 5 MB
HEAVY = 150_000  # bytes from which a PNG is tried as JPEG
QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture's data address, what it shows in words, and its size in pixels."""

    address: str
    alt: str
    width: int
    height: int


class Pictures:
    """Makes the pictures of one page; None for those that it has no room for, which `left_out` counts."""

    def __init__(self, budget: int = BUDGET):
        self.room, self.left_out = budget, 0

    def photo(self, image: Image.Image, alt: str) -> Picture | None:
        """A photograph, as JPEG."""
        return self._taken("jpeg", _as_jpeg(image), image.size, alt)

    def drawing(self, png: bytes, alt: str) -> Picture | None:
        """A PNG file as it is, or as JPEG where it is large and that is smaller."""
        with Image.open(io.BytesIO(png)) as image:
            size = image.size
            other = _as_jpeg(image) if len(png) > HEAVY else png
        if len(other) < len(png):
            return self._taken("jpeg", other, size, alt)
        return self._taken("png", png, size, alt)

    def file(self, path: Path, alt: str) -> Picture | None:
        """A PNG file of the run; None where there is none. Raises OSError where it cannot be read."""
        return self.drawing(path.read_bytes(), alt) if path.is_file() else None

    def _taken(self, kind: str, content: bytes, size: tuple[int, int], alt: str) -> Picture | None:
        address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        if len(address) > self.room:
            self.left_out += 1
            return None
        self.room -= len(address)
        return Picture(address, alt, *size)


def _as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def smaller(image: Image.Image, side: int) -> Image.Image:
    """An image whose longer side has so many pixels; one that is smaller already is enlarged."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
