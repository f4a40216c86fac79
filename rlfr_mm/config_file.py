"""Settings as dataclasses: declare them with limits, read them from YAML and the command line, list them in `--help`.

`rlfr_mm.config` declares the settings of a run with these tools. Loads no torch.
"""

import argparse
import copy
import difflib
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

LISTED_KEYS = 20  # the most keys that an error lists

# ---- declaring settings ----------------------------------------------------------------------------------------------


def option(
    default: Any = MISSING, *, help: str, make: Any = MISSING, must: str = "", more: Callable | None = None
) -> Any:
    """A dataclass field that carries its help text and its limit, which `check_options` checks and `--help` shows.

    Args:
        make: builds a default that instances must not share, such as a list.
        must: the limit of a number, or of each number in a list: ">= 1", "> 0", or an interval such as "in [0, 1)".
        more: yields the `Setting`s that `--help` lists under this one, given its name.

    >>> gamma: float = option(1.0, must="in [0, 1]", help="discount of the reward-to-go")
    """
    metadata = {"help": help, "must": must, "more": more}
    if make is not MISSING:
        return field(default_factory=make, metadata=metadata)
    return field(default=default, metadata=metadata)


def require(ok: bool, given: str, wanted: str) -> None:
    """Raise ValueError("GIVEN must be WANTED") unless `ok`."""
    if not ok:
        raise ValueError(f"{given} must be {wanted}")


def check_options(config: Any, section: str, cls: type | None = None) -> None:
    """ValueError in one line if a setting of the dataclass is outside its limits (those of `cls`, if given)."""
    for entry in fields(cls or config):
        _check_value(entry, getattr(config, entry.name), f"{section}.{entry.name}")


def allowed(entry: Field) -> str:
    """The limits of a setting in words, such as ">= 1, or null"; empty if its type says everything."""
    limits = ", ".join(_literals(entry.type)) or entry.metadata.get("must", "")
    return f"{limits}, or null" if limits and _optional(entry.type) else limits


def _check_value(entry: Field, value: Any, name: str) -> None:
    choices, must = _literals(entry.type), entry.metadata.get("must")
    if not (choices or must) or value is None:
        return
    require(value != [] or not must, f"{name}=[]", f"a list with at least one entry {allowed(entry)}")
    for item in value if isinstance(value, list) else [value]:
        given = f"{name} contains {item}, which" if isinstance(value, list) else f"{name}={item!r}"
        if choices:
            require(item in choices, given, f"one of {allowed(entry)}")
        else:
            require(within(item, must or ""), given, allowed(entry))


def within(value: float, limit: str) -> bool:
    """Whether a number obeys a limit such as ">= 1", "> 0" or "in (0, 1]".

    >>> within(2, "in (0, 1]")
    False
    """
    if not limit.startswith("in "):
        comparison, bound = limit.split()
        return value >= float(bound) if comparison == ">=" else value > float(bound)
    low, high = map(float, limit[4:-1].split(","))
    above = value >= low if limit[3] == "[" else value > low
    return above and (value <= high if limit[-1] == "]" else value < high)


def _literals(hint: Any) -> tuple[str, ...]:
    """The values of a `Literal` type, also inside a list or an optional type."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return next(filter(None, map(_literals, typing.get_args(hint))), ())


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


# ---- reading settings ------------------------------------------------------------------------------------------------


def build(cls: type, values: Any, section: str = "", default: Any = None) -> Any:
    """An instance of the dataclass `cls` from a mapping.

    Settings that the mapping leaves out come from the instance `default`, or else from the defaults of `cls`.
    ValueError in one line for an unknown key, a wrong type, or a value outside its limits.

    >>> from rlfr_mm.config import FlowRewardConfig
    >>> build(FlowRewardConfig, {"topk": 10}, "flow_reward").topk
    10
    """
    where = f"{section}." if section else ""
    if not isinstance(values, dict):
        raise ValueError(f"{section or 'the configuration'} must be a mapping of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    entries = {f.name: f for f in fields(cls) if f.init}
    check_keys(values, entries, where)
    arguments = {}
    for key, value in values.items():
        nested = _nested(hints[key])
        if nested is None:
            arguments[key] = _typed(hints[key], value, f"{where}{key}")
            _check_value(entries[key], arguments[key], f"{where}{key}")
        elif value is None and _optional(hints[key]):
            arguments[key] = None
        else:
            arguments[key] = build(nested, value, f"{where}{key}", _default(entries[key]))
    return cls(**arguments) if default is None else replace(default, **arguments)


def check_keys(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """ValueError for the first unknown key, with the known key closest to it, or with all keys if there are few."""
    known = list(known)
    for key in given:
        if key not in known:
            name = f"{where}{key}" if str(key).isprintable() else f"{where}{key!r}"
            near = difflib.get_close_matches(str(key), known, n=1)
            if near:
                raise ValueError(f"unknown key {name}; did you mean {where}{near[0]}?")
            listed = f"; the keys are {', '.join(known)}" if len(known) <= LISTED_KEYS else ""
            raise ValueError(f"unknown key {name}{listed}")


def _nested(hint: Any) -> type | None:
    """The dataclass in a type, if there is one: the setting is then a section."""
    found = [kind for kind in typing.get_args(hint) or (hint,) if is_dataclass(kind)]
    return typing.cast(type, found[0]) if found else None


def _default(entry: Any) -> Any:
    return entry.default_factory() if entry.default is MISSING else entry.default


def _typed(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type `hint`. YAML reads 1e-6 as text, so text may become a number; a boolean may not."""
    kinds = {hint, *typing.get_args(hint)}
    if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
        raise ValueError(f"{name}={value} must be a number")
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "literal_error":
            raise ValueError(f"{name}={value!r} must be one of {', '.join(_literals(hint))}") from None
        raise ValueError(f"{name}={value!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def load_config(cls: type, path: str | Path, overrides: list[str] | None = None) -> Any:
    """The dataclass `cls` from a YAML file, with `section.key=value` overrides (values in YAML) on top.

    The file may name another one as its `base` (see `read_settings`), unless `base` is a setting of `cls` itself.
    """
    own_base = any(entry.name == "base" for entry in fields(cls))
    values = _read_mapping(Path(path)) if own_base else read_settings(path)
    return build(cls, with_overrides(values, overrides or []))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, on top of those of the file that its key `base` names.

    The path of the base is relative to the file, and a base may have a base. Sections are merged key by key; any other
    value replaces that of the base, and null switches a section off. ValueError if the bases form a cycle.
    """
    chain, merged = [Path(path)], _read_mapping(Path(path))
    while (base := merged.pop("base", None)) is not None:
        file = chain[-1]
        require(isinstance(base, str), f"base={base!r} in {file}", "the path of a YAML file, relative to this one")
        chain.append(file.parent / base)
        if chain[-1].resolve() in [earlier.resolve() for earlier in chain[:-1]]:
            raise ValueError(f"the bases of {path} form a cycle: {' -> '.join(map(str, chain))}")
        merged = _merged(_read_mapping(chain[-1], f", the base of {file}"), merged)
    return merged


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key must not occur twice in one mapping: the first value would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} occurs twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _read_mapping(path: Path, role: str = "") -> dict[str, Any]:
    if path.is_dir():
        raise ValueError(f"{path}{role} is a folder, not a configuration file; give a YAML file, such as one in it")
    if not path.is_file():
        raise ValueError(f"no configuration file {path}{role}; the ones that come with rlfr_mm are under configs/")
    try:
        with path.open() as file:  # from a file rather than its text, so that YAML's errors name it
            values = yaml.load(file, _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of sections, got {type(values).__name__}")
    return values


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `values` with `section.key=value` overrides applied; ValueError for one that cannot be read.

    >>> with_overrides({"flow": {"num_blocks": 4}}, ["flow.num_blocks=2"])
    {'flow': {'num_blocks': 2}}
    """
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
    """The settings as plain values, for records and checkpoints; `build` is the inverse."""
    return asdict(config)


# ---- commands --------------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """One setting of a configuration, or the head of a section that is off by default."""

    name: str  # dotted, such as flow_reward.topk
    default: Any
    help: str
    allowed: str
    switches_on: bool = False  # the head of a section: setting anything below it switches it on


def settings(cls: type, section: str = "", defaults: Any = None) -> Iterator[Setting]:
    """Every setting of the dataclass, in its order. Defaults are those of the instance `defaults`, or of `cls`.

    >>> from rlfr_mm.config import RunConfig
    >>> next(settings(RunConfig)).name
    'model.name_or_path'
    """
    for entry in fields(cls):
        name = f"{section}.{entry.name}" if section else entry.name
        default = _default(entry) if defaults is None else getattr(defaults, entry.name)
        nested = _nested(typing.get_type_hints(cls)[entry.name])
        if nested is None:
            yield Setting(name, default, entry.metadata["help"], allowed(entry))
            if more := entry.metadata.get("more"):
                yield from more(name)
            continue
        if default is None:
            yield Setting(name, None, entry.metadata["help"], "", switches_on=True)
        yield from settings(nested, name, default)


def describe(cls: type) -> list[str]:
    """One line per setting, `key (default): help (allowed values)`; a section that is off is marked "(off)"."""
    lines = []
    for name, default, help_text, limits, switches_on in settings(cls):
        if switches_on:
            lines.append(f"  {name} (off): {help_text}; setting any of these switches it on:")
        else:
            lines.append(f"  {name} ({default!r}): {help_text}" + (f" ({limits})" if limits else ""))
    return lines


def parser_for(program: str, doc: str | None, config_class: type) -> argparse.ArgumentParser:
    """A parser for `--config FILE [section.key=value ...]`, with every setting in its help."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=doc,
        epilog="settings (default): meaning (allowed values)\n" + "\n".join(describe(config_class)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="YAML file; it lists only settings that differ from the defaults",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that override those of the file"
    )
    return parser


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn an error of the `kinds` in the body into one line, `error: ...`, and exit status 2.

    By default, for code that checks user input, these are ValueError, OSError, from a file that cannot be read or
    written, and ImportError: a setting may name a package that is not installed, such as an attention kernel.
    """
    caught = kinds or (ValueError, ImportError, OSError)
    try:
        yield
    except caught as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again", file=sys.stderr)
        raise SystemExit(130) from None
