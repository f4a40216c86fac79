"""The reward functions of a run, ours and the user's, found by name. Loads no torch.

`rlfr_mm.training.inputs` tries them out before any weights are loaded.
"""

import difflib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from rlfr_mm.config import RLFRArguments, RunConfig
from rlfr_mm.config_file import build, option, require
from rlfr_mm.training.rewards import accuracy_reward, format_reward

BUILT_IN: dict[str, Callable[..., Any]] = {"accuracy": accuracy_reward, "format": format_reward}
# What TRL passes to a reward function, besides the columns of the data that are not LEFT_OUT.
PASSED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
LEFT_OUT = ("prompt", "completion", "completion_ids")


class RewardError(ValueError):
    """A reward function of the user's cannot be used, or failed. The message is one line that names it."""


@dataclass
class Reward:
    """An entry of `rewards`. One that is only a name has weight 1."""

    function: str = option(help="accuracy, format, or MODULE:FUNCTION with TRL's signature")
    weight: float = option(1.0, help="weight in the sum of the rewards")
    call: Callable[..., Any] = field(init=False)  # as TRL is to call it

    @property
    def name(self) -> str:
        """The name in metrics and records, which TRL takes from the function."""
        return self.function.rpartition(":")[2].rpartition(".")[2]


def load_rewards(config: RunConfig, beside: Path | None = None) -> list[Reward]:
    """The reward functions of a run, in order, imported. ValueError in one line for one that cannot be used.

    Args:
        beside: a folder in which modules are looked for first. They stay imported, so that later calls need none.

    >>> [reward.name for reward in load_rewards(RunConfig(rewards=["accuracy", {"function": "mine:brief"}]))]
    ['accuracy', 'brief']
    """
    format_weight = config.train.get("format_reward_weight", RLFRArguments.format_reward_weight)
    if config.rewards is None:
        rewards = [Reward("accuracy")] + ([Reward("format", format_weight)] if format_weight else [])
    else:
        if config.train.get("format_reward_weight"):
            raise ValueError(
                "train.format_reward_weight has no effect with rewards: list {function: format, weight: W}"
            )
        require(config.rewards != [], "rewards=[]", "a list with at least one reward function")
        rewards = [_read(entry, f"rewards[{place}]") for place, entry in enumerate(config.rewards)]
    names = [reward.name for reward in rewards]
    for name in names:
        require(names.count(name) == 1, f"rewards: the name {name}", "that of one function only, as metrics go by it")
    for reward in rewards:
        reward.call = BUILT_IN.get(reward.function) or _checked(reward, _imported(reward.function, beside))
    return rewards


def _read(entry: Any, section: str) -> Reward:
    values = {"function": entry} if isinstance(entry, str) else entry
    if not (isinstance(values, dict) and "function" in values):
        raise ValueError(f"{section}={entry!r} must be a name, or {{function: NAME, weight: NUMBER}}")
    reward: Reward = build(Reward, values, section)
    module, _, attribute = reward.function.partition(":")
    known = reward.function in BUILT_IN or (module and attribute)
    require(bool(known), f"{section}={reward.function}", "accuracy, format, or MODULE:FUNCTION")
    require(math.isfinite(reward.weight), f"{section}.weight={reward.weight}", "a finite number")
    return reward


def _imported(name: str, beside: Path | None) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    folder = str(beside.resolve()) if beside else None
    if folder:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise RewardError(f"reward {name}: {module_name} imports {error.name}, which is not installed") from error
        where = f"{beside or Path()} and on Python's path"
        raise RewardError(f"reward {name}: there is no module {module_name} in {where}") from error
    except (Exception, SystemExit) as error:
        raise RewardError(f"reward {name} cannot be imported: {_told(error)}") from error
    finally:
        if folder:
            sys.path.remove(folder)
            if folder not in sys.path:
                sys.path.append(folder)  # for what the module imports later
    try:
        function = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        near = difflib.get_close_matches(attribute, [key for key, value in vars(module).items() if callable(value)], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RewardError(f"reward {name}: {module_name} has no {attribute}{hint}") from None
    if inspect.isclass(function) or not callable(function):
        raise RewardError(f"reward {name} is not a function, but {function!r:.80}")
    return function


def _checked(reward: Reward, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, asynchronous if it is, whose errors and wrong results become a `RewardError` that names it."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        async def call_async(**arguments: Any) -> list[float | None]:
            with _naming(reward.function):
                returned = await function(**arguments)
            return _numbers(reward.function, returned, len(arguments["completions"]))

        call: Callable[..., Any] = call_async
    else:

        def call_now(**arguments: Any) -> list[float | None]:
            with _naming(reward.function):
                returned = function(**arguments)
            return _numbers(reward.function, returned, len(arguments["completions"]))

        call = call_now
    call.__name__ = reward.name
    call.__wrapped__ = function  # type: ignore[attr-defined]  # whose signature inspect then shows
    return call


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise RewardError(f"reward {name} raised {_told(error)}") from error


def _told(error: BaseException) -> str:
    """The error in one line, with the place in the file that raised it."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        libraries = (__file__, sys.prefix, sys.base_prefix, "<")
        theirs = [frame for frame in frames if not frame.filename.startswith(libraries)]
        place = f"{(theirs or frames)[-1].filename}, line {(theirs or frames)[-1].lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"


def _numbers(name: str, returned: Any, expected: int) -> list[float | None]:
    """What a reward function returned as numbers, None where it does not apply."""
    try:
        values = None if isinstance(returned, str | bytes | Mapping) else list(returned)
    except TypeError:
        values = None
    if values is None:
        raise RewardError(f"reward {name} must return a list of a number or None per completion, not {returned!r:.80}")
    if len(values) != expected:
        raise RewardError(f"reward {name} returned {len(values)} rewards for {expected} completions")
    numbers: list[float | None] = []
    for value in values:
        try:
            number = None if value is None or isinstance(value, str | bytes) else float(value)
        except (TypeError, ValueError):
            number = None
        if (number is None and value is not None) or (number is not None and math.isinf(number)):
            raise RewardError(f"reward {name} returned {value!r:.80}, which is neither a finite number nor None")
        numbers.append(number)
    return numbers


def check_signatures(rewards: list[Reward], columns: list[str]) -> None:
    """ValueError if a function does not take what TRL will pass: its own arguments, and the columns of the data."""
    passed = [*PASSED, *(column for column in columns if column not in LEFT_OUT)]
    for reward in rewards:
        try:
            inspect.signature(reward.call).bind(**dict.fromkeys(passed))
        except TypeError as error:
            raise RewardError(
                f"reward {reward.function}: {error}; it is called with {', '.join(passed)}, all by name: take those "
                "that it needs, and **kwargs"
            ) from None
