"""Per-case scores in the shape of a public benchmark: many methods, organs and empty cells."""

import numpy as np
import pandas as pd


def public_scores(
    methods: int = 19, organs: int = 9, cases: int = 743, seed: int = 0
) -> pd.DataFrame:
    """Return task, case, method, organ, value: DSC as fractions of four decimals.

    Half of the organs of a case are not in view, and empty for every method. Hard cases fail more
    often, the more the weaker a method is: some failures are 0, others are empty.
    """
    rng = np.random.default_rng(seed)
    in_view = rng.random((cases, organs)) < 0.5
    hard = rng.gamma(1.0, 0.05, (cases, organs)) + rng.uniform(0.02, 0.2, organs)
    skill = np.sort(rng.normal(0, 0.01, methods))
    values = 1 - hard[..., None] * (1 - skill) - rng.gamma(1.0, 0.02, (cases, organs, methods))
    fails = rng.random(values.shape) < 0.02 + 1.2 * hard[..., None] ** 2 - 0.5 * skill
    values = np.where(fails, np.where(rng.random(values.shape) < 0.5, 0.0, np.nan), values)
    values = np.where(in_view[..., None], values.clip(0, 1), np.nan).round(4)
    case, organ, method = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "task": "public",
            "case": np.char.add("case", case.astype(str)),
            "method": np.char.add("method", np.char.zfill(method.astype(str), 2)),
            "organ": np.char.add("organ", organ.astype(str)),
            "value": values.ravel(),
        }
    )
