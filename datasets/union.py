"""Any number of data sets trained together, each with the organs that it annotates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from bench.data.catalogue import parse_dataset
from bench.data.joined import (
    Joined,
    Member,
    known_organs,
    refuse_synonyms,
    same_channels,
    united,
)
from bench.data.release import PAPER7
from bench.errors import BenchError, unknown_name
from bench.labels import plain
from bench.params import (
    format_brackets,
    parse_brackets,
    quoted,
    shown,
    split_alias,
    split_colons,
    split_outside_brackets,
    unquoted,
)


def _members(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_member(text, info.context) for text in split_outside_brackets(value, ":"))


def _member(text: str, context: Any) -> Member:
    """Return the source of ``name=DATASET[organs=liver:spleen]``; its name may be left out."""
    alias, source = split_alias(text)
    if not unquoted(source):
        raise ValueError("names an empty source; separate sources by one colon each")
    base, options = parse_brackets(source)
    organs = options.pop("organs", None)
    dataset = parse_dataset(format_brackets(quoted(base), options), context)
    if isinstance(dataset, Joined):
        raise BenchError(f"{base} joins data sets itself: name its sources here instead")
    domain = alias or parse_brackets(dataset.name)[0]
    if organs is None:
        return Member(domain=domain, dataset=dataset)
    if any(shown(*field) == "organs" for field in type(dataset).model_fields.items()):
        return Member(domain=domain, dataset=parse_dataset(source, context))
    kept = tuple(map(unquoted, split_outside_brackets(organs, ":")))
    return Member(
        domain=domain,
        dataset=dataset,
        keeps=known_organs(kept, dataset, f"organ of {domain}"),
    )


class Union(Joined):
    """Cases of several data sets, the organs matched by name.

    By default every source is cross-validated. Sources that ``test`` does not name train in every
    fold. Simulated label fractions come on top of what the sources leave out.
    """

    summary: ClassVar[str] = "several data sets trained together, one or all of them tested"
    source: ClassVar[str] = "other data sets"
    label_fractions: ClassVar[tuple[int, ...]] = (100,)
    size_option: ClassVar[str] = "n_train"
    nested: ClassVar[tuple[str, ...]] = ("sources",)

    sources: Annotated[tuple[Member, ...], BeforeValidator(_members)]
    """The data sets, joined by colons: ``btcv:tcia_pancreas`` or, with names of your own and the
    organs to use, ``small=./a:large=./b[organs=pancreas]``."""
    test: Annotated[tuple[str, ...], BeforeValidator(split_colons)] = ()
    """Names of the sources that are tested; all by default."""
    only: Annotated[tuple[str, ...], BeforeValidator(split_colons)] = Field((), alias="organs")
    """The organs to learn, or ``paper7``; by default every organ of any source."""
    n_train: int | None = Field(default=None, ge=1)
    """Train on so many complete patients of the one tested source, a random choice in each fold,
    and test its other patients, instead of cross-validation."""

    @field_validator("sources")
    @classmethod
    def _fitting(cls, sources: tuple[Member, ...]) -> tuple[Member, ...]:
        domains = [member.domain for member in sources]
        if len(domains) < 2:
            raise ValueError("is one data set; join two or more by colons")
        for domain in domains:
            if domains.count(domain) > 1:
                raise ValueError(
                    f"{domains.count(domain)} sources are called {domain}; name them, as in "
                    "first=SOURCE:second=SOURCE"
                )
        for member in sources[1:]:
            try:
                same_channels(member.dataset, sources[0].dataset, domains[0])
            except ValueError as error:
                raise ValueError(f"{member.domain} {error}") from None
        return sources

    @field_validator("test")
    @classmethod
    def _one_of_them(cls, test: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        domains = [member.domain for member in info.data.get("sources", ())]
        for name in test:
            if domains and name not in domains:
                raise unknown_name("source", name, domains)
        return test

    @field_validator("only")
    @classmethod
    def _known(cls, only: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "sources" not in info.data:
            return only
        known = united(member.organs for member in info.data["sources"])
        spelling = {plain(organ): organ for organ in known}
        if only == ("paper7",):
            only = tuple(organ for organ in PAPER7 if plain(organ) in spelling)
            if not only:
                raise ValueError(f"leaves none of {', '.join(known)}")
        for organ in only:
            if plain(organ) not in spelling:
                raise unknown_name("organ", organ, known)
        return tuple(spelling[plain(organ)] for organ in only)

    @field_validator("n_train")
    @classmethod
    def _one_tested(cls, n_train: int | None, info: ValidationInfo) -> int | None:
        if n_train is not None and len(info.data.get("test", ())) != 1:
            raise ValueError("needs one tested source, test=NAME")
        return n_train

    @model_validator(mode="after")
    def _one_name_an_organ(self) -> Self:
        refuse_synonyms(self.sources, self.organs)
        return self

    @property
    def name(self) -> str:
        """The sources with their organs, and what is tested."""
        return format_brackets("union", self._named([m.dataset.name for m in self.sources]))

    @property
    @override
    def label(self) -> str:
        named = self._named([member.dataset.label for member in self.sources])
        return format_brackets("union", named | self.scaling)

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.only or united(member.organs for member in self.sources)

    @property
    @override
    def members(self) -> tuple[Member, ...]:
        return self.sources

    @property
    @override
    def tested(self) -> tuple[str, ...]:
        return self.test or self.domains

    @property
    @override
    def n_tested_train(self) -> int | None:
        return self.n_train

    def _named(self, names: Sequence[str]) -> dict[str, Any]:
        chosen = {
            name: value
            for name, value in self.overrides().items()
            if name in ("test", "organs", "n_train")
        }
        return {"sources": ":".join(self._texts(names))} | chosen

    def _texts(self, names: Sequence[str]) -> Iterator[str]:
        for member, name in zip(self.sources, names, strict=True):
            base, options = parse_brackets(name)
            if member.keeps is not None:
                options["organs"] = ":".join(map(quoted, member.keeps))
            text = format_brackets(base, options)
            yield text if member.domain == base else f"{member.domain}={text}"
