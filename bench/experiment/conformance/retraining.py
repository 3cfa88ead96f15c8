"""A training that is done once more, or stopped and resumed: its weights must be the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.engine.worker import RunContext, run_stage
from bench.experiment.conformance.verdict import CheckFailed

if TYPE_CHECKING:
    from bench.engine.store import Store
    from bench.experiment.conformance.subject import MethodUnderTest
    from bench.stage import Stage
    from bench.stages.train import Train


def weight_digests(training: Train, store: Store) -> dict[str, str]:
    """Return the checksum of every file of weights of a finished training."""
    digests: dict[str, str] = store.receipt(training)["sha256"]
    return {name: digest for name, digest in digests.items() if name.endswith(".safetensors")}


def _adopt(stage: Stage, reference: Store, store: Store) -> None:
    """Make a finished stage of one store known to another one."""
    folder = store.folder(stage)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(reference.folder(stage), target_is_directory=True)


def train_again(
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
            if weight_digests(training, store) != weight_digests(training, reference):
                raise CheckFailed(f"{training.title}: {differs}")


def interrupt(store: Store, training: Train) -> None:
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
