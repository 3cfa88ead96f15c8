"""``bench results import``: small files in the formats of other frameworks become scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import Bench

from bench.reporting.scores import read_csv

COUNTS = {"ok": (90, 100), "missed": (0, 100), "hallucinated": (90, 0), "both_empty": (0, 0)}


def metrics(status: str, dice: float) -> dict[str, float]:
    predicted, true = COUNTS[status]
    empty = {"Dice": math.nan, "IoU": math.nan}
    both = {"Dice": dice, "IoU": dice / (2 - dice)}
    counts = {"FN": true, "FP": predicted, "TN": 9000, "TP": 0, "n_pred": predicted, "n_ref": true}
    return (empty if status == "both_empty" else both) | counts


def summary(path: Path, cases: dict[str, dict[str, Any]]) -> Path:
    """Write what nnU-Net v2 writes after a validation; NaN is bare, as Python's json writes it."""
    per_case = [
        {
            "metrics": labels,
            "prediction_file": f"/data/predicted/{name}.nii.gz",
            "reference_file": f"/data/labelsTr/{name}.nii.gz",
        }
        for name, labels in cases.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    mean = {"Dice": 0.5}
    document = {"foreground_mean": mean, "mean": {"1": mean}, "metric_per_case": per_case}
    path.write_text(json.dumps(document, indent=4))
    return path


def case(dice: float, status: str = "ok") -> dict[str, Any]:
    return {"1": metrics("ok", dice), "(1, 2)": metrics(status, 0.0 if status != "ok" else dice)}


RAW = """filename,class0,class1,mean
/x/case_0.nii.gz,0.9000,nan,0.9000
/x/case_1.nii.gz,0.8000,0.5000,0.6500
/x/case_2.nii.gz,0.7000,0.6000,0.6500
"""


def test_summaries_of_nnunet_keep_why_a_value_is_missing(bench: Bench, tmp_path: Path) -> None:
    first = {"c0": case(0.9), "c1": case(0.8, "missed"), "c2": case(0.7, "both_empty")}
    second = {"c3": case(0.6, "hallucinated"), "c4": case(0.9), "c5": case(0.5)}
    folds = [
        summary(tmp_path / f"A/fold_{fold}/validation/summary.json", cases)
        for fold, cases in enumerate((first, second))
    ]
    named = ["--organ", "1=liver", "--organ", "(1, 2)=abdomen", "-d", "AMOS"]
    answer = bench(
        "results", "import", "nnunet", *map(str, folds), "-m", "A", *named, "-o", "scores.csv"
    )
    assert (answer.code, answer.err) == (0, "")
    assert "1 method, 6 cases, 2 organs: 12 values, 1 of them missing" in answer.out
    assert "1 both_empty, 1 hallucinated, 1 missed" in answer.out
    table = read_csv(Path("scores.csv"))
    assert set(table["task"]) == {"AMOS, Dice"}
    assert table.groupby("fold")["case"].unique().map(list).to_dict() == {
        0: ["c0", "c1", "c2"],
        1: ["c3", "c4", "c5"],
    }
    mixed = [folds[0], summary(tmp_path / "B/summary.json", second)]
    command = ["results", "import", "nnunet", *map(str, mixed), "-m", "A", *named, "-o", "b.csv"]
    assert "give --no-folds" in bench(*command).err
    assert bench(*command, "--no-folds").code == 0
    assert "fold" not in pd.read_csv("b.csv")
    abdomen = table[table["organ"] == "abdomen"].set_index("case")
    assert abdomen["status"].to_list() == ["ok", "missed", "both_empty", "hallucinated", "ok", "ok"]
    assert abdomen["value"].to_list()[:2] == [0.9, 0.0]
    assert math.isnan(abdomen.loc["c2", "value"])


def test_the_raw_table_of_monai_without_its_mean(bench: Bench, tmp_path: Path) -> None:
    Path("mean_dice_raw.csv").write_text(RAW)
    command = ["results", "import", "monai", "mean_dice_raw.csv", "-m", "UNet", "-d", "AMOS"]
    answer = bench(*command, "--organ", "class0=", "--organ", "class1=liver", "-o", "scores.csv")
    assert answer.code == 0
    table = read_csv(Path("scores.csv"))
    assert table["case"].to_list() == ["case_0", "case_1", "case_2"]
    assert table["organ"].unique().tolist() == ["liver"]
    assert table["value"].fillna(-1).to_list() == [-1, 0.5, 0.6]
    assert "fold" not in pd.read_csv("scores.csv")


@pytest.mark.parametrize("place", ["{}.csv", "{}/Dice.csv"])
def test_a_folder_of_methods_is_compared_over_what_both_have(
    bench: Bench, tmp_path: Path, place: str
) -> None:
    for method, gain in {"Swin UNETR": 0.0, "nnU-Net": 0.1}.items():
        path = tmp_path / "public" / place.format(method)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"s{i:04},{0.5 + gain + i / 100},{'' if i % 2 else 'nan'}" for i in range(6)]
        rows += [f"s{i:04},nan,{0.4 + gain + i / 50}" for i in range(6, 12)]
        path.write_text("\n".join(["name,aorta,gall_bladder", *rows]) + "\n")
    answer = bench("results", "import", "folder", "public", "-d", "JHH", "-o", "scores.csv")
    assert answer.code == 0
    assert "2 methods, 12 cases, 2 organs: 48 values, 24 of them missing" in answer.out
    report = bench("report", "significance[csv=scores.csv]", "-o", "out")
    assert report.code == 0
    numbers = pd.read_csv("out/significance.csv").query("organ == 'mean'")
    assert numbers["diff"].abs().to_list() == pytest.approx([0.1])


def test_two_frameworks_meet_in_one_table(bench: Bench, tmp_path: Path) -> None:
    cases = {f"case_{i}": {"1": metrics("ok", 0.9 - i / 20)} for i in range(3)}
    summary(tmp_path / "summary.json", cases)
    Path("raw.csv").write_text(RAW)
    into = ["-d", "AMOS", "-o", "scores.csv"]
    organ = ["--organ", "1=liver"]
    assert bench("results", "import", "nnunet", "summary.json", "-m", "A", *organ, *into).code == 0
    organ = ["--organ", "class0=liver", "--organ", "class1="]
    again = ["results", "import", "monai", "raw.csv", "-m", "B", *organ, *into]
    assert "exists; add to it with --append" in bench(*again).err
    assert bench(*again, "--append").code == 0
    table = read_csv(Path("scores.csv"))
    assert table.groupby("method")["value"].count().to_dict() == {"A": 3, "B": 3}
    before = Path("scores.csv").read_bytes()
    assert "method B has two values of liver" in bench(*again, "--append").err
    assert Path("scores.csv").read_bytes() == before


def test_values_that_are_there_twice_are_said_or_refused(bench: Bench, tmp_path: Path) -> None:
    command = ["results", "import", "monai", "raw.csv", "-m", "A", "-d", "AMOS", "-o", "scores.csv"]
    Path("raw.csv").write_text(RAW + "/x/case_0.nii.gz,0.9,nan,0.9\n")
    answer = bench(*command)
    assert answer.code == 0
    assert "raw.csv: 2 values of method A there twice and equal, taken once" in answer.out
    assert "(case case_0, organ class0)" in answer.out
    assert len(read_csv(Path("scores.csv"))) == 6
    Path("scores.csv").unlink()
    Path("raw.csv").write_text(RAW + "/x/case_0.nii.gz,0.9,0.1,0.5\n")
    answer = bench(*command)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "raw.csv: case case_0, organ class1: method A has two values" in answer.err
    assert "value is missing and 0.1" in answer.err
    assert not Path("scores.csv").exists()


@pytest.mark.parametrize(("second", "code"), [(0.9, 0), (0.8, 2)])
def test_a_label_that_occurs_twice_in_a_json_is_seen(
    bench: Bench, second: float, code: int, tmp_path: Path
) -> None:
    path = summary(tmp_path / "summary.json", {"c0": case(0.9), "c1": case(0.7)})
    again = f'"1": {json.dumps(metrics("ok", second))}, "(1, 2)"'
    path.write_text(path.read_text().replace('"(1, 2)"', again, 1))
    answer = bench(
        "results", "import", "nnunet", str(path), "-m", "A", "-d", "AMOS", "-o", "scores.csv"
    )
    assert answer.code == code
    said = "value is 0.9 and 0.8" if code else "1 value of method A there twice and equal"
    assert said in answer.out + answer.err
    assert "summary.json: " in answer.out + answer.err


def test_one_case_in_two_folds_is_refused(bench: Bench, tmp_path: Path) -> None:
    files = [summary(tmp_path / f"fold_{n}/summary.json", {"c0": case(0.9)}) for n in (0, 1)]
    answer = bench(
        "results", "import", "nnunet", *map(str, files), "-m", "A", "-d", "AMOS", "-o", "b.csv"
    )
    assert answer.code == 2
    assert "fold is 0 and 1; leave one out" in answer.err


def test_a_fold_is_no_part_of_another_word(bench: Bench, tmp_path: Path) -> None:
    file = summary(tmp_path / "manifold_3" / "A_fold_1.json", {"c0": case(0.9)})
    other = summary(tmp_path / "manifold_3" / "summary.json", {"c1": case(0.9)})
    both = ["-m", "A", "-d", "AMOS", "--organ", "1=liver", "-o"]
    assert bench("results", "import", "nnunet", str(file), *both, "1.csv").code == 0
    assert set(read_csv(Path("1.csv"))["fold"]) == {1}
    assert bench("results", "import", "nnunet", str(other), *both, "2.csv").code == 0
    assert "fold" not in Path("2.csv").read_text(encoding="utf-8")


RAW_INFINITE = RAW.replace("0.5000", "inf")


@pytest.mark.parametrize(
    ("framework", "text", "options", "message"),
    [
        ("nnunet", "{", [], "no JSON"),
        ("nnunet", '{"results": {"all": []}}', [], "has no list metric_per_case"),
        ("nnunet", '{"metric_per_case": []}', [], "holds no case"),
        ("nnunet", '{"metric_per_case": [1]}', [], "prediction_file is missing"),
        ("monai", "class,mean\nclass0,1\n", [], "row 1: not the raw table of MONAI"),
        ("monai", RAW.replace("0.6000", "good"), [], "row 4, column class1: 'good' is no number"),
        ("monai", RAW.replace(",0.5000,0.6500", ""), [], "row 3: has 2 of 4 cells"),
        (
            "monai",
            RAW.replace("case_1", "case_0"),
            [],
            "file: case case_0, organ class0: method M has two values: value is 0.9 and 0.8",
        ),
        ("monai", RAW, ["--organ", "klass0=liver"], "unknown label 'klass0': did you mean class0"),
        ("monai", RAW, ["--organ", "liver"], "write LABEL=NAME"),
        ("monai", RAW, ["-m", "A", "-m", "B"], "3 methods named for 1 file:"),
        ("monai", RAW_INFINITE, [], "case case_1, class1: the value is infinite"),
        ("monai", RAW.replace("class0", "a\x1b[2J"), [], "row 1: holds control characters"),
        ("folder", RAW, [], "--method is not for folder"),
        ("monai", "\x00\xff", [], "is no UTF-8 text"),
    ],
)  # fmt: skip
def test_what_is_not_expected_is_one_line(
    bench: Bench, framework: str, text: str, options: list[str], message: str
) -> None:
    Path("file").write_text(text)
    command = ["results", "import", framework, "file", "-m", "M", "-d", "D", "-o", "scores.csv"]
    answer = bench(*command, *options)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("scores.csv").exists()


def test_a_metric_that_is_not_there_and_values_of_empty_masks_are_refused(
    bench: Bench, tmp_path: Path
) -> None:
    summary(tmp_path / "a.json", {"c0": case(0.9)})
    rest = ["-m", "M", "-d", "D", "-o", "scores.csv"]
    refused = bench("results", "import", "nnunet", "a.json", *rest, "--metric", "Dise")
    assert refused.code == 2
    assert "unknown metric in a.json: metric_per_case[0], label 1 'Dise'" in refused.err
    summary(tmp_path / "b.json", {"c0": {"1": metrics("both_empty", 0) | {"Dice": 1.0}}})
    refused = bench("results", "import", "nnunet", "b.json", *rest)
    assert "Dice is 1, but both masks are empty" in refused.err


def test_infinite_values_are_failures_if_the_user_says_so(bench: Bench) -> None:
    Path("hd.csv").write_text(RAW_INFINITE)
    rest = ["-m", "M", "-d", "D", "--metric", "HD95", "--infinite", "missed", "--lower-is-better"]
    answer = bench("results", "import", "monai", "hd.csv", *rest, "-o", "scores.csv")
    assert "higher_is_better=false" in answer.out
    table = read_csv(Path("scores.csv"), higher_is_better=False)
    failed = table[table["status"] == "missed"]
    assert failed[["case", "organ"]].to_numpy().tolist() == [["case_1", "class1"]]
    assert failed["value"].isna().all()


def test_cases_of_one_patient_are_one_value(bench: Bench) -> None:
    Path("raw.csv").write_text(RAW)
    command = ["results", "import", "monai", "raw.csv", "-d", "AMOS", "--organ", "class1="]
    Path("who.csv").write_text("Patient,case\nAnn,case_0\nAnn,case_1\nBob,case_2\nEve,other\n")
    named = ["--patients", "who.csv", "-o", "scores.csv"]
    answer = bench(*command, "-m", "A", *named)
    assert (answer.code, answer.err) == (0, "")
    assert "1 method, 3 cases, 2 patients, 1 organ" in answer.out
    assert bench(*command, "-m", "B", *named, "--append").code == 0
    table = read_csv(Path("scores.csv"))
    assert table["patient"].to_list() == ["Ann", "Ann", "Bob"] * 2
    before = Path("scores.csv").read_bytes()
    unlike = bench(*command, "-m", "C", "-o", "scores.csv", "--append")
    assert (unlike.code, unlike.err.count("\n")) == (2, 1)
    assert "give --patients for all methods or none" in unlike.err
    assert Path("scores.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,patient\ncase_0,A\n", "names no patient of case case_1 and 1 more; its cases are"),
        ("case,patient\ncase_0,A\ncase_0,B\n", "row 3: case case_0 is of A and of B"),
        ("case,patient\ncase_0,\n", "row 2: patient is empty; fill it in"),
        ("case,who\ncase_0,A\n", "row 1: the columns are case and patient, not case and who"),
        ("case,patient\ncase_0\n", "row 2: has 1 of 2 cells"),
        ("case;patient\n", "holds no row; write one for each case"),
    ],
)
def test_a_table_of_patients_that_does_not_match_is_refused(
    bench: Bench, text: str, message: str
) -> None:
    Path("raw.csv").write_text(RAW)
    Path("who.csv").write_text(text)
    command = ["results", "import", "monai", "raw.csv", "-m", "M", "-d", "D", "-o", "scores.csv"]
    answer = bench(*command, "--patients", "who.csv")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "who.csv" in answer.err
    assert message in answer.err
    assert not Path("scores.csv").exists()
