"""`bench check`: registered methods pass every check, and a method that breaks a rule is found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest
from helpers import ALL_METHODS, shared_store
from walk import bench

from bench.errors import BenchError
from bench.experiment.conformance import checks
from bench.experiment.conformance.checks import CHECKS, Check, run_checks
from bench.experiment.conformance.subject import SLICES, MethodUnderTest
from bench.nets.catalogue import parse_network
from bench.nets.network import Network
from bench.plugins import files, registry
from bench.reporting.style import MethodStyles
from bench.results.files import Tables

VOLUMES = parse_network("unet3d_t11[width=2,bn_momentum=0.1]")
SOUND = """
from bench.experiment.method import Method
from bench.training.objective import Objective, ObjectiveSpec, Phase
from bench.training.supervised import Supervised


class Mine(Method):
    def plan(self, recipe):
        yield recipe.segmenter(Mixed())


class Mixed(ObjectiveSpec):
    label = "mixed"
    streams = ("supervised", "incomplete")

    def build(self, setting):
        return MixedObjective(setting)


class MixedObjective(Objective):
    def __init__(self, setting):
        self.net = setting.network("segmenter")
        self.lr = setting.lr
        self.calls = 0

    @property
    def modules(self):
        return {"segmenter": self.net}

    @property
    def phases(self):
        return [Phase("segment", list(self.net.parameters()), self.loss, self.lr)]

    def loss(self, batch, progress):
        from bench.training.batch import targets
        from bench.training.losses import binary_entropy, masked_bce, masked_mean

        y, w = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits = self.net(batch.image_BCHW)
        extra = masked_mean(binary_entropy(logits), ~w)
        self.calls += 1
        return {"loss": masked_bce(logits, y, w) + 0.1 * extra}
"""
"""A method that passes every check; the broken ones differ in one line."""

SMALL = ("-d", "phantom[n_cases=4,scale=0.25]", "-p", "smoke", "--launcher", "inline", "--store")
BROKEN = {
    "learns_from_what_it_samples": ("binary_entropy(logits)", "binary_entropy(logits.detach())"),
    "resumes_bit_for_bit": ("+ 0.1 * extra", "+ 0.1 * self.calls * extra"),
    "models_are_segmenters": (
        "yield recipe.segmenter(Mixed())",
        "yield recipe.segmenter(Mixed()); yield recipe.segmenter(Supervised(unlabelled='ignored'))",
    ),
    "plan_is_pure": (
        "yield recipe.segmenter(Mixed())",
        "import itertools; Mine.n = getattr(Mine, 'n', 0) + 1;"
        " yield recipe.segmenter(Mixed(), extra_rounds=Mine.n)",
    ),
    "hidden_labels_change_nothing": (
        "yield recipe.segmenter(Mixed())",
        "yield recipe.at(label_pct=100).segmenter(Mixed())",
    ),
    "weights_move": (
        'return {"segmenter": self.net}',
        'import copy; self.idle = getattr(self, "idle", copy.deepcopy(self.net));'
        ' return {"segmenter": self.net, "idle": self.idle}',
    ),
    "takes_no_target_from_unknown_classes": (
        "targets(batch.lab_BHW, ",
        "targets(batch.lab_BHW % 254, ",
    ),
    "finite_in_bf16": ("+ 0.1 * extra}", "- (1 - logits.sigmoid()).log().mean()}"),
    "trains_and_predicts": ("+ 0.1 * extra}", "+ 0.1 * extra + float('nan')}"),
}
"""Check -> a line of the sound method, and the line that breaks it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that all test processes share: methods have much work in common."""
    root = shared_store(tmp_path_factory, "conformance").root
    root.mkdir(exist_ok=True)
    return root


@pytest.mark.parametrize("name", ALL_METHODS)
def test_every_registered_method_conforms(name: str, folder: Path) -> None:
    conforms(name, SLICES, folder)


@pytest.mark.parametrize("name", ["inerrant", "asdnet", "dodnet"])
def test_methods_with_networks_or_rounds_of_their_own_conform_in_3d(
    name: str, folder: Path
) -> None:
    conforms(name, VOLUMES, folder)


def conforms(name: str, network: Network, folder: Path) -> None:
    verdicts = list(run_checks(MethodUnderTest(name, folder, network)))
    assert [verdict.check for verdict in verdicts] == [check.__name__ for check in CHECKS]
    assert not [(v.rule, v.problem) for v in verdicts if v.problem is not None]


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for plugin files, forgotten after the test."""
    monkeypatch.setenv(files.VARIABLE, "")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(files.PREFIX)]:
        del sys.modules[name]


def write(folder: Path, code: str, name: str = "mine") -> Path:
    file = folder / f"{name}.py"
    file.write_text(f'"""A method of somebody else."""\n{dedent(code)}')
    return file


def problems(file: Path, folder: Path, checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    registry.plug_in([file])
    (folder / "stores").mkdir()
    verdicts = run_checks(MethodUnderTest("mine", folder / "stores"), checks)
    return {v.check: v.problem for v in verdicts if v.problem is not None}


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_rule_is_found(check: str, plugged: Path) -> None:
    sound, broken = BROKEN[check]
    assert SOUND.count(sound) == 1
    file = write(plugged, SOUND.replace(sound, broken))
    assert list(problems(file, plugged, [getattr(checks, check)])) == [check]


def test_unknown_classes_that_count_as_another_organ_are_found(plugged: Path) -> None:
    sound = "y, w = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)"
    file = write(plugged, SOUND.replace(sound, f"{sound}; w = w | (batch.lab_BHW != 0)[:, None]"))
    check = checks.takes_no_target_from_unknown_classes
    assert "(label 254) for background" in problems(file, plugged, [check])[check.__name__]


def test_a_method_that_does_not_repeat_is_accused_of_nothing_else(plugged: Path) -> None:
    noise = "* __import__('random').random() * extra"
    file = write(plugged, SOUND.replace("+ 0.1 * extra", f"+ 0.1 {noise}"))
    found = problems(file, plugged)
    assert list(found) == ["repeats_bit_for_bit"]
    assert "other weights when trained again on the same data" in found["repeats_bit_for_bit"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("naive", "there is a method naive already"),
        ("not-python", "the file name is the plug-in's name"),
        ("_hidden", "the file name is the plug-in's name"),
    ],
)
def test_a_plugin_needs_a_name_of_its_own(name: str, message: str, plugged: Path) -> None:
    with pytest.raises(BenchError, match=message):
        registry.plug_in([write(plugged, SOUND, name)])


def test_a_plugin_that_is_not_there_is_named(plugged: Path) -> None:
    with pytest.raises(BenchError, match=r"plug-in .*mine\.py: no such file"):
        registry.plug_in([plugged / "mine.py"])


def test_a_plugin_that_the_environment_names_in_vain_is_one_line(plugged: Path) -> None:
    file = str(plugged / "mine.py")
    answer = bench("list", "methods", code=2, **{files.VARIABLE: file})
    assert answer.err == f"error: plug-in {file}: no such file\n"


def test_a_method_in_one_file_outside_takes_part_in_run_check_and_leaderboard(
    plugged: Path,
) -> None:
    file = write(plugged, SOUND)
    out = bench("run", "-m", "inerrant0,mine", *SMALL, plugged / "store", "--plugin", file).out
    assert "mine" in out.partition("DSC in %")[2]
    assert bench("check", "mine", "--plugin", file).out.count(" ok ") == len(CHECKS)


def test_an_upper_bound_from_outside_is_one_in_checks_and_boards(plugged: Path) -> None:
    sound, broken = BROKEN["hidden_labels_change_nothing"]
    bound = "class Mine(Method):\n    upper_bound = True\n    title = 'All of mine'"
    code = SOUND.replace(sound, broken).replace("class Mine(Method):", bound)
    file = write(plugged, code)
    assert problems(file, plugged) == {}
    store = plugged / "store"
    assert "All of mine" in bench("run", "-m", "naive,mine", *SMALL, store, "--plugin", file).out
    tables = Tables.read(sorted((store / "results").glob("*.parquet")))
    styles = MethodStyles.of(tables.results)
    assert styles.name("mine[lr=1]") == "All of mine [lr=1]"
    assert [styles.is_upper_bound(name) for name in ("naive", "mine")] == [False, True]


def test_a_failed_check_is_exit_code_1(plugged: Path) -> None:
    sound, broken = BROKEN["learns_from_what_it_samples"]
    file = write(plugged, SOUND.replace(sound, broken))
    out = bench("check", "mine", "--plugin", file, code=1).out
    assert "FAIL Learn from scans" in out
    assert "samples unlabelled scans and learns nothing from them" in out
