"""Profiles: how large an experiment is. A profile is a set of numbers that enter every key.

The common recipe of all methods (SPEC sections 0.0 and 7); nothing in here depends on a method.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from bench.data.window import Size
from bench.errors import BenchError, unknown_name
from bench.nets.network import OUTPUT_BIAS
from bench.params import (
    Params,
    describe_invalid,
    format_brackets,
    parse_brackets,
)


class Profile(Params):
    """Budget, resolution and optimisation of every method in a comparison."""

    name: str
    network: str
    """Default network, in bracket notation."""
    max_side: int = Field(ge=16)
    """Slices whose longer side exceeds this many pixels are reduced to it; never enlarged."""
    steps: int = Field(ge=1)
    """Base budget J: optimiser steps of `naive`, `full`, `inerrant0`."""
    round_share: float = Field(default=0.5, gt=0)
    """Budget of one relabelling round, as a share of J."""
    confidence_share: float = Field(default=0.2, gt=0)
    """Budget of one confidence network, as a share of J."""
    batch_size: int = Field(ge=2)
    spacing_mm: float = Field(default=2.0, gt=0)
    """3D networks: side of the cubic voxels that volumes are brought to."""
    patch: Size = (96, 144, 144)
    """3D networks: depth, height and width of a patch, ``48:64:64`` in brackets."""
    patch_sampling: Literal["anywhere", "centre"] = "anywhere"
    """3D networks: patches from anywhere and a sliding window, or the centre of every volume."""
    patch_batch_size: int = Field(default=2, ge=2)
    lr: float = Field(gt=0)
    """Adam's initial rate; it falls exponentially to ``lr * lr_decay`` at the last step."""
    lr_decay: float = Field(default=0.1, gt=0, le=1)
    confidence_lr: float = Field(gt=0)
    foreground_share: float = Field(default=0.5, ge=0, le=1)
    """Share of every batch drawn from slices that show a visible label."""
    output_bias: float = OUTPUT_BIAS
    """Initial bias of the output layer: about the log-odds of a positive voxel of a small organ.
    From a higher one the first steps push the output weights of rare organs below 0, where some
    stay for the whole of a short training."""
    shift: float = Field(default=0.1, ge=0)
    """Augmentation: translation up to this share of the side."""
    rotation_deg: float = Field(default=15.0, ge=0)
    zoom: float = Field(default=0.1, ge=0, lt=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    n_folds: int = Field(default=5, ge=2)

    @property
    def label(self) -> str:
        """Bracket notation: the name and what differs from the stock profile."""
        stock = PROFILES[self.name]
        changed = {
            field: getattr(self, field)
            for field in type(self).model_fields
            if getattr(self, field) != getattr(stock, field)
        }
        return format_brackets(self.name, changed)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke", network="unet_t11[width=4,bn_momentum=0.1]", max_side=64, steps=6,
            batch_size=4, lr=3e-3, confidence_lr=1e-3, n_folds=2, spacing_mm=8, patch=(48, 32, 32),
        ),
        Profile(
            name="quick", network="unet_t11[width=8,bn_momentum=0.1]", max_side=128, steps=1_600,
            batch_size=4, lr=1e-3, confidence_lr=1e-3, spacing_mm=4, patch=(48, 48, 48),
        ),
        Profile(
            name="fast", network="unet_t11", max_side=256, steps=2_000,
            batch_size=16, lr=5e-4, confidence_lr=3e-4,
        ),
        Profile(
            name="paper", network="unet_t11", max_side=512, steps=20_000,
            batch_size=8, lr=1e-4, confidence_lr=1e-4, patch_sampling="centre",
        ),
    )
}  # fmt: skip


def parse_profile(text: str) -> Profile:
    """Return the profile of a bracket notation, e.g. ``quick[steps=300,lr=1e-3]``."""
    name, overrides = parse_brackets(text)
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    for key in overrides:
        if key not in Profile.model_fields or key == "name":
            raise unknown_name(f"parameter of profile {name}", key, Profile.model_fields)
    try:
        return Profile.model_validate(PROFILES[name].model_dump() | overrides)
    except ValidationError as error:
        raise BenchError(f"profile {name}: {describe_invalid(error)}") from None
