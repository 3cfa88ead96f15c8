"""What ``bench check`` demands of a method: each check tests one rule.

Its docstring states the rule in the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.experiment.conformance.corrupted import LABEL_PCT
from bench.experiment.conformance.noise import (
    are_equal,
    gradients_of,
    move_segmenter,
    objective_on_noise,
    take_last_step,
)
from bench.experiment.conformance.retraining import interrupt, train_again, weight_digests
from bench.experiment.conformance.subject import MethodUnderTest
from bench.experiment.conformance.verdict import CheckFailed, Verdict
from bench.experiment.plan import Run, graph_of
from bench.experiment.selection import parse_methods

if TYPE_CHECKING:
    import torch

    from bench.engine.store import Store
    from bench.stages.train import Train

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


def weights_move(method: MethodUnderTest) -> None:
    """Move every network that it trains."""
    run = method.run()
    for training in _segmenting(run):
        objective, batch = objective_on_noise(training, known=True)
        before = {name: _copy(module) for name, module in objective.modules.items()}
        take_last_step(training, objective, batch)
        for name, module in objective.modules.items():
            if all(a.equal(b) for a, b in zip(before[name], _copy(module), strict=True)):
                raise CheckFailed(f"{training.title}: a step leaves {name} as it was")


def learns_from_what_it_samples(method: MethodUnderTest) -> None:
    """Learn from scans without any known target if, and only if, it samples them."""
    for training in _segmenting(method.run()):
        objective, batch = objective_on_noise(training, known=False)
        samples = bool({"incomplete", "all"} & set(training.objective.streams))
        gradient = move_segmenter(gradients_of(objective, batch))
        if samples and not gradient:
            raise CheckFailed(
                f"{training.title}: samples unlabelled scans and learns nothing from them"
            )
        if not samples and gradient:
            raise CheckFailed(f"{training.title}: a scan without any label moves the weights")


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


def finite_in_bf16(method: MethodUnderTest) -> None:
    """Keep losses and gradients finite in bf16, of outputs that are very sure too."""
    import torch

    for training in _segmenting(method.run()):
        objective, batch = objective_on_noise(training, known=True)
        for network in objective.modules.values():
            if isinstance(bias := getattr(network, "output_bias", None), torch.nn.Parameter):
                bias.data *= 3
        # Emulated where the processor has no bf16: the rounding is the same.
        with torch.autocast("cpu", torch.bfloat16):
            found = gradients_of(objective, batch)
        if not all(tensor.isfinite().all() for phase in found for tensor in phase):
            raise CheckFailed(
                f"{training.title}: gradients in bf16 are not finite: take logits.float(), and "
                "logarithms by logsigmoid or softplus"
            )


def repeats_bit_for_bit(method: MethodUnderTest) -> None:
    """Train twice on the same data to the same weights, bit for bit."""
    train_again(
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
            objective, batch = objective_on_noise(training, known=True)
            labels = torch.full_like(batch.lab_BHW, label)
            flags = torch.full_like(batch.flags_BK, annotated)
            return gradients_of(objective, replace(batch, lab_BHW=labels, flags_BK=flags))

        void = gradients(VOID, annotated=True)
        background = are_equal(void, gradients(0, annotated=True)) and move_segmenter(void)
        if background or not are_equal(void, gradients(VOID, annotated=False)):
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
        if weight_digests(a, store) != weight_digests(b, poisoned_store):
            raise CheckFailed(f"{a.title}: its weights depend on hidden labels")


def resumes_bit_for_bit(method: MethodUnderTest) -> None:
    """Resume a stopped training to the weights of one that was not, bit for bit."""
    train_again(
        method,
        before=interrupt,
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


def _copy(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]
