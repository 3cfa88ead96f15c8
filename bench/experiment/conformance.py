"""Conformance checks that every method must pass: ``bench check NAME``.

A method that learns nothing from unlabelled scans, sees hidden labels, or changes when it is
resumed makes a benchmark worthless, and none of it shows in a leaderboard. Each check tests one
rule; the first line of its docstring states the rule in the report.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.data.fingerprint import fingerprint
from bench.data.intensity import Channel
from bench.data.simulate import make_split
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.engine.worker import RunContext, run_stage
from bench.errors import BenchError
from bench.experiment.method import Condition, Source
from bench.experiment.plan import Run, graph_of
from bench.experiment.profiles import parse_profile
from bench.experiment.selection import parse_methods
from bench.nets.catalogue import parse_network
from bench.nets.network import Network
from bench.params import RuntimeOnly
from bench.plugins import registry
from bench.seeds import generator
from bench.stages.train import Train

if TYPE_CHECKING:
    import numpy as np
    import torch
    from nibabel.nifti1 import Nifti1Image
    from numpy.typing import NDArray

    from bench.nets.protocol import FeatureNet
    from bench.stage import Stage
    from bench.training.batch import Batch
    from bench.training.objective import Objective

PROFILE = "smoke[steps=4,confidence_share=0.5]"
"""Every training has two steps at least, so that it can be stopped between them."""
LABEL_PCT = 50
N_CASES = 6
SLICES = parse_network("unet_t11[width=4,bn_momentum=0.1]")
ROUNDING = 1e-8
"""A gradient below it is none. On the batch of noise, probabilities that add up to one only to
seven digits give 3e-9, the weakest true term (a discriminator that was never trained) 6e-8."""


class CheckFailed(Exception):  # noqa: N818 - a verdict
    """The method breaks a rule; the message says how."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check."""

    check: str
    rule: str
    problem: str | None
    """None if the method passes."""


def corrupt(case: Case, labels_XYZ: NDArray[np.uint8], chosen: Sequence[bool]) -> None:
    """Replace the chosen organs of a label map by noise and erase unannotated ones, in place."""
    rng = generator(0, "garbage", case.id)
    for organ, (spoil, annotated) in enumerate(zip(chosen, case.annotated, strict=True), 1):
        if spoil or not annotated:
            labels_XYZ[labels_XYZ == organ] = 0
        if spoil and annotated:
            labels_XYZ[(labels_XYZ == 0) & (rng.random(labels_XYZ.shape) < 0.1)] = organ


class Corrupted(Dataset):
    """A data set whose hidden labels can be replaced by noise."""

    base: Dataset
    change: Annotated[Literal["", "hidden"], RuntimeOnly()] = ""

    @property
    @override
    def name(self) -> str:
        return self.base.name

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.base.organs

    @property
    @override
    def channels(self) -> tuple[Channel, ...]:
        return self.base.channels

    def cases(self) -> tuple[Case, ...]:
        """Return the cases; in the last one the first organ is not annotated."""
        *others, last = self.base.cases()
        return (*others, last.model_copy(update={"annotated": (False, *last.annotated[1:])}))

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        return self.base.files(case)

    @override
    def image(self, case: Case) -> Nifti1Image:
        return self.base.image(case)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the labels, with noise in place of the hidden ones if ``change`` is ``hidden``."""
        import nibabel as nib
        import numpy as np

        image = self.base.labels(case)
        labels = np.asarray(image.dataobj).copy()
        split = make_split(
            self.cases(),
            self.organs,
            dataset=self.name,
            fold=0,
            n_folds=parse_profile(PROFILE).n_folds,
            label_pct=LABEL_PCT,
            seed=0,
        )
        visible = split.flags.get(case.id, (False,) * len(self.organs))
        corrupt(case, labels, [self.change == "hidden" and not seen for seen in visible])
        return nib.Nifti1Image(labels, image.affine)


class _Sealed(Corrupted):
    """A data set that raises on any read: planning must read nothing."""

    def cases(self) -> tuple[Case, ...]:
        raise CheckFailed("plan reads the list of cases")

    def image(self, case: Case) -> Nifti1Image:
        raise CheckFailed("plan reads an image")

    labels = image


class MethodUnderTest:
    """A method and the small experiments on it, each computed once.

    Parameters
    ----------
    name
        A registered method, perhaps with parameters in brackets.
    folder
        Folder for the stores of the experiments; several methods may share it.
    network
        A small network; with a 3D one the checks run in 3D.
    """

    def __init__(self, name: str, folder: Path, network: Network = SLICES) -> None:
        ((self.label, self.definition),) = parse_methods([name])
        self.network = network
        self._folder = folder

    def run(self, change: Literal["", "hidden"] = "") -> Run:
        """Return the plan on the generated data."""
        dataset = Corrupted(base=self._data, change=change)
        content = fingerprint(dataset, dataset.cases(), self._folder / "unused", remember=False)
        return self._planned(dataset, content)

    def finished(self, change: Literal["", "hidden"] = "") -> tuple[Run, Store]:
        """Return the plan and a store that holds all its results."""
        run, store = self.run(change), Store(self._folder / f"store-{change or 'clean'}")
        self.compute(run, store)
        return run, store

    def compute(self, run: Run, store: Store) -> int:
        """Run the plan's stages and return how many were computed."""
        graph = graph_of([run])
        store.register(graph.in_order())
        computed = 0
        for event in Inline().run(graph, store):
            computed += event.kind == "started"
            if event.kind in ("failed", "refused"):
                raise CheckFailed(f"{event.stage.title}: {event.message}")
        return computed

    def planned_unread(self, root: Path) -> Run:
        """Return the plan on data that cannot be read."""
        return self._planned(_Sealed(base=self._data, root=root), "unread")

    def scratch_store(self, stack: ExitStack) -> Store:
        """Return an empty store that lives as long as ``stack``."""
        return Store(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder))))

    def _planned(self, dataset: Dataset, content: str) -> Run:
        source = Source(dataset, content)
        condition = Condition(source, 0, LABEL_PCT, self.network, parse_profile(PROFILE))
        return Run.of(self.definition, self.label, condition)

    @cached_property
    def _data(self) -> Dataset:
        plugin = registry.load("datasets", "phantom", Dataset)  # type: ignore[type-abstract]
        options = {"n_cases": str(N_CASES), "scale": "0.25"}
        return plugin.from_overrides("data set", "phantom", options)


Check = Callable[[MethodUnderTest], None]


def plan_is_pure(method: MethodUnderTest) -> None:
    """Plan without reading data, and independently of the data's path."""
    first, second = (method.planned_unread(Path(root)) for root in ("here", "there"))
    if _keys(first) != _keys(second):
        raise CheckFailed("two plans of one condition differ: plan must not sample or keep state")
    if _keys(first) == _keys(_moved(first)):
        raise CheckFailed("another seed gives the same plan: take everything from the recipe")


def models_are_segmenters(method: MethodUnderTest) -> None:
    """Yield trained segmentation networks, each with more steps than the last."""
    run = method.run()
    models = [result.model for result in run.rounds]
    if any(not model.objective.trains_segmenter for model in models):
        raise CheckFailed("yields a model that segments nothing")
    steps = [run.segmentation_steps(model) for model in models]
    if steps != sorted(set(steps)):
        raise CheckFailed(f"segmentation steps of its rounds are {steps}: each round must add some")


def trains_and_predicts(method: MethodUnderTest) -> None:
    """Train to finite weights and losses, and score every test case."""
    from bench.engine.events import read_events
    from bench.experiment.collect import collect
    from bench.results.tables import RESULTS

    run, store = method.finished()
    for training in run.all_trainings():
        for path, tensors in _weights(training, store):
            if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
                raise CheckFailed(
                    f"{training.title}: {path} holds values that are not finite: {broken}"
                )
        for event in read_events(store.events(training)):
            if not all(math.isfinite(value) for value in event.values()):
                raise CheckFailed(f"{training.title}: logs a value that is not finite: {event}")
    RESULTS.check(collect([run], store).results)


def weights_move(method: MethodUnderTest) -> None:
    """Move every network that it trains."""
    run = method.run()
    for training in _segmenting(run):
        objective, batch = _objective(training, known=True)
        before = {name: _copy(module) for name, module in objective.modules.items()}
        _step(training, objective, batch)
        for name, module in objective.modules.items():
            if all(a.equal(b) for a, b in zip(before[name], _copy(module), strict=True)):
                raise CheckFailed(f"{training.title}: a step leaves {name} as it was")


def learns_from_what_it_samples(method: MethodUnderTest) -> None:
    """Learn from scans without any known target if, and only if, it samples them."""
    for training in _segmenting(method.run()):
        objective, batch = _objective(training, known=False)
        samples = bool({"incomplete", "all"} & set(training.objective.streams))
        gradient = _largest(_gradients(objective, batch)[0]) > ROUNDING
        if samples and not gradient:
            raise CheckFailed(
                f"{training.title}: samples unlabelled scans and learns nothing from them"
            )
        if not samples and gradient:
            raise CheckFailed(f"{training.title}: a scan without any label moves the weights")


def finite_in_bf16(method: MethodUnderTest) -> None:
    """Keep losses and gradients finite in bf16, of outputs that are very sure too."""
    import torch

    for training in _segmenting(method.run()):
        objective, batch = _objective(training, known=True)
        for network in objective.modules.values():
            if isinstance(bias := getattr(network, "output_bias", None), torch.nn.Parameter):
                bias.data *= 3
        # Emulated where the processor has no bf16: the rounding is the same.
        with torch.autocast("cpu", torch.bfloat16):
            found = _gradients(objective, batch)
        if not all(tensor.isfinite().all() for phase in found for tensor in phase):
            raise CheckFailed(
                f"{training.title}: gradients in bf16 are not finite: take logits.float(), and "
                "logarithms by logsigmoid or softplus"
            )


def repeats_bit_for_bit(method: MethodUnderTest) -> None:
    """Train twice on the same data to the same weights, bit for bit."""
    _train_again(
        method,
        cannot="cannot be trained again",
        differs="other weights when trained again on the same data: take random numbers from the "
        "seeds that are handed out; what compares weights is checked when it repeats",
    )


def takes_no_target_from_unknown_classes(method: MethodUnderTest) -> None:
    """Take no target from voxels of unknown class, whichever organs are annotated."""
    import torch

    from bench.labels import VOID

    for training in _segmenting(method.run()):

        def gradients(label: int, *, annotated: bool, training: Train = training) -> list[Any]:
            objective, batch = _objective(training, known=True)
            labels = torch.full_like(batch.lab_BHW, label)
            flags = torch.full_like(batch.flags_BK, annotated)
            return _gradients(objective, replace(batch, lab_BHW=labels, flags_BK=flags))

        void = gradients(VOID, annotated=True)
        background = _equal(void, gradients(0, annotated=True)) and _largest(void[0]) > ROUNDING
        if background or not _equal(void, gradients(VOID, annotated=False)):
            raise CheckFailed(
                f"{training.title}: takes voxels of unknown class (label {VOID}) for background of"
                " annotated organs: draw targets with bench.api.targets"
            )


def hidden_labels_change_nothing(method: MethodUnderTest) -> None:
    """Ignore hidden labels: with noise in their place every weight is the same."""
    run, store = method.finished()
    poisoned, poisoned_store = method.finished("hidden")
    for a, b in zip(run.all_trainings(), poisoned.all_trainings(), strict=True):
        if a.labels.label_pct != LABEL_PCT:
            if method.definition.upper_bound:
                continue
            raise CheckFailed(f"{a.title}: trains on {a.labels.label_pct} % of the labels")
        if _digests(a, store) != _digests(b, poisoned_store):
            raise CheckFailed(f"{a.title}: its weights depend on hidden labels")


def resumes_bit_for_bit(method: MethodUnderTest) -> None:
    """Resume a stopped training to the weights of one that was not, bit for bit."""
    _train_again(
        method,
        before=_interrupt,
        cannot="cannot be resumed",
        differs="other weights after a stop; state outside modules?",
    )


def second_run_computes_nothing(method: MethodUnderTest) -> None:
    """Compute nothing when run again."""
    run, store = method.finished()
    if computed := method.compute(method.run(), store):
        raise CheckFailed(f"{computed} of {len(graph_of([run]))} stages are computed again")


CHECKS: tuple[Check, ...] = (
    plan_is_pure,
    models_are_segmenters,
    weights_move,
    learns_from_what_it_samples,
    trains_and_predicts,
    finite_in_bf16,
    repeats_bit_for_bit,
    takes_no_target_from_unknown_classes,
    hidden_labels_change_nothing,
    resumes_bit_for_bit,
    second_run_computes_nothing,
)
COMPARING: tuple[Check, ...] = (
    takes_no_target_from_unknown_classes,
    hidden_labels_change_nothing,
    resumes_bit_for_bit,
)
"""Checks whose verdict on a method that does not repeat would accuse it of something else."""


def run_checks(method: MethodUnderTest, checks: Sequence[Check] = CHECKS) -> Iterator[Verdict]:
    """Yield a verdict per check; a check that crashes counts as failed.

    Those that compare trainings are left out for a method that does not repeat.
    """
    repeats = True
    for check in checks:
        if check in COMPARING and not repeats:
            continue
        rule = (check.__doc__ or "").strip()
        problem = None
        try:
            check(method)
        except (CheckFailed, BenchError) as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        repeats &= check is not repeats_bit_for_bit or problem is None
        yield Verdict(check.__name__, rule, problem)


# --- helpers ------------------------------------------------------------------------------------


def _keys(run: Run) -> list[str]:
    return [stage.key for stage in graph_of([run]).in_order()]


def _moved(run: Run) -> Run:
    ((_, method),) = parse_methods([run.method])
    return Run.of(method, run.method, replace(run.condition, seed=run.condition.seed + 1))


def _segmenting(run: Run) -> list[Train]:
    return [t for t in run.all_trainings() if t.objective.trains_segmenter and t.init is None]


def _weights(training: Train, store: Store) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    from safetensors.torch import load_file

    for path in sorted(store.out(training).glob("*.safetensors")):
        yield path.name, load_file(path)


def _digests(training: Train, store: Store) -> dict[str, str]:
    digests: dict[str, str] = store.receipt(training)["sha256"]
    return {name: digest for name, digest in digests.items() if name.endswith(".safetensors")}


def _adopt(stage: Stage, reference: Store, store: Store) -> None:
    """Make a finished stage of one store known to another one."""
    folder = store.folder(stage)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(reference.folder(stage), target_is_directory=True)


def _train_again(
    method: MethodUnderTest,
    *,
    before: Callable[[Store, Train], None] = lambda *_: None,
    cannot: str,
    differs: str,
) -> None:
    """Train everything once more in another store; the weights must be the same, bit for bit."""
    run, reference = method.finished()
    with ExitStack() as stack:
        store = method.scratch_store(stack)
        for training in run.all_trainings():
            for parent in training.inputs():
                _adopt(parent, reference, store)
            store.register([training])
            before(store, training)
            outcome, message = run_stage(store, training)
            if outcome != "done":
                raise CheckFailed(f"{training.title}: {cannot}: {message}")
            if _digests(training, store) != _digests(training, reference):
                raise CheckFailed(f"{training.title}: {differs}")


def _interrupt(store: Store, training: Train) -> None:
    """Stop a training after half of its steps, with its state saved."""

    class Stopped(RunContext):
        """A context in which the power fails."""

        def save_due(self) -> bool:
            return True

        def saved(self) -> None:
            self.saves = getattr(self, "saves", 0) + 1
            if self.saves >= max(1, training.length.steps // 2):
                raise InterruptedError

    folder = store.folder(training) / "scratch"
    (folder / "out.half").mkdir(parents=True)
    try:
        training.run(Stopped(store, training, folder / "out.half", lambda *_: None))
    except InterruptedError:
        return
    raise CheckFailed(f"{training.title}: never offers to save its state")


def _objective(training: Train, *, known: bool) -> tuple[Objective, Batch]:
    """Return a training's objective on fresh networks, and a batch of noise."""
    import torch

    from bench.training.batch import Batch
    from bench.training.objective import Setting

    n_channels, n_organs = len(training.images.channels), len(training.images.organs)

    def network(purpose: str) -> FeatureNet:
        torch.manual_seed(0 if purpose == "segmenter" else 1)
        net = training.network.build(n_channels, n_organs, output_bias=0.0)
        # Some organs are predicted with confidence, for losses that trust nothing else.
        net.output_bias.data = torch.tensor([4.0, 0.0, -4.0]).repeat(n_organs)[:n_organs]
        return net

    torch.manual_seed(0)
    objective = training.objective.build(
        Setting(
            n_organs=n_organs,
            lr=1e-2,
            shared_loss=training.config.supervised,
            network=network,
            intensity_sd=lambda: (0.2,) * n_channels,
            seed=lambda _purpose: 2,
        )
    )
    shape = (4, *_smallest(training))
    labels = torch.randint(0, n_organs + 1, shape) if known else torch.zeros(shape).long()
    flags = torch.full((len(labels), n_organs), known)
    image_BCHW = torch.rand(len(labels), n_channels, *shape[1:])
    batch = Batch(image_BCHW, labels, torch.zeros_like(labels), flags)
    for module in objective.modules.values():
        module.train()
    return objective, batch


def _smallest(training: Train) -> tuple[int, ...]:
    """Return the sides of an image that the network can take."""
    if training.window is not None:
        return training.window.patch
    side = math.ceil(32 / training.network.divisor) * training.network.divisor
    return side, 2 * side


def _step(training: Train, objective: Objective, batch: Batch) -> None:
    """Take the last step of a training, where every term has its full weight."""
    import torch

    from bench.training.objective import TrainingProgress
    from bench.training.trainer import Updater

    updater = Updater(objective, training.config.precision, torch.device("cpu"))
    updater.step(batch, TrainingProgress(step=9, total=10))


def _gradients(objective: Objective, batch: Batch) -> list[list[torch.Tensor]]:
    """Return the gradients of every phase; the segmenter's is the first one."""
    import torch

    from bench.training.objective import TrainingProgress

    torch.manual_seed(0)
    gradients = []
    for phase in objective.phases:
        loss = phase.loss(batch, TrainingProgress(step=9, total=10))["loss"]
        gradients.append(
            [
                torch.zeros_like(parameter) if gradient is None else gradient
                for parameter, gradient in zip(
                    phase.parameters,
                    torch.autograd.grad(loss, phase.parameters, allow_unused=True),
                    strict=True,
                )
            ]
        )
    return gradients


def _largest(tensors: Sequence[torch.Tensor]) -> float:
    return max(float(tensor.abs().max()) for tensor in tensors)


def _equal(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.equal(b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def _copy(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]
