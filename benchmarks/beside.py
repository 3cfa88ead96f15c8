"""What do threads gain on a CPU, alone, beside another training and beside other programs?

``python benchmarks/beside.py`` prints ratios of the speed of training steps, all measured in one
run, variants interleaved so that a drifting machine does not favour one of them. A machine with
nothing else to do gives the cleanest figures; its load is printed with them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.engine.sharing import WAITING
from bench.machine.processor import cores

CHILD = """
import sys, time, torch
from bench.nets.catalogue import parse_network
from bench.nets.protocol import channels_last, image_channels_last
from bench.training.losses import masked_bce
torch.manual_seed(0)
net = channels_last(parse_network(sys.argv[1]).build(1, 7))
optimiser = torch.optim.Adam(net.parameters(), 1e-3)
image = image_channels_last(torch.rand(int(sys.argv[2]), 1, 128, 128))
y = torch.rand(int(sys.argv[2]), 7, 128, 128) > 0.95
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(int(line)):
        loss = masked_bce(net(image), y, torch.ones_like(y))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    print(time.perf_counter() - started, flush=True)
"""
BUSY = "while True: sum(range(10000))"
SLEEP = {name: how for name, how in WAITING.items() if name != "GOMP_SPINCOUNT"}
WAYS = {"spin": {}, "sleep": SLEEP, "spin briefly": WAITING}


class Training:
    """A process that trains as many steps as it is told."""

    def __init__(self, network: str, batch: int, threads: int, way: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in WAITING}
        environment |= {"OMP_NUM_THREADS": str(threads)} | WAYS[way]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD, network, str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.start(3)
        self.end()

    def start(self, steps: int) -> None:
        """Let it train so many steps."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def end(self) -> float:
        """Return the seconds that the steps took."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    time.sleep(0.2)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="unet_t11[width=8,features=16]")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10, help="between two readings of the clock")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    n = cores()
    load = os.getloadavg()[0]
    with ExitStack() as stack:

        def training(threads: int, way: str) -> Training:
            process = Training(options.backbone, options.batch, threads, way)
            stack.callback(process.close)
            return process

        many = {way: training(n, way) for way in WAYS}
        single = [training(1, "sleep") for _ in range(n)]

        def one(process: Training) -> float:
            process.start(options.steps)
            return process.end()

        def side_by_side() -> float:
            """Return seconds per training of as many as there are cores."""
            began = time.perf_counter()
            for process in single:
                process.start(options.steps)
            for process in single:
                process.end()
            return (time.perf_counter() - began) / n

        each: dict[str, Callable[[], float]] = {
            f"{n} threads that {way}": partial(one, process) for way, process in many.items()
        } | {"1 thread": lambda: one(single[0])}
        alone = {f"one after the other, {name}": measure for name, measure in each.items()}
        alone |= {f"{n} side by side, 1 thread each": side_by_side}
        seconds: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for name, measure in alone.items():
                seconds.setdefault(name, []).append(measure())
            with busy(1):
                for name, measure in each.items():
                    seconds.setdefault(f"beside a busy process, {name}", []).append(measure())
    base = statistics.median(next(iter(seconds.values())))
    print(f"{n} cores, load {load:.1f} before, {options.backbone}, batch {options.batch}")
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        print(f"{name:<50} {middle / options.steps * 1e3:7.0f} ms a step {base / middle:6.2f} x")


if __name__ == "__main__":
    main()
