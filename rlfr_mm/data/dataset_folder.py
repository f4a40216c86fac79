"""A dataset folder on this disk, as `datasets` should read it: with the rows that it has now.

`datasets` keeps what it has read in a cache. The entry of a folder whose README declares its configurations, as those
of the hub do, is named by the folder's name and that README alone: another folder of the same name, or the same one
with other rows, is then read from the cache of the first.
"""

import hashlib
import os
from pathlib import Path


def cached_folder(folder: Path) -> dict[str, str]:
    """`path` and `cache_dir` for `datasets.load_dataset`: a cache of this folder's own, for these files of it.

    Files are told apart by path, size and time of change, links followed; hidden ones do not count, as for `datasets`.
    ValueError for a name that `datasets` takes for a pattern.

    >>> load_dataset(**cached_folder(Path("mirror/openai/gsm8k")), name="main", split="test")
    """
    import datasets

    folder = folder.resolve()
    if patterns := sorted({*"*?["} & {*str(folder)}):
        raise ValueError(
            f"{folder}: `datasets` takes {' and '.join(patterns)} in a name for a pattern; rename the folder"
        )
    files, seen = hashlib.sha256(str(folder).encode()), set()
    for path, folders, names in os.walk(folder, followlinks=True):
        known = os.path.realpath(path) in seen  # a link back
        seen.add(os.path.realpath(path))
        folders[:] = [] if known else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = os.path.join(path, name)
            state = os.stat(file, follow_symlinks=os.path.exists(file))
            files.update(f"\0{file}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "local_folders" / files.hexdigest()[:24]
    return {"path": str(folder), "cache_dir": str(cache)}
