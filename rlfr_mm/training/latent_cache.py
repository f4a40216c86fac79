"""Latents of expert rows in a file, so that later epochs of the offline start need no pass of the policy."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlfr_mm.method.latents import Latents


class LatentCache:
    """Latents by row, in a file that is removed on closing. Each process has its own.

    >>> cache = LatentCache("runs/demo/flow/latents-0.bin")
    >>> cache.add([4, 2], latents)
    >>> cache.get([2]).values  # those of the second sample
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w+b", buffering=0)
        self.places: dict[int, tuple[int, int]] = {}  # the first byte and the number of bytes of a row
        self.shape: torch.Size | None = None  # of a position
        self.dtype = torch.float32

    def __contains__(self, row: int) -> bool:
        return row in self.places

    def add(self, rows: Sequence[int], latents: Latents) -> None:
        """Append the samples of `latents`, one for each of the rows. Responses must not be empty.

        OSError if the disk is full.
        """
        self.shape, self.dtype = latents.values.shape[1:], latents.values.dtype
        positions = (latents.mask.sum(1) + 1).tolist()
        for row, values in zip(rows, latents.values.cpu().split(positions), strict=True):
            data = memoryview(values.contiguous().flatten().view(torch.uint8).numpy())
            self.places[row] = (self.file.seek(0, os.SEEK_END), data.nbytes)
            while data:  # a disk that is nearly full takes a part, and refuses the next
                data = data[self.file.write(data) :]

    def get(self, rows: Sequence[int]) -> Latents:
        """The latents of these rows; KeyError if one was never added."""
        assert self.shape is not None
        parts = [self._read(*self.places[row]).view(self.dtype).view(-1, *self.shape) for row in rows]
        lengths = torch.tensor([len(part) - 1 for part in parts])
        return Latents(torch.cat(parts), torch.arange(int(lengths.max())) < lengths[:, None])

    def expected(self, rows: int) -> float:
        """The size in bytes that the cache will have with `rows` rows, like those added so far."""
        return sum(length for _, length in self.places.values()) / len(self.places) * rows

    def announce(self, rows: int, processes: int) -> str:
        """A line about the `expected` size of the caches of `processes` processes.

        ValueError if the disk has no room for them.
        """
        size = self.expected(rows) * processes
        free, folder = shutil.disk_usage(self.path.parent).free, self.path.parent
        if size > free:
            raise ValueError(
                f"offline.cache_latents: latents need about {size / 1e9:.1f} GB in {folder}, which has "
                f"{free / 1e9:.1f} GB free: free some, or set it to false"
            )
        return f"latents of {rows * processes} rows: about {size / 1e9:.2f} GB in {folder}, until the start has ended"

    def close(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)

    def _read(self, first: int, length: int) -> Tensor:
        return torch.frombuffer(bytearray(os.pread(self.file.fileno(), length, first)), dtype=torch.uint8)
