"""The share of a run that each of several processes answers. Loads nothing but the standard library."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of `count` processes that answer a run together, numbered from 0."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share(self, number: int, batch: Sequence[T], whole: bool) -> Sequence[T]:
        """What this process answers of batch `number`, so that each sample is answered by exactly one process.

        Args:
            whole: whether a batch must stay together, because its samples share one random state. Batches are then
                dealt in turn, and otherwise the samples of each batch.

        >>> [Shard(1, 2).share(number, "abc", whole=True) for number in range(2)], Shard(1, 2).share(0, "abc", False)
        (['', 'abc'], 'b')
        """
        if whole:
            return batch if number % self.count == self.index else batch[:0]
        return batch[self.index :: self.count]


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """The shard in `I/N`; ValueError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise ValueError(f"{text} must be I/N with I from 0 to N - 1, such as 0/2 and 1/2 for two processes")
    return Shard(int(found[1]), int(found[2]))


def launched_shard(environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard of a process that accelerate launch or torchrun has started; the whole run without a launcher."""
    return Shard(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
