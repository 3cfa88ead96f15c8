"""Which names of organs mean the same voxels, though they are not the same name."""

from __future__ import annotations

import re
from typing import NamedTuple

from bench.labels import plain

_SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}

_FILLERS = frozenset({"and", "both", "gland", "of"})
"""Words without which a name means the same."""

_WORDS = {
    "bowel": "intestine",
    "femoral": "femur",
    "oesophagu": "esophagu",
    "postcava": "ivc",
    "suprarenal": "adrenal",
    "tumor": "tumour",
}

_PHRASES = {
    frozenset({"brain", "stem"}): "brainstem",
    frozenset({"gall", "bladder"}): "gallbladder",
    frozenset({"urinary", "bladder"}): "bladder",
    frozenset({"inferior", "vena", "cava"}): "ivc",
    frozenset({"superior", "vena", "cava"}): "svc",
}


class Name(NamedTuple):
    """What a name of an organ says."""

    words: frozenset[str]
    """In lower case and the singular, synonyms in one spelling, without side."""
    side: str
    """``left``, ``right``, or empty."""


def understood(organ: str) -> Name:
    """Return what a name says: ``RightKidney`` and ``kidneys_r`` say the same."""
    apart = re.sub(r"(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", " ", organ)
    words = [word.casefold() for word in re.findall(r"[^\W\d_]+|\d+", apart)]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    singular = [word.removesuffix("s") for word in words if word not in _SIDES]
    kept = frozenset(_WORDS.get(word, word) for word in singular if word not in _FILLERS)
    if kept in _PHRASES:
        kept = frozenset({_PHRASES[kept]})
    return Name(kept or frozenset({plain(organ)}), sides.pop() if len(sides) == 1 else "")


def same_voxels(one: str, other: str) -> bool:
    """Tell whether two names, unlike each other, are one organ, or one is a side of the other."""
    a, b = understood(one), understood(other)
    unlike = plain(one) != plain(other)
    return unlike and a.words == b.words and (a.side == b.side or not (a.side and b.side))


def perhaps_part(one: str, other: str) -> bool:
    """Tell whether the name of one organ is the other's and more: ``femur_head_l``, ``femur``."""
    a, b = understood(one), understood(other)
    nested = a.words < b.words or b.words < a.words
    return nested and (a.side == b.side or not (a.side and b.side))
