"""Malformed inputs by the hundred: none may end in a traceback, a hang or more than one line.

``python tests/fuzz.py`` hands spoiled files and odd options to the command line, in this process,
and prints how each kind ended. ``--inputs`` is the number of each kind, ``--seed`` chooses others.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scanner
import tables
import trees
from pydicom.uid import JPEGLSLossless

from bench.cli import main as command_line
from bench.data.dicom import read_series
from bench.data.image import read_image
from bench.errors import neutral
from bench.results.tables import RESULTS

SECONDS = 20
"""An input that takes longer hangs."""
ORGANS = ("liver", "spleen")
IMAGE, SECOND = "imagesTr/case_000_0000.nii.gz", "imagesTr/case_001_0000.nii.gz"
VALUES: list[Any] = [
    None, True, 0, -1, 1, 255, 256, 65535, 65536, 10**30, 0.5, float("nan"), float("inf"),
    1e308, "", " ", "0", "nan", "x" * 5000, "a\x1b[2Jb", "\u202eevil", "../../x", "/dev/zero",
    "=1+1", "<b>", "[/b]", "é", "a,b", "a\nb", [], [[]], {}, {"a": {}}, ["x"], [0, 1],
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2, 3, 7, 127, 128, 255, 256, 1024, 16384, 32767, -32768, 1e-30, 1e30, np.nan,
    np.inf,
]  # fmt: skip


class Ended(NamedTuple):
    """How one input ended."""

    outcome: str
    """accepted, refused, traceback or hang."""
    detail: str
    """What was printed, or the traceback."""


class Hang(BaseException):
    """The time of an input is over."""


Spoil = Callable[[random.Random, Path, Path], Callable[[], Any]]
"""Given a folder of sound inputs and an empty one, write a spoiled input and return its use."""


def command(*words: object) -> Callable[[], Any]:
    """Return a call of ``bench`` in this process."""

    def call() -> None:
        sys.argv = ["bench", *map(str, words)]
        command_line.main()

    return call


def sound_inputs(root: Path) -> None:
    """Write an input of every kind that nothing is wrong with."""
    trees.nnunet(root / "set", 2, ORGANS, shape=(12, 10, 6))
    scanner.save(scanner.series(), root / "series")
    scanner.save(scanner.compressed(scanner.series(), JPEGLSLossless), root / "compressed")
    scanner.save([scanner.enhanced()], root / "enhanced")
    RESULTS.save(tables.result_table(fractions=(30,), folds=(0, 1)), root / "results.parquet")
    scores = [("a", f"p{n}", m, 0.5 + 0.1 * n, n % 2) for n in range(4) for m in ("one", "two")]
    frame = pd.DataFrame(scores, columns=["task", "case", "method", "value", "fold"])
    frame.to_csv(root / "scores.csv", index=False)
    (root / "experiment.toml").write_text(
        'method = ["naive", "inerrant[rounds=2]"]\ndataset = "phantom[n_cases=4,scale=0.25]"\n'
        'labelled = [30, 10]\nfolds = "0"\nprofile = "smoke"\nseeds = 0\npictures = false\n'
    )


def scrambled(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with a part flipped, cut, doubled, replaced or exchanged."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(changed)) if changed else 0
        length = rng.choice([1, 2, 8, 64])
        match rng.randrange(6):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                changed[at : at + length] = rng.choice([b"\0", b"\xff", b"9", b"[", b'"']) * length
            case 4:
                del changed[at : at + length]
            case _:
                other = rng.randrange(len(changed)) if changed else 0
                a, b = changed[at : at + length], changed[other : other + length]
                changed[at : at + len(b)], changed[other : other + len(a)] = b, a
    return bytes(changed)


def replaced(rng: random.Random, data: Any) -> Any:
    """Return JSON data in which one value or name is another one."""
    if isinstance(data, dict) and data and rng.random() < 0.8:
        name = rng.choice(list(data))
        new = str(rng.choice(VALUES)) if rng.random() < 0.2 else name
        return {(new if key == name else key): replaced(rng, value) if key == name else value
                for key, value in data.items()}  # fmt: skip
    if isinstance(data, list) and data and rng.random() < 0.8:
        at = rng.randrange(len(data))
        return [*data[:at], replaced(rng, data[at]), *data[at + 1 :]]
    return rng.choice(VALUES)


def with_header(rng: random.Random, data: bytes) -> bytes:
    """Return a NIfTI file with some fields of its header replaced or exchanged."""
    header = nib.Nifti1Header(data[:348])
    fields = header.structarr if hasattr(header, "structarr") else header._structarr
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(
            ["dim", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter",
             "magic", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b",
             "qoffset_x", "sizeof_hdr", "xyzt_units", "intent_code", "glmin"]
        )  # fmt: skip
        field = fields[name]
        with np.errstate(all="ignore"):
            if field.shape:
                at = rng.randrange(len(field))
                field[at] = np.array(rng.choice(NUMBERS)).astype(field.dtype)
                if rng.random() < 0.3:
                    field[:] = field[rng.sample(range(len(field)), len(field))]
            elif name == "magic":
                fields[name] = rng.choice([b"ni1", b"n+2", b"", b"n+1"])
            else:
                fields[name] = np.array(rng.choice(NUMBERS)).astype(field.dtype)
    return header.binaryblock + data[348:]


def nifti(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    root = shutil.copytree(sound / "set", spoiled / "set")
    path = root / rng.choice([IMAGE, IMAGE, "labelsTr/case_000.nii.gz"])
    data = with_header(rng, gzip.decompress(path.read_bytes()))
    if rng.random() < 0.3:
        path.unlink()
        path.with_suffix("").write_bytes(data)
    else:
        path.write_bytes(gzip.compress(data, 1))
    return command("data", "check", root)


def gz(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    root = shutil.copytree(sound / "set", spoiled / "set")
    path = root / rng.choice([IMAGE, "labelsTr/case_000.nii.gz"])
    data = path.read_bytes()
    match rng.randrange(4):
        case 0:
            path.write_bytes(gzip.compress(scrambled(rng, gzip.decompress(data)), 1))
        case 1:
            path.write_bytes(gzip.compress(gzip.decompress(data) + bytes(5_000_000), 1))
        case _:
            path.write_bytes(scrambled(rng, data))
    return command("data", "check", root)


def paths(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    root = shutil.copytree(sound / "set", spoiled / "set")
    labels = "labelsTr/case_000.nii.gz"
    names = [IMAGE, SECOND, labels, "dataset.json", "annotations.csv", "imagesTr"]
    path = root / rng.choice(names)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    match rng.randrange(6):
        case 0:
            path.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/etc/passwd", "/nowhere", path]))
        case 1:
            path.mkdir()
        case 2:
            os.mkfifo(path)
        case 3:
            path.touch()
        case 4:
            path.with_name(path.name + rng.choice(["\x1b[2J", "\n.nii.gz", "x" * 99])).touch()
        case _:
            pass
    return command("data", "check", root)


def description(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    root = shutil.copytree(sound / "set", spoiled / "set")
    path = root / "dataset.json"
    if rng.random() < 0.1:
        path.write_text(rng.choice(["[", '{"labels":', '{"a":[']) * 50_000)
    elif rng.random() < 0.4:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(json.dumps(replaced(rng, json.loads(path.read_text()))))
    return command("data", "check", root)


def annotations(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    root = shutil.copytree(sound / "set", spoiled / "set")
    path = root / "annotations.csv"
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = f'"{rng.choice(VALUES)}"'
        path.write_text("\n".join(",".join(row) for row in rows), errors="replace")
    return command("data", "check", root)


def dicom(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    kind = rng.choice(["series", "series", "compressed", "enhanced"])
    root = shutil.copytree(sound / kind, spoiled / kind)
    files = sorted(root.iterdir())
    for path in rng.sample(files, min(len(files), rng.choice([1, 1, 2, 5]))):
        data = path.read_bytes()
        # The header is short: spoil it more often than the pixels.
        head = data[:128] + scrambled(rng, data[128:900]) + data[900:]
        path.write_bytes(head if rng.random() < 0.7 else scrambled(rng, data))
    if rng.random() < 0.2:
        (root / "9.dcm").write_bytes(rng.randbytes(300))
    return lambda: read_image(read_series(root), str(root))


def parquet(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    path = spoiled / "results.parquet"
    report = rng.choice(["leaderboard", "significance", "power", "fairness", "paper", "html"])
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, (sound / "results.parquet").read_bytes()))
    else:
        arrow = pq.read_table(sound / "results.parquet")
        frame = arrow.to_pandas()
        name = rng.choice(list(frame.columns))
        if rng.random() < 0.2:
            frame = frame.drop(columns=name)
        elif rng.random() < 0.2:
            frame = frame.iloc[rng.sample(range(len(frame)), rng.randrange(len(frame)))]
        else:
            column = frame[name].astype(object)
            value = rng.choice([v for v in VALUES if isinstance(v, str)] or VALUES)
            if not isinstance(column.iloc[0], str):
                value = rng.choice([-1, 0, 1, 10**9, 1e30, float("nan"), float("inf")])
            alike = isinstance(value, str) or isinstance(column.iloc[0], float)
            one = alike and rng.random() < 0.5
            column.iloc[rng.randrange(len(column)) if one else slice(None)] = value
            frame[name] = column.infer_objects()
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(arrow.schema.metadata), path)
    return command("report", report, path, "-o", spoiled / "out")


def scores(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    path = spoiled / "scores.csv"
    text = (sound / "scores.csv").read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, text))
    else:
        rows = [line.split(",") for line in text.decode().splitlines()]
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = f'"{rng.choice(VALUES)}"'
        path.write_text("\n".join(",".join(row) for row in rows), errors="replace")
    return command("report", f"significance[csv={path}]", "-o", spoiled / "out")


def toml(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    path = spoiled / "experiment.toml"
    text = (sound / "experiment.toml").read_text()
    if rng.random() < 0.4:
        path.write_bytes(scrambled(rng, text.encode()))
    elif rng.random() < 0.1:
        path.write_text("method = " + "[" * 50_000)
    else:
        lines = text.splitlines()
        values = [
            '""', "true", "-1", "1e400", "nan", "[]", "[[]]", "{}", '["", 1]', "1979-05-27",
            '"a\\u0000b"', '"\\u001b[2J"', '["naive", "naive"]', '"phantom[n_cases=-1]"',
            '"[/b]"', '"../.."', "99999999999999999999", '"x[y=z"', '"0-99999999"',
        ]  # fmt: skip
        at = rng.randrange(len(lines))
        lines[at] = f"{lines[at].split(' = ')[0]} = {rng.choice(values)}"
        path.write_text("\n".join([*lines, *rng.choice([[], ["plugin = '/dev/zero'"], ["x = 1"]])]))
    return command("plan", path, "--store", spoiled / "store")


def options(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    odd = [
        "", " ", "[", "]", "[]", "x", "naive[", "naive[]", "inerrant[rounds]",
        "inerrant[rounds=]", "inerrant[rounds=-1]", "inerrant[rounds=1e9]",
        "inerrant[rounds=nan]", ",", ",,", "naive,,", "phantom[n_cases=0]", "phantom[scale=0]",
        "phantom[scale=inf]", "phantom[n_cases=2,n_cases=3]", "0", "-1", "101", "1e3", "0-",
        "-", "0-0-0", "5-1", "all", "0,0", "nan", "999999999999", "²", "quick[steps=0]",
        "quick[steps=-5]", "quick[lr=nan]", "smoke[steps=x]", "quick[n_folds=1]",
        "unet_t11[width=0]", "unet/nothing", "unet_t11[width=1e9]", "cuda:99", "cpu[",
        "slurm[jobs=0]", "local[workers=0]", "/dev/zero", "/etc/passwd", "\x1b[2J", "[/b]",
        "a\nb", "\udcff", "x" * 3000, "..", "~", "--", "-x", "leaderboard[digits=-1]",
    ]  # fmt: skip
    given = {
        "-m": "naive", "-d": "phantom[n_cases=4,scale=0.25]", "-l": "30", "-f": "0", "-p": "smoke",
        "--seeds": "0", "-b": "unet_t11", "--launcher": "inline", "--device": "cpu",
        "--plugin": None, "--data": None,
    }  # fmt: skip
    for name in rng.sample(sorted(given), rng.choice([1, 1, 2])):
        given[name] = rng.choice(odd)
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    if rng.random() < 0.2:
        return command("report", rng.choice(odd), sound / "results.parquet", "-o", spoiled / "out")
    if rng.random() < 0.1:
        return command("show", rng.choice(odd), "--store", sound)
    return command("plan", *words, "--store", spoiled / "store")


def environment(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    odd = [
        "", " ", "x", "-1", "0", "nan", "inf", "1e400", "/dev/zero", "/etc/passwd", ":", "a:b",
        "[/b]", "\x1b[2J", "\udcff", "x" * 5000, str(spoiled / "none"),
    ]  # fmt: skip
    names = ["BENCH_STORE", "BENCH_DATA", "BENCH_PLUGINS", "BENCH_CHECKPOINT_SECONDS", "COLUMNS",
             "CUDA_VISIBLE_DEVICES", "BENCH_TENSORBOARD"]  # fmt: skip
    name, value = rng.choice(names), rng.choice(odd)
    words = rng.choice([
        ["status"],
        ["plan", "-m", "naive", "-d", "phantom[n_cases=4,scale=0.25]", "-p", "smoke"],
        ["data", "check", sound / "set"],
        ["list", "methods"],
    ])  # fmt: skip

    def call() -> None:
        os.environ[name] = value
        os.chdir(spoiled)
        command(*words)()

    return call


RUN = ["run", "-m", "naive", "-p", "smoke[steps=1]", "-l", "100", "--launcher", "inline", "-q"]


def store(rng: random.Random, sound: Path, spoiled: Path) -> Callable[[], Any]:
    if not (sound / "store").exists():
        ended = end_of(command(*RUN, "-d", sound / "set", "--store", sound / "store"), 120)
        assert ended.outcome == "accepted", ended.detail
    root = shutil.copytree(sound / "store", spoiled / "store")
    (key,) = (path.name[-12:] for path in root.glob("Train/*"))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    named = [path for path in files if path.name in ("stage.json", "DONE", "seconds.json")]
    path = rng.choice(rng.choice([files, named or files]))
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.7:
        path.write_text(json.dumps(replaced(rng, json.loads(data))))
    else:
        path.write_bytes(scrambled(rng, data))
    scan = sound / "set" / IMAGE
    words = rng.choice([
        ["status"],
        ["show", key],
        ["verify"],
        ["logs", key],
        ["report", "leaderboard", "-o", spoiled / "out"],
        ["predict", key, scan, "-o", spoiled / "out"],
        [*RUN, "-d", sound / "set"],
    ])  # fmt: skip
    return command(*words, "--store", root)


KINDS: dict[str, Spoil] = {
    "fields of a NIfTI header": nifti,
    "gzip stream": gz,
    "files, links and pipes": paths,
    "dataset.json": description,
    "annotations.csv": annotations,
    "DICOM series": dicom,
    "results table": parquet,
    "CSV of scores": scores,
    "TOML experiment": toml,
    "options": options,
    "environment": environment,
    "store": store,
}


def end_of(use: Callable[[], Any], seconds: int = SECONDS) -> Ended:
    """Use a spoiled input and tell how that ended."""

    def over(*_: object) -> None:
        raise Hang

    out, err = io.StringIO(), io.StringIO()
    before, folder, argv = dict(os.environ), os.getcwd(), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            use()
    except SystemExit as stop:
        code = stop.code or 0
    except Hang:
        return Ended("hang", "")
    except BaseException as error:
        if any(kind.__name__ == "BenchError" for kind in type(error).__mro__):
            return Ended("refused", str(error))
        return Ended("traceback", traceback.format_exc())
    finally:
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.argv = argv
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
    said = err.getvalue()
    if code not in (0, 2):
        return Ended("traceback", f"exit code {code}: {said}")
    printed = (out.getvalue() + said).split("\n")
    alone = len(said.splitlines()) == 1 or not said or "note: " in said
    if not alone or any(line != neutral(line) for line in printed):
        return Ended("traceback", f"not one neutral line: {said!r}")
    return Ended("refused" if code else "accepted", said or out.getvalue())


def run(kinds: dict[str, Spoil], inputs: int, seed: int = 0) -> Iterator[tuple[str, int, Ended]]:
    """Yield kind, number and end of every input."""
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound"
        sound_inputs(sound)
        for kind, spoil in kinds.items():
            for number in range(inputs):
                spoiled = Path(name) / f"{number}"
                spoiled.mkdir()
                use = spoil(random.Random(f"{seed} {kind} {number}"), sound, spoiled)
                yield kind, number, end_of(use)
                shutil.rmtree(spoiled, ignore_errors=True)


def main() -> None:
    """Print a table: kind, inputs, refused, accepted, tracebacks, hangs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=40, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--say", action="store_true", help="print every message")
    options = parser.parse_args()
    started = time.monotonic()
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in options.kind}
    for kind, number, ended in run(
        {kind: KINDS[kind] for kind in options.kind}, options.inputs, options.seed
    ):
        counts[kind][ended.outcome] += 1
        if options.say or ended.outcome in ("traceback", "hang"):
            print(f"{kind} {number}: {ended.outcome}\n{ended.detail}", flush=True)
    outcomes = ("refused", "accepted", "traceback", "hang")
    print(f"{'kind':<26}{'inputs':>8}" + "".join(f"{name:>11}" for name in outcomes))
    for kind, found in counts.items():
        print(f"{kind:<26}{found.total():>8}" + "".join(f"{found[name]:>11}" for name in outcomes))
    total = sum(counts.values(), Counter())
    print(f"{'all':<26}{total.total():>8}" + "".join(f"{total[name]:>11}" for name in outcomes))
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    sys.exit(bool(total["traceback"] or total["hang"]))


if __name__ == "__main__":
    main()
