import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tables import audit_table, result_rows, result_table, two_patients

from bench.errors import BenchError
from bench.evaluation.metrics import METRICS
from bench.results import aggregate
from bench.results.columns import CELL, GROUP, RUN
from bench.results.tables import AUDIT, RESULTS, STATUSES, grouped


def test_written_bytes_depend_on_the_rows_only(tmp_path):
    table = result_table()
    RESULTS.save(table, tmp_path / "a.parquet")
    RESULTS.save(table.sample(frac=1, random_state=0), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(RESULTS.load(tmp_path / "a.parquet"), table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_flipped_bit_is_refused_or_without_effect(tmp_path):
    table, path = result_table(), tmp_path / "a.parquet"
    RESULTS.save(table, path)
    content = path.read_bytes()
    refused = 0
    for place in np.linspace(0, len(content) - 1, 15).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            pd.testing.assert_frame_equal(RESULTS.load(path), table)
        except BenchError:
            refused += 1
    assert refused > 3


def set_first(column, value):
    def change(table):
        changed = table.astype({column: object})
        changed.loc[0, column] = value
        return changed

    return change


BAD_TABLES = {
    "missing column": (lambda t: t.drop(columns="nsd"), "column nsd is missing"),
    "unknown column": (lambda t: t.assign(extra=1), "unknown column extra"),
    "duplicate": (lambda t: pd.concat([t, t.iloc[[2]]]), r"organ=liver\).*occurs 2 times"),
    "dsc range": (set_first("dsc", 101.0), r"row 0 \(.*case=case00.*\): dsc is 101.0.*at most 100"),
    "fold range": (set_first("fold", -1), "fold is -1, must be at least 0"),
    "fraction range": (set_first("label_pct", 0), "label_pct is 0, must be at least 1"),
    "text for number": (set_first("label_pct", "x"), "label_pct is x, must be a whole number"),
    "broken count": (set_first("tp", 3.5), "tp is 3.5, must be a whole number"),
    "infinite": (set_first("hd95_mm", np.inf), "hd95_mm is inf, must be a finite number"),
    "empty": (set_first("case", None), "case is empty"),
    "status": (set_first("status", "bad"), "status is bad, must be ok or missed"),
    "tp too large": (set_first("tp", 10**6), "tp=1000000 does not agree with n_pred"),
    "dsc not from counts": (set_first("dsc", 1.0), "dsc=1.0 does not agree with tp"),
    "status not from counts": (
        set_first("status", "missed"),
        "n_pred=.* does not agree with status",
    ),
    "two lengths": (set_first("seg_steps", 7), "seg_steps is .* in another row of the same model"),
    "final too early": (lambda t: t.assign(final=True), "final is true, but the run has a later"),
    "other patient": (set_first("patient", "p"), "patient is .* in another row of the same case"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_table_is_refused_with_row_and_column(name):
    change, message = BAD_TABLES[name]
    table = result_table()
    assert table.loc[0, ["method", "organ"]].tolist() == ["inerrant", "liver"]
    with pytest.raises(BenchError, match=message) as caught:
        RESULTS.check(change(table), "file.parquet")
    assert str(caught.value).startswith("file.parquet")
    assert "\n" not in str(caught.value)


def test_pairs_that_only_one_model_lacks_are_named():
    table = result_table()
    RESULTS.check(table.drop(index=1))
    lacking = aggregate.lacking_pairs(table.drop(index=1))
    assert len(lacking) == 1
    names = ["method", "round", "label_pct", "fold", "case", "organ"]
    assert lacking.loc[0, names].tolist() == ["inerrant", 0, 30, 0, "case00", "spleen"]
    assert aggregate.lacking_pairs(table).empty
    nobody = table["case"] == "case00"
    assert aggregate.lacking_pairs(table[~nobody]).empty


def test_other_ground_truth_is_refused():
    rows = list(result_rows(methods=["inerrant0", "bai"]))
    rows[0] |= {"n_gt": rows[0]["n_gt"] + 1}
    rows[0]["dsc"] = 200 * rows[0]["tp"] / (rows[0]["n_pred"] + rows[0]["n_gt"])
    with pytest.raises(BenchError, match=r"n_gt is .* in another row of the same case and organ"):
        RESULTS.check(RESULTS.frame(rows))


def test_files_that_are_no_table_are_refused(tmp_path):
    with pytest.raises(BenchError, match="no such results table"):
        RESULTS.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(BenchError, match=r"text.parquet: no readable parquet.*remove it, and"):
        RESULTS.load(tmp_path / "text.parquet")
    result_table().to_parquet(tmp_path / "plain.parquet")
    reads = "holds schema none, this program reads results/5 or .* or results/9;"
    with pytest.raises(BenchError, match=reads):
        RESULTS.load(tmp_path / "plain.parquet")


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    empty = RESULTS.frame([])
    RESULTS.save(empty, tmp_path / "empty.parquet")
    assert list(RESULTS.load(tmp_path / "empty.parquet")) == list(RESULTS.columns)


def test_fold_and_cell_values_follow_the_definition():
    nan = float("nan")
    table = two_patients(
        {
            ("m", 0, "a", "liver"): 80, ("m", 0, "b", "liver"): 60,
            ("m", 0, "a", "spleen"): 40, ("m", 0, "b", "spleen"): nan,
            ("m", 1, "c", "liver"): 50, ("m", 1, "c", "spleen"): 0,
        }
    )  # fmt: skip
    RESULTS.check(table)
    organs = aggregate.organ_values(table)
    assert organs["value"].tolist() == [70, 40, 50, 0]
    assert organs["patients"].tolist() == [2, 2, 1, 1]
    assert organs["nan"].tolist() == [0, 1, 0, 0]
    assert organs["zero"].tolist() == [0, 0, 0, 1]
    folds = aggregate.fold_values(table)
    assert folds["value"].tolist() == [55, 25]
    (cell,) = aggregate.cell_values(table).to_dict("records")
    assert cell["mean"] == 40
    assert cell["std"] == pytest.approx(np.std([55, 25], ddof=1))
    assert cell["patient_mean"] == pytest.approx(np.mean([np.mean([80, 60, 50]), np.mean([40, 0])]))
    counts = {"runs": 2, "folds": 2, "patients": 3, "scored": 5, "nan": 1, "zero": 1}
    assert {name: cell[name] for name in counts} == counts
    liver = aggregate.cell_values(table, by=(*CELL, "organ")).iloc[0]
    assert (liver["organ"], liver["mean"]) == ("liver", 60)


def test_a_patient_with_two_cases_counts_once():
    table = two_patients({("m", 0, "a", "liver"): 80, ("m", 0, "b", "liver"): 20})
    third = table.iloc[[1]].assign(case="b2", dsc=40.0, tp=40)
    value = aggregate.organ_values(pd.concat([table, third], ignore_index=True))["value"]
    assert value.tolist() == [55]


def test_one_fold_has_no_standard_deviation():
    cells = aggregate.cell_values(aggregate.final_models(result_table(folds=[2])))
    assert cells["std"].isna().all()
    assert (cells["runs"] == 1).all()


def test_seeds_and_folds_are_separate_values():
    table = aggregate.final_models(
        result_table(methods=["inerrant0"], fractions=[30], seeds=[0, 1])
    )
    cell = aggregate.cell_values(table).iloc[0]
    assert (cell["runs"], cell["folds"], cell["seeds"], cell["patients"]) == (6, 3, 2, 9)
    assert cell["mean"] == pytest.approx(aggregate.fold_values(table)["value"].mean())


def test_rounds_stay_apart():
    table = result_table(methods=["inerrant"], fractions=[30])
    rounds = aggregate.cell_values(table, by=(*CELL, "round"))
    assert rounds["round"].tolist() == [0, 1, 2]
    last = aggregate.cell_values(aggregate.final_models(table))
    assert rounds["mean"].iloc[-1] == last["mean"].iloc[0]
    assert rounds["seg_steps_max"].tolist() == [600, 800, 1000]


def test_audit_has_the_form_of_table_7(tmp_path):
    AUDIT.save(audit_table(), tmp_path / "audit.parquet")
    cells = aggregate.audit_cell_values(AUDIT.load(tmp_path / "audit.parquet"))
    assert cells["round"].tolist() == [1, 2]
    assert cells["gamma"].tolist() == [0.5, 1.0]
    assert cells["precision"].tolist() == pytest.approx([0.7, 0.6])
    assert cells["recall"].tolist() == pytest.approx([0.35, 0.15])
    assert cells["recall_cum"].tolist() == pytest.approx([0.35, 0.5])
    assert cells["added_share"].tolist() == pytest.approx([0.5, 0.25])
    assert cells["precision_std"].tolist() == pytest.approx([0, 0])
    assert cells["runs"].tolist() == [2, 2]
    assert cells["ap_error"].isna().all()
    organs = aggregate.audit_cell_values(audit_table(), by=(*CELL, "round", "organ"))
    assert organs["precision"].tolist()[:2] == pytest.approx([0.9, 0.5])


def test_audit_refuses_percentages(tmp_path):
    table = audit_table()
    table["precision"] *= 100
    with pytest.raises(BenchError, match=r"precision is 90.0, must be at most 1"):
        AUDIT.save(table, tmp_path / "audit.parquet")


def test_run_names_a_trained_model():
    table = aggregate.final_models(result_table())
    assert not table.duplicated([*RUN, "case", "organ"]).any()


def test_the_reference_names_every_column():
    text = (Path(__file__).parents[2] / "docs/reference/results.md").read_text()
    for schema in (RESULTS, AUDIT):
        assert [name for name in schema.columns if f"`{name}`" not in text] == []
    assert [status for status in STATUSES if f"`{status}`" not in text] == []


def test_the_reference_lists_metrics_as_they_are_defined():
    text = (Path(__file__).parents[2] / "docs/reference/results.md").read_text()
    for name, metric in METRICS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert metric.definition() in row
        assert metric.unit in row
        assert f"{metric.best} is better" in row
    head, _, _, missed, hallucinated, _ = text.partition("## Empty masks\n\n")[2].splitlines()[:6]
    assert [cell.strip("` ") for cell in head.split("|")[4:-1]] == list(METRICS)
    for row, status in ((missed, "missed"), (hallucinated, "hallucinated")):
        stated = [float(cell) for cell in row.split("|")[4:-1]]
        declared = [getattr(metric, status) for metric in METRICS.values()]
        assert stated == pytest.approx(declared, nan_ok=True)


def test_a_table_written_before_a_metric_existed_is_read(tmp_path):
    table = result_table()
    RESULTS.save(table, tmp_path / "new.parquet")
    arrow = pq.read_table(tmp_path / "new.parquet")
    old = arrow.replace_schema_metadata({"bench.schema": "results/5"})
    pq.write_table(old.drop_columns(["assd_mm", "precision"]), tmp_path / "old.parquet")
    read = RESULTS.load(tmp_path / "old.parquet")
    assert read["assd_mm"].isna().all()
    assert list(read.columns) == list(table.columns)
    pq.write_table(arrow.drop_columns(["n_gt"]), tmp_path / "broken.parquet")
    with pytest.raises(BenchError, match="column n_gt is missing"):
        RESULTS.load(tmp_path / "broken.parquet")


@pytest.mark.parametrize(
    ("version", "column"),
    [
        (8, "domain"),
        (8, "hd95_mm"),
        (8, "content"),
        (7, "hd95_mm"),
        (7, "nsd"),
        (7, "content"),
        (7, "spacing_known"),
        (6, "precision"),
        (5, "nsd"),
        (5, "peak_mb"),
    ],
)
def test_a_column_that_its_version_has_must_be_there(version, column, tmp_path):
    RESULTS.save(result_table(), tmp_path / "whole.parquet")
    arrow = pq.read_table(tmp_path / "whole.parquet").drop_columns([column])
    tagged = arrow.replace_schema_metadata({"bench.schema": f"results/{version}"})
    pq.write_table(tagged, tmp_path / "cut.parquet")
    with pytest.raises(BenchError, match=rf"cut.parquet: column {column} is missing"):
        RESULTS.load(tmp_path / "cut.parquet")


def test_scores_that_contradict_the_status_are_refused():
    table = result_table(methods=["naive"])
    missed = table.index[table["status"] == "missed"][0]
    fine = table.index[table["status"] == "ok"][0]
    for row, column, value, other in [
        (missed, "hd95_mm", 3.0, "status=missed"),
        (missed, "nsd", 4.0, "status=missed"),
        (missed, "nsd", np.nan, "status=missed"),
        (missed, "assd_mm", 3.0, "status=missed"),
        (missed, "rve", 50.0, "status=missed"),
        (fine, "spacing_known", False, "spacing_known=False"),
    ]:
        changed = table.copy()
        changed.loc[row, column] = value
        with pytest.raises(BenchError, match=rf"row {row} .*does not agree with {other}") as caught:
            RESULTS.check(changed)
        assert column == "spacing_known" or f": {column}={value} " in str(caught.value)
    told = table.copy()
    told.loc[missed, ["rve", "sensitivity"]] = 100.0, 0.0
    RESULTS.check(told)
    absent = table.copy()
    nothing = table.index[(table["case"] == "case01") & (table["organ"] == "liver")]
    absent.loc[nothing, ["tp", "n_gt"]] = 0
    absent.loc[nothing, ["dsc", "nsd", "hd95_mm"]] = 0.0, 0.0, np.nan
    absent.loc[nothing, "status"] = "hallucinated"
    RESULTS.check(absent)
    absent.loc[nothing, "hd95_mm"] = 1.0
    with pytest.raises(BenchError, match=r"hd95_mm=1.0 does not agree with status=hallucinated"):
        RESULTS.check(absent)


def test_of_a_run_in_several_files_the_newest_counts(tmp_path):
    old, new = result_table(), result_table(methods=["inerrant0"]).assign(device_s=7.0)
    for age, (name, table) in enumerate({"z": old, "a": new}.items()):
        RESULTS.save(table, tmp_path / f"{name}.parquet")
        os.utime(tmp_path / f"{name}.parquet", (age, age))
    merged = RESULTS.load_all([tmp_path / "z.parquet", tmp_path / "a.parquet"])
    assert len(merged) == len(old)
    assert set(merged.loc[merged["method"] == "inerrant0", "device_s"]) == {7.0}
    assert 7.0 not in set(merged.loc[merged["method"] != "inerrant0", "device_s"])


def test_groups_are_in_order_and_one_group_is_no_copy() -> None:
    one = result_table(dataset="b")
    (same,) = grouped(one)
    assert same is one
    both = pd.concat([one, result_table(dataset="a")], ignore_index=True)
    for found, (_, wanted) in zip(grouped(both), both.groupby(list(GROUP)), strict=True):
        pd.testing.assert_frame_equal(found, wanted)
    assert list(grouped(one[:0])) == []
