"""Checks of a dataset, divided among the processes of a run: each record is decoded and graded once, not once each."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed
from accelerate.utils import gather_object

Checked = TypeVar("Checked")


def divided(count: int, check: Callable[[range], list[Checked]]) -> list[Checked]:
    """What `check` returns for the indices below `count`, in order; each process calls it for its share of them.

    Every process gets the whole list, or raises the ValueError of the first share that has one.

    >>> divided(3, lambda indices: [index**2 for index in indices])
    [0, 1, 4]
    """
    if not torch.distributed.is_initialized():
        return check(range(count))
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mine: list[Checked] | ValueError
    try:
        mine = check(range(count * rank // processes, count * (rank + 1) // processes))
    except ValueError as error:
        mine = error
    shares = gather_object([mine])
    for share in shares:
        if isinstance(share, ValueError):
            raise share
    return [result for share in shares for result in share]
