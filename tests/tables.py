"""Generated results tables."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.evaluation.audit import relabel_audit
from bench.evaluation.metrics import METRICS, dice_percent
from bench.evaluation.overlay import overlay_png, scan_png
from bench.evaluation.status import mask_status
from bench.experiment.method import Method
from bench.plugins import registry
from bench.results.basis import BASIS, DEFINED
from bench.results.files import BESIDE, Tables
from bench.results.tables import AUDIT, CURVES, PARTS, PICTURES, RESULTS, SHEETS

QUALITY = {"naive": 0.2, "inerrant0": 0.5, "bai": 0.55, "inerrant": 0.6, "full": 0.8}
ROUNDS = {"inerrant": 3, "bai": 3}


def in_memory(**given: pd.DataFrame) -> Tables:
    """Return the given tables by name, the others without rows."""
    assert given.keys() <= {schema.name for schema in (RESULTS, *BESIDE)}
    return Tables(lambda schema: given[schema.name] if schema.name in given else schema.frame([]))


def shown(method: str) -> dict[str, Any]:
    """Return the columns that say how a method is shown."""
    known = method in registry.names("methods")
    cls = registry.load("methods", method, Method) if known else Method  # type: ignore[type-abstract]
    return {name: getattr(cls, name) for name in ("title", "colour", "order", "upper_bound")}


def stands_on(
    run: dict[str, Any], content: str = "c0ffee", window: str = "-160:240", train: int = 2
) -> dict[str, str]:
    """Return the columns that say which data and versions a row stands on."""
    grid = f"{content}{window}"
    return {
        "content": content,
        "scaling": f"CT window[hu_window={window}]",
        "images": f"{'Images' if run['dims'] == 2 else 'Volumes'}-{grid}-{run['backbone']}",
        "truth": f"Truth-{grid}",
        "labels": f"Labels-{grid}-{run['backbone']}-{run['label_pct']}{run['fold']}{run['seed']}",
        "versions": f"Evaluate 2, Images 2, Train {train}, Truth 1",
    }


def result_rows(
    methods: Sequence[str] = ("naive", "inerrant0", "inerrant"),
    fractions: Sequence[int] = (50, 30),
    folds: Sequence[int] = (0, 1, 2),
    seeds: Sequence[int] = (0,),
    organs: Sequence[str] = ("liver", "spleen"),
    patients: int = 3,
    dataset: str = "phantom",
    backbone: str = "unet",
    **basis: Any,
) -> Iterator[dict[str, Any]]:
    """Yield consistent rows; `naive` misses the first organ of the first patient of every fold."""
    for seed, fold, pct in np.ndindex(len(seeds), len(folds), len(fractions)):
        run = {
            "dataset": dataset,
            "label_pct": fractions[pct],
            "fold": folds[fold],
            "seed": seeds[seed],
            "profile": "smoke",
            "backbone": backbone,
            "dims": 3 if "3d" in backbone else 2,
            "test_to_train": 0.25,
            "device": "cpu",
            "software": "bench 0.1.0, torch 2.14.1",
        }
        run |= stands_on(run, **basis)
        for position, method in enumerate(methods):
            base = method.split("[")[0]
            rounds = ROUNDS.get(base, 1)
            for t, p, k in np.ndindex(rounds, patients, len(organs)):
                rng = np.random.default_rng([seed, fold, pct, position, t, p, k])
                n_gt = 1000 + 100 * k + 10 * p + fold
                quality = QUALITY[base] + 0.002 * fractions[pct] + 0.03 * t + rng.normal(0, 0.03)
                tp = 0 if base == "naive" and p == k == 0 else int(n_gt * np.clip(quality, 0, 1))
                n_pred = int(1.2 * tp)
                status = mask_status(n_pred, n_gt)
                yield run | {
                    "method": method,
                    "round": t,
                    "final": t == rounds - 1,
                    "case": f"case{folds[fold]}{p}",
                    "patient": f"patient{folds[fold]}{p}",
                    "domain": "",
                    "organ": organs[k],
                    **dict.fromkeys(METRICS, np.nan),
                    "dsc": dice_percent(tp, n_pred, n_gt),
                    "hd95_mm": 20 * (1 - tp / n_gt) if status == "ok" else np.nan,
                    "nsd": 100 * tp / n_gt,
                    "coverage": np.nan,
                    "dsc_inside": np.nan,
                    "tp": tp,
                    "n_pred": n_pred,
                    "n_gt": n_gt,
                    "status": status,
                    "spacing_known": True,
                    "seg_steps": 600 + 200 * t,
                    "networks": 1 + (rounds > 1),
                    "parameters": 1_000_000 * (1 + (rounds > 1)),
                    "passes": 1.0 + 0.5 * t,
                    "departs": "nothing" if rounds == 1 else "rounds, as published",
                    **shown(base),
                    "device_s": 60.0 * (t + 1),
                    "peak_mb": np.nan,
                    "stage": f"Evaluate-{method}{t}{fold}{pct}{seed}",
                    "recipe": "as it is",
                    "definition": f"{method} as it is",
                }


def result_table(**options: Any) -> pd.DataFrame:
    return RESULTS.frame(result_rows(**options))


def of_two_sites(table: pd.DataFrame) -> pd.DataFrame:
    """Return a results table whose first patient of every fold is of another domain."""
    first = table["case"].str.endswith("0")
    return table.assign(domain=first.map({True: "north", False: "south"}))


def two_patients(values: dict[tuple[str, int, str, str], float]) -> pd.DataFrame:
    """Return a table with given DSC values: (method, fold, patient, organ) -> percent or NaN."""
    rows = []
    for (method, fold, patient, organ), dsc in values.items():
        n_gt = 0 if np.isnan(dsc) else 100
        tp = 0 if np.isnan(dsc) else round(dsc)
        rows.append(
            {
                "dataset": "hand", "method": method, "label_pct": 30, "fold": fold, "seed": 0,
                "profile": "smoke", "backbone": "unet", "round": 0, "final": True,
                "case": patient, "patient": patient, "domain": "", "organ": organ,
                **dict.fromkeys(METRICS, np.nan),
                "dsc": dsc, "coverage": np.nan, "dsc_inside": np.nan,
                "tp": tp, "n_pred": n_gt, "n_gt": n_gt,
                "status": mask_status(n_gt, n_gt), "spacing_known": True, "seg_steps": 10,
                "networks": 1, "parameters": 9, "passes": 1.0, "departs": "nothing",
                **shown(method), "device_s": 1.0, "peak_mb": np.nan, "dims": 2,
                "test_to_train": 0.25, "device": "cpu", "software": "bench 0.1.0",
                "stage": f"Evaluate-{method}{fold}",
                **dict.fromkeys((*BASIS, *DEFINED), ""),
            }
        )  # fmt: skip
    return RESULTS.frame(rows)


def audit_table() -> pd.DataFrame:
    """Two folds, two organs, two rounds."""
    rows = []
    for fold, scale in ((0, 1), (1, 2)):
        for organ, tp in (("liver", [90, 60]), ("spleen", [50, 0])):
            added = [100 * scale, 100 * scale if organ == "liver" else 0]
            right = [scale * count for count in tp]
            audits = relabel_audit(added, right, 200 * scale, [True, False])
            for t, audited in enumerate(audits, start=1):
                rows.append(
                    {"dataset": "d", "method": "inerrant", "label_pct": 30, "fold": fold, "seed": 0}
                    | {"profile": "smoke", "backbone": "unet", "round": t, "organ": organ}
                    | {"gamma": t / 2, "candidates": 400, "candidate_error": 0.25, "auc": 0.8}
                    | {"ap_success": 0.9, "ap_error": float("nan")}
                    | {"sure": 50, "sure_right": 40, "volumes": 10, "left_out": 0}
                    | dict.fromkeys(("dsc_kept", "dsc_left_out"), float("nan"))
                    | audited._asdict()
                    | dict.fromkeys(BASIS, "")
                )
    return AUDIT.frame(rows)


def curves_table() -> pd.DataFrame:
    """Return the curves of one method: its gate opens with every part, by one more in fold 1."""
    return CURVES.frame(
        {
            "dataset": "phantom",
            "label_pct": pct,
            "fold": fold,
            "seed": 0,
            "profile": "smoke",
            "backbone": "unet",
            "method": "uamt",
            "round": 0,
            "training": "uamt",
            "stage": f"Train-{pct}{fold}",
            "name": name,
            "part": part,
            "value": float(part + fold),
            **dict.fromkeys(BASIS, ""),
        }
        for pct in (50, 30)
        for fold in (0, 1)
        for name in ("segment/gate_share", "segment/loss", "segment/lr")
        for part in range(PARTS)
    )


def sheets_table() -> pd.DataFrame:
    """Return sheets of two label fractions and two folds, pictures of four pixels."""
    png = base64.b64encode(scan_png(np.zeros((1, 2, 2), np.int16), (-100, 200))).decode()
    return SHEETS.frame(
        {"dataset": "phantom", "label_pct": pct, "fold": fold, "seed": 0, "profile": "smoke"}
        | {"backbone": "unet", "title": f"phantom: 12 of 40 cases {pct} {fold}", "png": png}
        | {"stage": f"Sheet-{pct}{fold}"}
        | dict.fromkeys(BASIS, "")
        for pct in (30, 50)
        for fold in (1, 0)
    )


def pictures_table() -> pd.DataFrame:
    """Return pictures of predictions, of their truth and of relabelling, of two slices of 4 x 3."""
    scan = base64.b64encode(scan_png(np.zeros((2, 4, 3), np.int16), (-100, 200))).decode()
    overlay = base64.b64encode(overlay_png(np.ones((2, 4, 3), np.uint8))).decode()
    shown = [(m, 0, kind) for m in ("inerrant0", "inerrant") for kind in ("prediction", "truth")]
    shown += [
        (method, t, kind)
        for method in ("inerrant_mcp", "inerrant")
        for t in (1, 2)
        for kind in ("relabelling", "confidence")
    ]
    return PICTURES.frame(
        {"dataset": "phantom", "label_pct": pct, "fold": 0, "seed": 0, "profile": "smoke"}
        | {"backbone": "unet", "method": method, "round": t, "kind": kind, "case": case}
        | {"slices": "1, 2", "scan": scan, "overlay": overlay, "stage": "Pictures-1"}
        | dict.fromkeys(BASIS, "")
        for pct in (30, 50)
        for method, t, kind in shown
        for case in ("case00", "case01")
    )
