"""Which methods of a results table were tuned, by how many trials, and on which patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bench.reporting.style import MethodStyles
from bench.reporting.text import counted, duration, listed
from bench.results.tables import TUNING

if TYPE_CHECKING:
    import pandas as pd


class Choice(NamedTuple):
    """A setting that `bench tune` chose, and what it took."""

    method: str
    """The setting, as results name it."""
    default: str
    """The method as it was asked for."""
    trials: int
    device_s: float
    patients: int
    """Validation patients."""
    fold: int | None
    """The fold on whose training patients it was chosen; None if on other data."""
    seed: int
    label_pct: int
    profile: str
    tuned_on: str
    exhaustive: bool
    """The trials are all settings that the method has."""


class Tunings:
    """What was tuned of the methods of one board.

    Where a method was tuned in the profile and network of the board, its tunings in others, which
    may have chosen otherwise, do not count.

    Parameters
    ----------
    tuning
        Rows of the tuning table (``bench.results.tables.TUNING``).
    rows
        Results of one data set, profile and network.
    """

    def __init__(self, tuning: pd.DataFrame, rows: pd.DataFrame) -> None:
        self._rows = rows
        methods = set(rows["method"])
        here = tuning[tuning["dataset"] == rows["dataset"].iloc[0]]
        alike = (here[["profile", "backbone"]] == rows[["profile", "backbone"]].iloc[0]).all(axis=1)
        here = here[alike | ~here["method"].isin(here.loc[alike, "method"])]
        found = []
        for _, trials in here.groupby(list(TUNING.run)):
            best = trials[trials["chosen"]].iloc[0]
            if best["setting"] in methods:
                own = best["tuned_on"] == best["dataset"]
                found.append(
                    Choice(
                        method=str(best["setting"]),
                        default=str(best["method"]),
                        trials=len(trials),
                        device_s=float(trials["device_s"].sum()),
                        patients=int(best["patients"]),
                        fold=int(best["fold"]) if own else None,
                        seed=int(best["seed"]),
                        label_pct=int(best["label_pct"]),
                        profile=str(best["profile"]),
                        tuned_on=str(best["tuned_on"]),
                        exhaustive=bool(best["exhaustive"]),
                    )
                )
        self._choices = sorted(found, key=lambda one: -one.trials)

    def __bool__(self) -> bool:
        return bool(self._choices)

    def of(self, method: str) -> Choice | None:
        """Return how a method was chosen, by most trials if several times; None if it was not."""
        return next((one for one in self._choices if one.method == method), None)

    def text(self, method: str) -> str:
        """Return ``best of 8``, ``default`` or nothing."""
        if found := self.of(method):
            return f"best of {found.trials}" if found.trials > 1 else "only setting"
        return "default" if any(method == one.default for one in self._choices) else ""

    def notes(self) -> Iterator[str]:
        """Yield how settings were chosen, and what limits the comparison of tuned methods."""
        if not self:
            return
        styles = MethodStyles.of(self._rows)
        by_source: dict[tuple[object, ...], list[Choice]] = {}
        for one in self._choices:
            source = one.tuned_on, one.fold, one.seed, one.label_pct, one.profile, one.patients
            by_source.setdefault(source, []).append(one)
        for chosen in by_source.values():
            one = chosen[0]
            what = listed(
                [
                    f"{styles.name(each.method)} ({counted(each.trials, 'trial')}, "
                    f"{duration(each.device_s)})"
                    for each in chosen
                ]
            )
            if one.fold is None:
                where, unread = f"of {one.tuned_on}", "patient of this data set"
            else:
                where = f"cut from the training patients of fold {one.fold}"
                unread = "test patient of this fold"
                if one.label_pct <= int(self._rows["label_pct"].min()):
                    unread += ", and no hidden label"
            promise = "" if self._may_split_otherwise(one) else f" No trial read a {unread}."
            yield (
                f"Tuned: {what}, each the best setting by mean DSC on "
                f"{counted(one.patients, 'validation patient')} {where} (seed {one.seed}, "
                f"{one.label_pct} % labelled, profile {one.profile}).{promise}"
            )
        yield from self._limits(styles)

    def _may_split_otherwise(self, one: Choice) -> bool:
        """Tell whether trials on this data set may have had other folds than the board."""
        return one.fold is not None and one.profile != self._rows["profile"].iloc[0]

    def _limits(self, styles: MethodStyles) -> Iterator[str]:
        runs = set(zip(self._rows["seed"], self._rows["fold"], strict=True))
        own = {(one.seed, one.fold) for one in self._choices if one.fold is not None}
        if own and (others := runs - own):
            folds = listed([str(fold) for fold in sorted({int(fold) for _, fold in others})])
            yield (
                f"Other folds or seeds than those tuned on are shown (fold {folds}): they test "
                "patients that tuned settings were chosen on, which favours tuned methods."
            )
        elsewhere = {one.profile for one in self._choices if self._may_split_otherwise(one)}
        if elsewhere:
            yield (
                f"Tuned in another profile ({', '.join(sorted(elsewhere))}), which may have other "
                "folds: trials may have read test patients of this board."
            )
        lowest = int(self._rows["label_pct"].min())
        most = max((one.label_pct for one in self._choices if one.fold is not None), default=0)
        if most > lowest:
            yield (
                f"Tuned at {most} % labelled: trials read labels that are hidden at {lowest} %, "
                "which favours tuned methods there."
            )
        counts = {one.trials for one in self._choices if not one.exhaustive}
        untuned = set(self._rows["method"]) - {one.method for one in self._choices}
        untuned -= {one.default for one in self._choices}
        untuned -= set(self._rows.loc[self._rows["upper_bound"], "method"])
        if len(counts) > 1:
            numbers = listed([str(count) for count in sorted(counts)])
            yield f"Methods were not tuned alike: by {numbers} trials."
        if untuned:
            names = map(styles.name, styles.sort(untuned))
            yield f"Not tuned, so with fewer chances: {listed([*names])}."
