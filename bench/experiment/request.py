"""The request for an experiment: command-line options, a file, or a file with overrides."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationError

from bench.data.catalogue import anchored, default_data, split_datasets
from bench.engine.store import default_root
from bench.errors import BenchError, unknown_name
from bench.experiment.selection import (
    ExperimentGrid,
    parse_datasets,
    parse_label_pcts,
    parse_methods,
    parse_networks,
    parse_numbers,
    parse_profiles,
)
from bench.files import file_size, write_atomically
from bench.params import Params, describe_invalid, digest
from bench.results.asked import asked


def _one_text(value: object) -> object:
    """Return a list in the notation of the option, ``[30, 10]`` as ``30,10``; a number as text."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _several_texts(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    flat = isinstance(value, list | tuple) and all(isinstance(item, str | Path) for item in value)
    if not flat:
        raise ValueError('must be text in quotes, or one list of such texts: ["A", "B"]')
    return value


Text = Annotated[str, BeforeValidator(_one_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_several_texts)]


class Request(Params):
    """The options of ``bench run`` and ``bench plan``, under their own names."""

    prefix: ClassVar[str] = ""
    """Begins the names of its records in a store, by which they are told apart."""

    method: Texts = ()
    dataset: Texts = ()
    labelled: Text = "30"
    folds: Text = "0"
    profile: Texts = ("quick",)
    backbone: Texts = ()
    seeds: Text = "0"
    plugin: Annotated[tuple[Path, ...], BeforeValidator(_several_texts)] = ()
    data: Path | None = Field(default_factory=default_data)
    store: Path = Field(default_factory=default_root)
    launcher: str = "local"
    device: str | None = None
    pictures: bool = False
    accept_twins: bool = False

    @classmethod
    def of(cls, file: Path | None, given: Mapping[str, Any]) -> Self:
        """Return the request; options on the command line override the file.

        Parameters
        ----------
        file
            TOML with the names of the options; paths in it are relative to its folder.
        given
            Options by name; None and empty lists mean not given.

        Raises
        ------
        BenchError
            A file that cannot be read, an unknown option in it, a wrong value, no method or data.
        """
        options: dict[str, Any] = {}
        if file is not None:
            written = cls._validated(_read(file, cls.model_fields), file)
            anchored = written.anchored(file.absolute().parent)
            options = {name: getattr(anchored, name) for name in written.model_fields_set}
        options |= {name: value for name, value in given.items() if value not in (None, [], ())}
        request = cls._validated(options, file)
        for name in ("method", "dataset"):
            if not getattr(request, name):
                raise BenchError(f"no {name} is named: give --{name}, or a file with {name} = ...")
        return request

    @classmethod
    def _validated(cls, options: Mapping[str, Any], file: Path | None) -> Self:
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise BenchError(f"{file or 'options'}: {describe_invalid(error)}") from None

    def anchored(self, folder: Path) -> Self:
        """Return the same request with absolute paths, relative ones taken from ``folder``."""
        names = (name for text in self.dataset for name in split_datasets(text, folder) if name)
        changed: dict[str, Any] = {
            "dataset": tuple(anchored(name, folder) for name in names),
            "plugin": tuple(folder / path for path in self.plugin),
            "store": folder / self.store,
            "data": None if self.data is None else folder / self.data,
        }
        return self.model_copy(update=changed)

    def grid(self) -> ExperimentGrid:
        """Return the experiment; plug-ins must be loaded before."""
        return ExperimentGrid(
            methods=parse_methods(self.method),
            datasets=parse_datasets(self.dataset, self.data),
            label_pcts=parse_label_pcts(self.labelled),
            folds=self.folds,
            profiles=parse_profiles(self.profile),
            networks=parse_networks(self.backbone),
            seeds=parse_numbers("seed", self.seeds, 0, 10_000),
        )

    def record(self) -> str:
        """Write the options into the store and return the name of the file.

        The receipt of every stage that is computed for them holds this name.
        """
        options = self._options()
        name = self.prefix + digest(options, 12)
        file = self.store / "experiments" / f"{name}.toml"
        if not file.is_file():
            _write(file, options)
        return name

    def keep_beside(self, table: Path) -> None:
        """Write the options beside a results table: what writes it again if it is damaged."""
        _write(asked(table), self._options())

    def _options(self) -> dict[str, Any]:
        options = {
            name: list(map(str, value)) if isinstance(value, tuple) else value
            for name, value in self.anchored(Path.cwd())
            .model_dump(exclude={"store"}, exclude_none=True)
            .items()
        }
        return {k: str(v) if isinstance(v, Path) else v for k, v in options.items() if v != []}


def _write(file: Path, options: Mapping[str, Any]) -> None:
    import tomli_w

    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, tomli_w.dumps(options), ours=True)


def _read(file: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    file_size(file)  # refuses a device, which may never end
    try:
        options = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # editors may write a mark
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{file}: is no TOML: {error}") from None
    except RecursionError:
        raise BenchError(f"{file}: is nested too deeply; correct the file") from None
    for name in options:
        if name not in known:
            raise unknown_name(f"option in {file}", name, known)
    return options
