"""Commands that look after a store: verify, gc, logs, sys-info."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.codes import ExitCode
from bench.cli.console import Console
from bench.cli.options import AsJson, Plugins, StoreRoot
from bench.cli.stores import existing_store, plug_in
from bench.errors import BenchError
from bench.machine.processor import cores

if TYPE_CHECKING:
    from bench.engine.reading import Unread
    from bench.engine.store import Store
    from bench.stage import Named, Stage

Keys = Annotated[
    list[str] | None, typer.Argument(help="Keys of stages, or first digits; all if not given.")
]


def verify(
    keys: Keys = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare the checksums of all files, not of small ones.")
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Compute the named stages again and compare bit for bit."),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged outputs away and compute them again.")
    ] = False,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
) -> None:
    """Compare results with the checksums of their receipts; exit code 2 if one is damaged.

    Without options: all sizes, and the checksums of files up to 1 MB. Folders that no stage can be
    read from are named, with exit code 2, and compared, too; only `bench run` writes their
    descriptions again.
    """
    from bench.engine.upkeep import verify as damaged_of
    from bench.stage import Stage

    plug_in(plugin)
    store = existing_store(store_root)
    console = Console()
    if recompute and (repair or full):
        raise BenchError("--recompute compares bit for bit and mends nothing: leave out the others")
    if recompute:
        raise typer.Exit(_recompute(keys, store, console))
    stages, unread = (store.find_all(keys), []) if keys else store.survey()
    in_doubt = [each for each in unread if each.in_doubt]
    of_use = [each for each in unread if each.cause.kind != "superseded"]
    compared: list[Named] = [*stages, *of_use]
    started = time.monotonic()
    with console.status("comparing") as spinner:
        count = 0

        def progress() -> None:
            nonlocal count
            count += 1
            spinner.update(f"comparing {count} of {len(compared)}")

        wanted = repair and bool(keys)  # who names a stage wants what was freed of it, too
        found = list(
            damaged_of(
                store, compared, full=full, cores=cores(), as_input=wanted, progress=progress
            )
        )
    for finding in found:
        console.print(
            f"damaged  {finding.stage.key}  {finding.stage.title}: {finding.damage}",
            style="red",
            soft_wrap=True,
        )
    by_fault = defaultdict(list)
    for each in in_doubt:
        by_fault[each.cause.detail].append(each)
    for fault, members in by_fault.items():
        console.print(f"in doubt, as {fault}:", style="yellow", soft_wrap=True)
        for each in members:
            held = "a result" if store.is_done(each) else "no result"
            console.print(f"         {each.key}  {each.title}: {held}", soft_wrap=True)
    done = [stage for stage in compared if store.is_done(stage)]
    size = sum(sum(store.receipt(stage)["bytes"].values()) for stage in done)
    what = "all checksums" if full else "sizes and small files"
    console.print(
        f"{len(compared)} stages, {len(done)} done, {size / 1e9:.2f} GB: {len(found)} damaged"
        f" ({what}; {time.monotonic() - started:.1f} s)"
    )
    reasons = Counter(each.cause.reason for each in unread)
    for reason, number in sorted(reasons.items()):
        console.print(f"{number} {reason}")
    readable = [finding.stage for finding in found if isinstance(finding.stage, Stage)]
    code = _repair(readable, store, console) if readable and repair else ExitCode.DONE
    if readable and not repair:
        console.print("`bench verify --repair` moves them away and computes them again")
    if len(readable) < len(found) or in_doubt:
        _name_commands(unread, store, console)
    left = len(found) - (len(readable) if repair else 0)
    if code or left or in_doubt:
        raise typer.Exit(code or ExitCode.FIXABLE)


def _name_commands(unread: list[Unread], store: Store, console: Console) -> None:
    """Name the runs that made some stages: they alone know the parameters, and mend the folders."""
    done = [each for each in unread if store.is_done(each)]
    names = {store.receipt(each).get("experiment") for each in done}
    commands = [
        shlex.join(["bench", _command(file), str(file), "--store", str(store.root)])
        for file in sorted(store.root.glob("experiments/*.toml"))
        if file.stem in names
    ]
    console.print(
        "only a run knows what belongs there; it keeps what is whole, and computes what is not:"
    )
    for command in commands or ["bench run, with the options that the store was made with"]:
        console.print(f"  {command}", soft_wrap=True)


def _command(experiment: Path) -> str:
    """Return the command that takes a record of ``experiments/``."""
    from bench.experiment.tuning import TuneRequest

    return "tune" if experiment.name.startswith(TuneRequest.prefix) else "run"


def _repair(stages: list[Stage], store: Store, console: Console) -> int:
    """Compute damaged stages again, each on the threads that it or its like were computed on."""
    from bench.cli.execute import execute
    from bench.engine.graph import StageGraph
    from bench.engine.launchers.local import Local
    from bench.engine.worker import set_aside

    groups = _by_threads(stages, store)
    for stage in stages:
        console.print(f"repair   {stage.key}: {set_aside(store, stage)}", soft_wrap=True)
    codes = []
    for threads, group in groups:
        os.environ["OMP_NUM_THREADS"] = threads
        codes.append(execute(StageGraph(group), store, Local(), console))
    return max(codes)


def _by_threads(stages: list[Stage], store: Store) -> list[tuple[str, list[Stage]]]:
    """Return numbers of threads, and which stages to compute on them; inputs before consumers.

    The number of a stage is in its receipt. If that is lost, it is what the others of its kind have
    most often, or what a run of all stages in the store would choose. Stages that need no
    accelerator are computed on one thread whatever is set.
    """
    from itertools import groupby

    from bench.engine.graph import StageGraph
    from bench.engine.sharing import share

    chosen = [stage for stage in StageGraph(stages).in_order() if stage in stages]
    recorded: dict[str, Counter[str]] = defaultdict(Counter)
    every = list(store.stages())
    for stage in every:
        if store.is_done(stage) and (used := store.receipt(stage).get("threads")):
            recorded[stage.key][used] += 1
            recorded[type(stage).__name__][used] += 1
    usual = str(share(StageGraph(every), cores())[1])

    def threads(stage: Stage) -> str:
        counted = recorded.get(stage.key) or recorded.get(type(stage).__name__)
        return counted.most_common(1)[0][0] if counted else usual

    heavy = [stage for stage in chosen if stage.uses_accelerator]
    light = [stage for stage in chosen if not stage.uses_accelerator]
    groups = [(number, list(group)) for number, group in groupby(heavy, threads)]
    if not groups:
        return [(usual, light)]
    groups[-1][1].extend(light)
    return groups


def _recompute(keys: list[str] | None, store: Store, console: Console) -> ExitCode:
    from bench.engine.provenance import provenance
    from bench.engine.upkeep import recompute as changed_files

    if not keys:
        raise BenchError("--recompute takes hours for a whole store: name the stages")
    equal, stages = True, store.find_all(keys)
    _take_threads(stages, store)
    for stage in stages:
        receipt = store.receipt(stage) if store.is_done(stage) else {}
        changed = changed_files(store, stage)
        equal &= not changed
        if not changed:
            console.print(f"equal    {stage.key}  {stage.title}")
            continue
        what = f"{stage.key}  {stage.title}: {', '.join(changed)}"
        console.print(f"differs  {what}", style="red", soft_wrap=True)
        here = provenance()
        for name in ("torch", "platform", "cpus", "threads"):
            if receipt.get(name) != here.get(name):
                console.print(f"         {name}: {receipt.get(name)} then, {here.get(name)} now")
    return ExitCode.DONE if equal else ExitCode.FAILED


def _take_threads(stages: list[Stage], store: Store) -> None:
    """Compute on as many threads as the stages were computed on: their bits depend on it."""
    done = [stage for stage in stages if store.is_done(stage)]
    threads = {store.receipt(stage).get("threads", "") for stage in done} - {""}
    if len(threads) > 1:
        raise BenchError(
            f"these stages were computed on {' or '.join(sorted(threads))} threads: name those of "
            "one number at a time (`bench show` has it)"
        )
    if threads:
        os.environ["OMP_NUM_THREADS"] = threads.pop()  # read when torch is imported, by the stage


def gc(
    failed: Annotated[
        bool, typer.Option("--failed", help="Also stages that failed, with their logs.")
    ] = False,
    intermediate: Annotated[
        bool,
        typer.Option(
            "--intermediate",
            help="Also weights that a later round started from; they are computed anew if needed.",
        ),
    ] = False,
    unreadable: Annotated[
        bool,
        typer.Option(
            "--unreadable",
            help="Also stages whose stage.json, or an input's, is missing or wrong, and results of "
            "theirs that a run would use.",
        ),
    ] = False,
    orphaned: Annotated[
        bool,
        typer.Option(
            "--orphaned",
            help="Also stages whose input is missing, and results of theirs that a run would use.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Free it without a question.")] = False,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show what can be freed in a store, then free it.

    Temporary files, damaged outputs and what is certain to be of another version of the code; no
    result of this version is lost. What a process is using is left.
    """
    from bench.cli.answers import tell
    from bench.cli.stored import GcAnswer, freeable
    from bench.engine.upkeep import free, waste

    plug_in(plugin)
    store = existing_store(store_root)
    console = Console(stderr=as_json)
    asked = {
        "failed": failed,
        "intermediate": intermediate,
        "unreadable": unreadable,
        "orphaned": orphaned,
    }
    found = list(waste(store))
    kinds = freeable(found, asked)
    for one in kinds:
        kept = "" if one.chosen else f" (kept without {one.option})"
        line = f"{one.kind:<13}{one.items:>6}{one.bytes / 1e6:>12.1f} MB  {one.what}{kept}"
        console.print(line, soft_wrap=True)
    chosen = [item for item in found if asked.get(item.kind, True)]
    size, freed = sum(item.size for item in chosen), None
    if not chosen:
        console.print("nothing to free")
    elif not yes and (as_json or not sys.stdin.isatty()):
        console.print("nothing was freed; --yes frees it")
    else:
        if not yes:
            typer.confirm(f"Free {size / 1e6:.1f} MB?", abort=True)
        freed = free(store, chosen)
        console.print(f"freed {freed / 1e6:.1f} MB")
    if as_json:
        tell(GcAnswer(store.root, kinds, size, freed))


def logs(
    key: Annotated[str, typer.Argument(help="Key of a stage, or its first digits.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the stage ends.")
    ] = False,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
) -> None:
    """Print what a stage printed, and the traceback if it failed."""
    plug_in(plugin)
    store = existing_store(store_root)
    stage = store.find(key)
    path, console = store.log(stage), Console()
    if not path.is_file() and not follow:
        raise BenchError(f"{stage.key}: has no log, it was never begun here")
    position = 0
    while True:
        ended = store.state(stage) != "running"
        if path.is_file():
            with path.open("rb") as file:
                file.seek(position)
                text = file.read()
            position += len(text)
            if text:
                console.print(text.decode(errors="replace").rstrip("\n"), soft_wrap=True)
        if ended or not follow:
            return
        time.sleep(0.5)


def sys_info(store_root: StoreRoot = None) -> None:
    """Print what a report of a problem needs: versions, machine, devices, store."""
    import shutil

    import psutil

    from bench.engine.devices import visible_gpus
    from bench.engine.provenance import provenance
    from bench.engine.store import Store, default_root

    store = Store(store_root or default_root())
    facts = dict(provenance())
    memory = psutil.virtual_memory()
    facts |= {
        "executable": sys.executable,
        "cores": f"{cores()} of {os.cpu_count()}",
        "memory": f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available",
        "gpus": ", ".join(visible_gpus()) or "none",
        "slurm": shutil.which("sbatch") or "none",
        "store": str(store.root),
    }
    if store.root.is_dir():
        disk = shutil.disk_usage(store.root)
        facts["disk"] = f"{disk.total / 1e9:.0f} GB, {disk.free / 1e9:.0f} GB free"
        facts["file system"] = _file_system(store.root)
    facts |= {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        facts[name] = os.environ.get(name, "not set")
    width = max(map(len, facts))
    for name, value in facts.items():
        Console().print(f"{name:<{width}}  {value}", soft_wrap=True)


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds a path."""
    import psutil

    mounts = [
        mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)
    ]
    if not mounts:
        return "unknown"
    return str(max(mounts, key=lambda mount: len(mount.mountpoint)).fstype)
