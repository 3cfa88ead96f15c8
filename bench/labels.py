"""What label maps hold: names of organs, and values that stand for none."""

import re
import unicodedata

VOID = 254
"""Nobody says what this voxel is: neither learned from nor measured. It is not an organ that is not
annotated, which is a flag of the case."""

BACKGROUND = 255
"""In a map of pseudo-labels: relabelled as background, for every organ not annotated there."""

MAX_ORGANS = VOID - 1
"""Organs have the values 1 to K."""


def composed(text: str) -> str:
    """Return a name as equal text however its accents are encoded: macOS takes them apart."""
    return unicodedata.normalize("NFC", text)


def plain(organ: str) -> str:
    """Return what is compared of an organ's name: ``Left_Kidney`` is ``left kidney``."""
    return re.sub(r"[\W_]+", "", organ).casefold()
