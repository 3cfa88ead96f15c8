"""Frozen parameter objects and their bracket notation.

``inerrant[rounds=3,score=mcp]`` names a component and overrides some of its parameters; the same
notation serves methods, data sets, networks and profiles.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bench.errors import BenchError, unknown_name

MAX_SHOWN = 100
"""Characters of a wrong value that a message shows."""

_BRACKETS = re.compile(
    r"(?P<name>\"(?:[^\"]|\"\")+\"|[^\[\]]+)(?:\[(?P<overrides>.*)\])?", re.DOTALL
)

_QUOTED = re.compile(r"\"(?P<text>(?:[^\"]|\"\")+)\"")

_ALIAS = re.compile(r"(?P<alias>[\w.+-]+)\s*=\s*(?P<source>\S.*)")


class RuntimeOnly:
    """Mark, through ``Annotated``, a parameter that cannot change a result (a path, a device).

    Such a parameter stays out of every key.
    """


class Added:
    """Mark, through ``Annotated``, a parameter that its class did not have from the start.

    At its default it enters no key, so that results from before it are found again.
    """


class Params(BaseModel):
    """Immutable, fully typed parameters; unknown names are refused.

    A field whose name is taken in its class has another one for users, its alias.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=False,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    @classmethod
    def is_runtime(cls, field: FieldInfo) -> bool:
        """Tell whether a field is marked ``RuntimeOnly``."""
        return _marked(field, RuntimeOnly)

    def identity(self) -> dict[str, Any]:
        """Return every parameter that can change a result, defaults included, as JSON data."""
        return {
            shown(name, field): _plain_data(getattr(self, name))
            for name, field in _lasting(type(self)).items()
            if not (_marked(field, Added) and getattr(self, name) == field.default)
        }

    def as_part(self) -> Any:
        """Return the form of this object inside the identity of its owner."""
        return self.identity()

    def overrides(self) -> dict[str, Any]:
        """Return the identity parameters that differ from their defaults."""
        return {
            shown(name, field): getattr(self, name)
            for name, field in _lasting(type(self)).items()
            if field.is_required()
            or getattr(self, name) != field.get_default(call_default_factory=True)
        }

    @classmethod
    def defaults(cls) -> dict[str, str | None]:
        """Return the defaults of the optional parameters as brackets write them; None for none."""
        found = {
            shown(name, field): field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if not field.is_required()
        }
        return {name: None if value is None else _plain(value) for name, value in found.items()}

    @classmethod
    def options(cls) -> str:
        """Return the optional parameters with their defaults, in bracket notation."""
        return ", ".join(
            name if default is None else f"{name}={default}"
            for name, default in cls.defaults().items()
        )

    @classmethod
    def from_overrides(
        cls, kind: str, name: str, overrides: Mapping[str, str], context: Any = None
    ) -> Self:
        """Build from the strings of a bracket notation; ``context`` is passed to validators.

        Raises
        ------
        BenchError
            An unknown parameter (with a suggestion) or a value out of range.
        """
        known = [shown(field, info) for field, info in cls.model_fields.items()]
        for key in overrides:
            if key not in known:
                raise unknown_name(f"parameter of {kind} {name}", key, known)
        try:
            return cls.model_validate(dict(overrides), context=context)
        except ValidationError as error:
            raise BenchError(f"{kind} {name}: {describe_invalid(error)}") from None


@cache
def _lasting(cls: type[Params]) -> dict[str, FieldInfo]:
    """Return the fields that can change a result, by name; keys of thousands of stages ask."""
    return {name: field for name, field in cls.model_fields.items() if not cls.is_runtime(field)}


def shown(name: str, field: FieldInfo) -> str:
    """Return the name of a field in keys and in brackets."""
    return field.alias or name


def _marked(field: FieldInfo, mark: type) -> bool:
    return any(isinstance(found, mark) for found in field.metadata)


_RULES = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "bool": "must be true or false",
    "tuple": "must be a list",
    "list": "must be a list",
    "string": "must be text",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a finite number",
    "path": "must be a path",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "literal_error": "must be {expected}",
}
"""What a finding of pydantic asks for, by its type or by the first word of it."""


def describe_invalid(error: ValidationError) -> str:
    """Return pydantic's findings in one line."""
    return "; ".join(map(_describe_finding, error.errors()))


def _describe_finding(finding: ErrorDetails) -> str:
    kind, name = finding["type"], ".".join(map(str, finding["loc"]))
    rule = _RULES.get(kind) or _RULES.get(kind.partition("_")[0])
    context = finding.get("ctx", {})
    asked = rule.format(**context) if rule else str(context.get("error") or finding["msg"])
    if kind == "missing":
        return f"{name} {asked}"
    given = finding["input"]
    if not rule and isinstance(given, Mapping):  # of several parameters, which the finding names
        return asked
    text = repr(given) if isinstance(given, str) else str(given)
    shown = f"{text[:MAX_SHOWN]}..." if len(text) > MAX_SHOWN else text
    return f"{name}={shown}{'' if rule else ':'} {asked}"


def canonical_json(data: Any) -> str:
    """Return JSON that is identical for equal data: sorted names, no white space, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: Any, length: int = 64) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``data``'s canonical JSON."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()[:length]


def parse_brackets(text: str) -> tuple[str, dict[str, str]]:
    """Split ``name[key=value,...]`` into the name and its overrides.

    A value may itself hold ``=``: ``where=tier=A`` sets ``where`` to ``tier=A``. A name or value in
    double quotes is taken as it is, commas and brackets included; a double quote in it is doubled.

    Raises
    ------
    BenchError
        Unbalanced brackets, an override without ``=``, or two of one key.
    """
    match = _BRACKETS.fullmatch(text.strip())
    if match is None:
        raise BenchError(
            f"cannot read {text!r}: write name or name[key=value,key=value], and a name that holds"
            " brackets, commas or colons in double quotes"
        )
    overrides: dict[str, str] = {}
    for item in filter(None, split_outside_brackets(match["overrides"] or "")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise BenchError(f"cannot read {item!r} in {text!r}: write key=value")
        if key.strip() in overrides:
            raise BenchError(f"{key.strip()} is given twice in {text!r}: write it once")
        overrides[key.strip()] = unquoted(value)
    return unquoted(match["name"]), overrides


def format_brackets(name: str, overrides: Mapping[str, Any]) -> str:
    """Return the shortest notation of a component, the inverse of :func:`parse_brackets`."""
    inner = ",".join(f"{key}={_protected(_plain(value))}" for key, value in overrides.items())
    return f"{name}[{inner}]" if inner else name


def split_colons(value: object) -> object:
    """Return the parts of ``32:64:64``, the notation of a tuple; anything else unchanged."""
    return tuple(value.split(":")) if isinstance(value, str) else value


def whole(value: object) -> object:
    """Return the whole number that brackets write as text; anything else unchanged."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def split_outside_brackets(text: str, at: str = ",") -> list[str]:
    """Split at the commas, or another character, outside square brackets and double quotes."""
    parts, depth, in_quotes = [""], 0, False
    for character in text:
        in_quotes ^= character == '"'
        if not in_quotes:
            depth += (character == "[") - (character == "]")
        if character == at and depth == 0 and not in_quotes:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def split_alias(text: str) -> tuple[str | None, str]:
    """Return the name and the component of ``name=COMPONENT``; no name if none is given."""
    match = _ALIAS.fullmatch(text)
    return (match["alias"], match["source"]) if match else (None, text)


def quoted(text: str) -> str:
    """Return a name for the notation, in double quotes if it holds a character with a meaning."""
    bare = text == text.strip() and not re.search(r"[\[\],:=\"]", text)
    return text if bare else '"{}"'.format(text.replace('"', '""'))


def unquoted(text: str) -> str:
    """Return a name of the notation without white space around it, and without its quotes."""
    match = _QUOTED.fullmatch(text.strip())
    return match["text"].replace('""', '"') if match else text.strip()


def _protected(value: str) -> str:
    """Return a value in double quotes if a comma or bracket in it would be taken for ours."""
    bare = _QUOTED.sub("", value)
    depths = [bare[:n].count("[") - bare[:n].count("]") for n in range(1, len(bare) + 1)]
    balanced = not depths or (min(depths) >= 0 and depths[-1] == 0)
    whole = balanced and '"' not in bare and len(split_outside_brackets(value)) == 1
    return value if whole else quoted(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:.6g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, tuple):
        return ":".join(map(_plain, value))
    return str(value)


def _plain_data(value: Any) -> Any:
    if isinstance(value, Params):
        return value.as_part()
    if isinstance(value, tuple | list):
        return [_plain_data(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain_data(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
