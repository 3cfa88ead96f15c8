"""What is behind a stage, as the columns of the tables: data, versions, and what a method does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.data.intensity import Channel
from bench.experiment.profiles import Profile
from bench.params import Params, digest, format_brackets
from bench.results.basis import listed
from bench.stage import Part, Stage, ancestors
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.predict import Predict
from bench.stages.truth import Truth

CONTENT_DIGITS = 12
_GIVEN = ("seed", "images", "labels")
"""Fields of stages that a condition fills, whatever the method."""
_NO_BUDGET = ("network", "max_side", "voxel_mm", "window")
"""Fields of a profile that the keys of images and the name of the network tell."""


def of_images(images: Prepared, stage: Stage) -> dict[str, str]:
    """Return what a stage stands on that reads images alone (``bench.results.basis``)."""
    return {
        "content": images.content[:CONTENT_DIGITS],
        "scaling": "; ".join(map(_scaling, images.channels)),
        "images": images.key,
        "versions": listed(_versions(stage)),
    }


def of_condition(images: Prepared, truth: Truth, labels: Labels, stage: Stage) -> dict[str, str]:
    """Return what a stage of a condition stands on."""
    return of_images(images, stage) | {"truth": truth.key, "labels": labels.key}


def recipe(profile: Profile) -> str:
    """Return a digest of the budget and the numbers of training that methods share."""
    said = profile.identity()
    return digest({k: said[k] for k in said if k not in _NO_BUDGET}, CONTENT_DIGITS)


def definition(prediction: Predict) -> str:
    """Return a digest of what a method does: the stages behind a prediction, without their data.

    It is one in all folds and seeds, and another one if a default of the method or the code of a
    plug-in changed. The numbers of the profile enter it, too.
    """
    known: dict[str, str] = {}

    def said(stage: Stage) -> str:
        if stage.key not in known:
            identity = stage.identity()
            for name in type(stage).model_fields:
                value = getattr(stage, name)
                if name in _GIVEN:
                    del identity[name]
                elif isinstance(value, Stage):
                    identity[name] = said(value)
                elif isinstance(value, tuple) and any(isinstance(one, Stage) for one in value):
                    identity[name] = [said(one) for one in value]
            known[stage.key] = digest(identity, CONTENT_DIGITS)
        return known[stage.key]

    return said(prediction)


def _scaling(channel: Channel) -> str:
    window = {"hu_window": channel.hu_window} if channel.rule == "window" else {}
    return format_brackets(f"{channel.name} {channel.rule}", window)


def _versions(stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield kind and version of every stage behind one, itself included, and of their parts."""
    for one in ancestors(stage):
        for part in _parts(one):
            kind = type(part).__name__
            if plugged := part.plugged():
                yield f"{plugged['plugin']}.{kind}", plugged["source"]
            else:
                yield kind, str(part.version)


def _parts(part: Part) -> Iterator[Part]:
    """Yield a stage or part and the parts in its fields, without the stages that it reads from."""
    yield part
    fields: list[Any] = [getattr(part, name) for name in type(part).model_fields]
    while fields:
        value = fields.pop()
        if isinstance(value, Part):
            if not isinstance(value, Stage):
                yield from _parts(value)
        elif isinstance(value, Params):
            fields += [getattr(value, name) for name in type(value).model_fields]
        elif isinstance(value, tuple | list):
            fields += value
        elif isinstance(value, dict):
            fields += value.values()
