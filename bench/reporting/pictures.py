"""Pictures in the tables: a stranger's is looked at before it is shown."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from PIL.Image import Image


@contextmanager
def opened(text: str, table: str, max_pixels: int) -> Iterator[Image]:
    """Open a PNG in base 64; its pixels are not read yet.

    Raises
    ------
    BenchError
        It is no PNG, or has more pixels; also while the pixels are read in the block.
    """
    from PIL import Image

    try:
        content = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if math.prod(picture.size) > max_pixels:
                raise BenchError(f"a picture of {picture.size} pixels in the {table} table")
            yield picture
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchError(f"a picture in the {table} table is no PNG: {error}") from None
