"""Read YAML files and command lines into the dataclasses of `rlfr_mm.config`. Loads no torch."""

import argparse
import copy
import difflib
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError


def build(cls: type, values: Any, section: str = "", default: Any = None) -> Any:
    """An instance of the dataclass `cls` from a mapping; ValueError in one line for an unknown key or a wrong type.

    What the mapping leaves out is as in `default`, an instance, or as `cls` has it.
    """
    where = f"{section}." if section else ""
    if not isinstance(values, dict):
        raise ValueError(f"{section or 'the configuration'} must be a mapping of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    entries = {f.name: f for f in fields(cls) if f.init}
    arguments = {}
    for key, value in values.items():
        if key not in entries:
            near = difflib.get_close_matches(str(key), entries, n=1)
            raise ValueError(f"unknown key {where}{key}" + (f"; did you mean {where}{near[0]}?" if near else ""))
        nested, optional = _nested(hints[key])
        if nested is None:
            arguments[key] = _typed(hints[key], value, f"{where}{key}")
        elif value is None and optional:
            arguments[key] = None
        else:
            arguments[key] = build(nested, value, f"{where}{key}", _default(entries[key]))
    return cls(**arguments) if default is None else replace(default, **arguments)


def _nested(hint: Any) -> tuple[type | None, bool]:
    """The dataclass that a setting is, if it is one, and whether null may stand in its place."""
    kinds = typing.get_args(hint) or (hint,)
    nested = [kind for kind in kinds if is_dataclass(kind)]
    return (typing.cast(type, nested[0]) if nested else None), type(None) in kinds


def _default(entry: Any) -> Any:
    return entry.default_factory() if entry.default is MISSING else entry.default


def _typed(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type `hint`; YAML reads 1e-6 as text, so text that is a number passes as one, but yes is no 1."""
    kinds = {hint, *typing.get_args(hint)}
    if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
        raise ValueError(f"{name}={value} must be a number")
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ValueError(f"{name}={value!r}: {message[0].lower()}{message[1:]}") from None


def load_config(cls: type, path: str | Path, overrides: list[str] | None = None) -> Any:
    """The dataclass `cls` from a YAML file, with `section.key=value` overrides (values in YAML) applied on top."""
    return build(cls, with_overrides(read_settings(path), overrides or []))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file; ValueError if it is missing or does not hold a mapping."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no configuration file {path}; the ones that come with rlfr_mm are under configs/")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of sections, got {type(values).__name__}")
    return values


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The values of a file with `section.key=value` on top; ValueError for an override that is none."""
    values = copy.deepcopy(values)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ValueError(f"cannot read {override!r}; overrides look like flow_reward.topk=10")
        *sections, last = key.split(".")
        target = values
        for section in sections:
            if not isinstance(target.get(section), dict):
                target[section] = {}
            target = target[section]
        try:
            target[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"{override!r}: the value is not valid YAML") from None
    return values


def as_dict(config: Any) -> dict[str, Any]:
    """The settings as plain values, for records and checkpoints; `build` is its inverse."""
    return asdict(config)


def describe(cls: type, section: str = "", defaults: Any = None) -> list[str]:
    """One line per setting, `key (default): help`, for `--help`; defaults are those of the instance, or of `cls`."""
    lines: list[str] = []
    for entry in fields(cls):
        name = f"{section}.{entry.name}" if section else entry.name
        default = _default(entry) if defaults is None else getattr(defaults, entry.name)
        nested, _ = _nested(typing.get_type_hints(cls)[entry.name])
        if nested is not None:
            lines += describe(nested, name, default)
        else:
            lines.append(f"  {name} ({default!r}): {entry.metadata['help']}")
            if more := entry.metadata.get("more"):
                lines += describe(more, name)
    return lines


def parser_for(program: str, doc: str, config_class: type) -> argparse.ArgumentParser:
    """`--config FILE [section.key=value ...]`, with every setting in the help."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=doc,
        epilog="settings (default): meaning\n" + "\n".join(describe(config_class)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file; lists only what differs")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file's")
    return parser


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For the part of a command that checks its input: a ValueError becomes `error: ...` and exit status 2.

    So does an ImportError: a setting may name what is not installed, an attention kernel for one. And an OSError.
    """
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
