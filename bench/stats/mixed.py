"""A linear mixed model over patients and organs, patients as random effect.

It is meant for data with gaps and many organs. It is conditional on the trained models, hence a
secondary analysis.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .paired import LEVEL, NAN

if TYPE_CHECKING:
    import pandas as pd


class Contrast(NamedTuple):
    """Estimated difference of two methods, averaged over organs, with its 95 % interval."""

    diff: float
    low: float
    high: float
    p: float


class MixedModel(NamedTuple):
    """Contrasts by (method, method), the number of rows, and a note on the fit."""

    contrasts: dict[tuple[str, str], Contrast]
    rows: int
    note: str


def mixed_model(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> MixedModel:
    """Fit ``value ~ method * organ + fold`` with a random intercept per patient, by REML.

    Organs are coded as deviations from their mean, so that a method's coefficient is its
    difference averaged over organs. A fit that is singular or does not converge is replaced by
    least squares with errors clustered by patient, and the note says so.

    Parameters
    ----------
    rows
        Columns ``value`` (percent), ``method``, ``organ``, ``fold``, ``patient``; NaN is left out.
    pairs
        The differences (a, b) to estimate: a - b.
    """
    used = rows[rows["value"].notna()].reset_index(drop=True)
    nothing = dict.fromkeys(pairs, Contrast(NAN, NAN, NAN, NAN))
    if used["patient"].nunique() < 2 or used["method"].nunique() < 2:
        return MixedModel(nothing, len(used), "too few patients or methods")
    if used["value"].nunique() == 1:
        return MixedModel(nothing, len(used), "all values are equal")
    fitted, note = _fit(used)
    names = list(fitted.model.exog_names)
    estimated = {}
    for a, b in pairs:
        weights = np.zeros(len(names))
        for method, sign in ((a, 1.0), (b, -1.0)):
            name = f"C(method)[T.{method}]"
            if name in names:  # the first method is the reference: its coefficient is zero
                weights[names.index(name)] += sign
        known = {a, b} <= set(used["method"]) and a != b
        estimated[a, b] = _contrast(fitted, weights) if known else nothing[a, b]
    return MixedModel(estimated, len(used), note)


def _fit(rows: pd.DataFrame) -> tuple[Any, str]:
    """Return a fitted model and a note on the fit, empty if it converged."""
    import statsmodels.formula.api as smf

    terms = ["C(method)"]
    if rows["organ"].nunique() > 1:
        terms[0] = "C(method) * C(organ, Sum)"
    if rows["fold"].nunique() > 1:
        terms.append("C(fold)")
    formula = f"value ~ {' + '.join(terms)}"
    plain = smf.ols(formula, rows)
    problem = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mixed = smf.mixedlm(formula, rows, groups=rows["patient"]).fit(reml=True)
        except np.linalg.LinAlgError as error:
            problem = str(error)
        else:
            intercept = float(plain.fit().params["Intercept"])
            drift = abs(float(mixed.fe_params["Intercept"]) - intercept)
            if not mixed.converged or np.isnan(mixed.bse_fe).any():
                problem = "no convergence"
            elif drift > 0.01 * max(abs(intercept), 1.0):
                problem = f"intercept {drift:.2g} away from that of least squares"
            elif any("ingular" in str(warning.message) for warning in caught):
                problem = "patients do not vary"
            else:
                return mixed, ""
        clustered = plain.fit(
            cov_type="cluster", cov_kwds={"groups": rows["patient"].astype("category").cat.codes}
        )
    return clustered, f"least squares, errors clustered by patient ({problem})"


def _contrast(fitted: Any, weights: Any) -> Contrast:
    found = fitted.t_test(weights[None])
    low, high = found.conf_int(alpha=1 - LEVEL)[0]
    return Contrast(
        float(np.squeeze(found.effect)), float(low), float(high), float(np.squeeze(found.pvalue))
    )
