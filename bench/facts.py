"""Tables about cells of the experiment, whatever the method: what labels teach, what a network is.

They stand beside the results as ``*.targets.parquet`` and ``*.layers.parquet``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.results import RUN_COLUMNS
from bench.schema import Column, Schema

if TYPE_CHECKING:
    pass

RULES = ("naive", "inerrant0")
OUTCOMES = ("tp", "fn", "fp", "tn")
"""Taught as organ and organ, as background but organ, as organ but not, as background and not."""

_TEXT = Column("text")
_COUNT = Column("int", low=0)
_CELL = ("dataset", "profile", "backbone", "label_pct", "seed", "fold")
_NETWORK = ("dataset", "profile", "backbone")

TARGETS = Schema(
    name="targets",
    version=1,
    columns={name: RUN_COLUMNS[name] for name in _CELL}
    | {
        "rule": Column("text", choices=RULES),
        "organ": _TEXT,
        "volumes": _COUNT,
        "labelled": _COUNT,
        "voxels": _COUNT,
        "organ_voxels": _COUNT,
        "other_voxels": _COUNT,
    }
    | dict.fromkeys(OUTCOMES, _COUNT),
    key=(*_CELL, "rule", "organ"),
    run=_CELL,
)

LAYERS = Schema(
    name="layers",
    version=1,
    columns={name: RUN_COLUMNS[name] for name in _NETWORK}
    | {
        "position": _COUNT,
        "network": Column("text", choices=("segmentation", "confidence")),
        "block": _TEXT,
        "layers": _TEXT,
        "output": _TEXT,
        "parameters": _COUNT,
    },
    key=(*_NETWORK, "position"),
    run=_NETWORK,
)
