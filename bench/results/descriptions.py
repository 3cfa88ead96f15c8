"""Tables that do not depend on the method: what labels teach, and the blocks of networks.

They stand beside the results as ``*.targets.parquet`` and ``*.layers.parquet``.
"""

from __future__ import annotations

from bench.results.schema import Column, Schema
from bench.results.tables import GROUP, RUN_COLUMNS

RULES = ("naive", "inerrant0")
OUTCOMES = ("tp", "fn", "fp", "tn")
"""Taught as organ and organ, as background but organ, as organ but not, as background and not."""

_TEXT = Column("text")
_COUNT = Column("int", low=0)
_NETWORK = tuple(GROUP)
_CELL = (*_NETWORK, "label_pct", "seed", "fold")

TARGETS = Schema(
    name="targets",
    version=1,
    declared={name: RUN_COLUMNS[name] for name in _CELL}
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
    declared={name: RUN_COLUMNS[name] for name in _NETWORK}
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
