"""The training loop. It knows phases and modules, never methods.

A fixed number of steps, no validation, the last iterate. Batch j and its augmentation
are functions of (seed, j), so the resume state is weights, optimisers, torch's random state and the
step.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from bench.errors import DivergedError
from bench.nets.device import Precision, adam, autocast, kernels
from bench.nets.protocol import channels_last
from bench.stage import StageContext
from bench.training.batch import Batch
from bench.training.config import Steps, TrainConfig
from bench.training.cost import PassCounter
from bench.training.loader import BatchLoader
from bench.training.objective import Objective, TrainingProgress
from bench.training.resume import load_state, save_state

LOG_EVERY = 20


def fit(
    objective: Objective,
    loader: BatchLoader,
    config: TrainConfig,
    length: Steps,
    seed: int,
    ctx: StageContext,
) -> dict[str, int]:
    """Train ``objective`` to its last step, from the resume state if there is one.

    ``seed`` seeds torch's own generator, which dropout uses.

    Returns
    -------
    dict of str to int
        How many slices each network, frozen ones included, saw in one step.

    Raises
    ------
    DivergedError
        A logged loss is not finite.
    """
    device = ctx.device
    updater = Updater(objective, config.precision, device)
    optimisers = updater.optimisers

    def decay(step: int) -> float:
        """Return lr(j) / lr(0) = decay ** (j / (J - 1))."""
        return float(config.lr_decay ** length.progress(step).share)

    schedules = [LambdaLR(optimiser, decay) for optimiser in optimisers]
    resume = _ResumeState(ctx, objective, optimisers, schedules)
    torch.manual_seed(seed)
    first = resume.load()
    counter = PassCounter({**objective.modules, **objective.frozen})
    with kernels(device, fixed_shapes=True):
        for step, batch in enumerate(loader.batches(first, length.steps), start=first):
            progress = length.progress(step)
            values = updater.step(batch, progress)
            for schedule in schedules:
                schedule.step()
            if step == first:
                counter.detach()
            logged = step % LOG_EVERY == 0 or step == length.steps - 1
            if logged:
                rates = {f"{phase.name}/lr": phase.lr * decay(step) for phase in updater.phases}
                note = _log(step, values, rates, ctx)
            if step + 1 < length.steps and ctx.save_due():
                _check_finite(step, values)
                resume.save(step + 1)
                ctx.saved()
            if logged and step + 1 < length.steps:  # after the last step nothing stops it
                ctx.tick(step + 1, length.steps, note)
    return counter.slices


class Updater:
    """The updates of an objective's networks, which it moves to the device.

    Parameters
    ----------
    objective
        Networks and losses.
    precision
        That of the losses and what they run.
    device
        Where to compute.
    """

    def __init__(self, objective: Objective, precision: Precision, device: torch.device) -> None:
        for module in objective.modules.values():
            channels_last(module.to(device)).train()
        for module in objective.frozen.values():
            channels_last(module.to(device)).requires_grad_(False).eval()
        self._objective = objective
        self._precision = precision
        self._device = device
        self.phases = objective.phases
        self.optimisers = [adam(p.parameters, p.lr, p.betas, device) for p in self.phases]

    def step(self, batch: Batch, progress: TrainingProgress) -> dict[str, Tensor]:
        """Update every network once; return the named losses of all phases, on the device."""
        values: dict[str, Tensor] = {}
        for phase, optimiser in zip(self.phases, self.optimisers, strict=True):
            with autocast(self._device, self._precision):
                losses = phase.loss(batch, progress)
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimiser.step()
            values |= {f"{phase.name}/{name}": value.detach() for name, value in losses.items()}
        self._objective.after_step(progress)
        return values


def _log(
    step: int, values: Mapping[str, Tensor], rates: Mapping[str, float], ctx: StageContext
) -> str:
    """Write one event and return the losses as text."""
    measured = _check_finite(step, values)
    ctx.events.write(step, {**measured, **rates})
    losses = [value for name, value in measured.items() if name.endswith("/loss")]
    return " ".join(f"loss {value:.4f}" for value in losses)


def _check_finite(step: int, values: Mapping[str, Tensor]) -> dict[str, float]:
    """Read the values back (the only synchronisation with the device) and raise if not finite."""
    numbers = torch.stack([value.float() for value in values.values()]).tolist()
    measured = dict(zip(values, numbers, strict=True))
    if broken := [name for name, value in measured.items() if not math.isfinite(value)]:
        raise DivergedError(f"{', '.join(broken)} not finite at step {step}; lower the lr")
    return measured


class _ResumeState:
    """Everything that an exact resume needs, in one file that is replaced atomically."""

    def __init__(
        self,
        ctx: StageContext,
        objective: Objective,
        optimisers: list[Adam],
        schedules: list[LambdaLR],
    ) -> None:
        self._path = ctx.scratch / "resume.pt"
        self._key = ctx.key
        self._device = ctx.device
        self._events = ctx.events
        self._parts: dict[str, Any] = {
            f"module/{name}": module for name, module in objective.modules.items()
        }
        for number, (optimiser, schedule) in enumerate(zip(optimisers, schedules, strict=True)):
            self._parts |= {f"optimiser/{number}": optimiser, f"schedule/{number}": schedule}

    def save(self, step: int) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"step": step, "torch": str(torch.__version__), "events": self._events.written()}
        state["random"] = torch.get_rng_state()
        if self._device.type == "cuda":
            state["random/cuda"] = torch.cuda.get_rng_state(self._device)
        written = io.BytesIO()
        torch.save(state, written)
        save_state(self._path, self._key, written.getbuffer())

    def load(self) -> int:
        """Restore and return the next step, 0 if nothing was saved, or nothing usable."""
        saved = load_state(self._path, self._key)
        if saved is None:
            return 0
        state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
        if state["torch"] != torch.__version__:
            print(f"goes on from a state of torch {state['torch']} with torch {torch.__version__}")
        self._events.restore(state["events"])
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda":
            if "random/cuda" in state:
                torch.cuda.set_rng_state(state["random/cuda"], self._device)
            else:
                print("goes on from a state of a CPU on a GPU, with other random numbers there")
        return int(state["step"])
