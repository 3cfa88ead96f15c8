"""Profiles: named sets of budget, resolution and training numbers.

All methods share them; nothing here depends on a method.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from bench.data.window import Window
from bench.errors import BenchError, unknown_name
from bench.params import (
    Params,
    describe_invalid,
    format_brackets,
    parse_brackets,
)
from bench.training.config import TrainConfig
from bench.training.shared_loss import SharedLoss


class Profile(Params):
    """Budget, resolution and training numbers of every method in a comparison."""

    name: str
    network: str
    """Default network, in bracket notation."""
    n_folds: int = Field(default=5, ge=2, le=1000)
    max_side: int = Field(ge=16, le=16_384)
    """2D networks: slices whose longer side exceeds this many pixels are downsampled to it."""
    voxel_mm: float = Field(default=2.0, gt=0, le=100)
    """3D networks: side of the cubic voxels to which volumes are resampled."""
    window: Window = Window()
    """3D networks: size of a patch."""
    steps: int = Field(ge=1, le=10_000_000)
    """Base budget J: optimiser steps of `naive` and `inerrant0`."""
    round_share: float = Field(default=0.5, gt=0, le=100)
    """Budget of one relabelling round, as a share of J."""
    confidence_share: float = Field(default=0.2, gt=0, le=100)
    """Budget of one confidence network, as a share of J."""
    confidence_lr: float = Field(gt=0, le=10)
    training: TrainConfig

    @property
    def label(self) -> str:
        """Bracket notation: the name and what differs from the stock profile."""
        stock = _numbers(PROFILES[self.name])
        changed = {
            path[-1]: value for path, value in _numbers(self).items() if value != stock[path]
        }
        return format_brackets(self.name, changed)


def _numbers(params: Params, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return every number in ``params`` by its path; brackets use the last name of a path."""
    found: dict[tuple[str, ...], Any] = {}
    for name in type(params).model_fields:
        value = getattr(params, name)
        found |= _numbers(value, (*at, name)) if isinstance(value, Params) else {(*at, name): value}
    return found


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke", network="unet_t11[width=4,bn_momentum=0.1]", n_folds=2, max_side=64,
            voxel_mm=8, window=Window(patch=(48, 32, 32)), steps=6, confidence_lr=1e-3,
            training=TrainConfig(batch_size=4, lr=3e-3),
        ),
        Profile(
            name="quick", network="unet_t11[width=8,features=16,bn_momentum=0.1]",
            max_side=128, voxel_mm=4, window=Window(patch=(48, 48, 48)), steps=1_600,
            confidence_lr=1e-3,
            training=TrainConfig(
                batch_size=4, lr=2e-3, output_bias=-4.6, supervised=SharedLoss(loss="balanced"),
            ),
        ),
        Profile(
            name="fast", network="unet_t11", max_side=256, steps=2_000, confidence_lr=3e-4,
            training=TrainConfig(batch_size=16, lr=5e-4),
        ),
        Profile(
            name="paper", network="unet_t11", max_side=512, steps=20_000, confidence_lr=1e-4,
            window=Window(sampling="centre"), training=TrainConfig(batch_size=8, lr=1e-4),
        ),
    )
}  # fmt: skip


def parse_profile(text: str) -> Profile:
    """Return the profile of a bracket notation, e.g. ``quick[steps=300,lr=1e-3,zoom=0.2]``.

    Numbers of parts within a profile go by their own names.

    Raises
    ------
    BenchError
        An unknown profile or number (with a suggestion), or a value out of range.
    """
    name, overrides = parse_brackets(text)
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    paths = {path[-1]: path for path in _numbers(PROFILES[name]) if path != ("name",)}
    data = PROFILES[name].model_dump()
    for key, value in overrides.items():
        if key not in paths:
            raise unknown_name(f"parameter of profile {name}", key, paths)
        part = data
        for step in paths[key][:-1]:
            part = part[step]
        part[key] = value
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise BenchError(f"profile {name}: {describe_invalid(error)}") from None
