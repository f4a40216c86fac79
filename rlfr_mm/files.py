"""The one way this project touches a disk: whole writes, sealed folders, JSON and JSON Lines, appending, locks.

Loads nothing but the standard library. Errors that a user can act on are ValueErrors of one line that name the file.
"""

import codecs
import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"  # suffix of what is being written
REPLACED = ".replaced"  # suffix of a folder that is about to be removed, because another one has taken its name
MANIFEST = "manifest.json"  # of a sealed folder
CHECKSUM = "sha256"  # the key of a checked mapping's own checksum
LOCK = ".lock"  # of a folder that only one process may write to


class BadFile(ValueError):
    """A file does not hold what it should. The message is one line that names it."""


def warn(message: str) -> None:
    """Print one warning line to stderr."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def write_whole(path: str | Path, data: str | bytes) -> None:
    """Write a file so that a kill or a power cut leaves either the old content or the new one.

    Missing parent folders are created. OSError if the disk refuses; the old file is then untouched.

    >>> write_whole("runs/demo/summary.json", "{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk does not say which file it refused
        raise
    sync_folder(path.parent)


def check_folder(path: str | Path, given: str) -> None:
    """ValueError that begins with the setting `given` if there is no folder at a path, and none can be made.

    >>> check_folder("README.md/run", "train.output_dir=README.md/run")
    ValueError: train.output_dir=README.md/run cannot be made: /home/me/rlfr_mm/README.md is not a folder
    """
    here = Path(path).absolute()
    if here.exists() and not here.is_dir():
        raise ValueError(f"{given} is not a folder: choose another one")
    above = next(folder for folder in (here, *here.parents) if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        why = "may not be written to" if above.is_dir() else "is not a folder"
        raise ValueError(f"{given} cannot be made: {above} {why}")


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the name `path` when the body ends, and replaces what was there.

    If the body raises, or the process is killed, nothing appears under `path`.

    >>> with whole_folder("runs/demo/checkpoint-5") as folder:
    ...     (folder / "config.json").write_text("{}")
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replace_folder(partial, path)


@contextlib.contextmanager
def shared_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder to fill, for a folder that several processes may make at the same time.

    The first one to finish gives it the name `path`. The others' folders are discarded, and nobody ever sees a folder
    that is half written or being replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        partial = Path(scratch) / path.name
        partial.mkdir()
        yield partial
        _sync_tree(partial)
        try:
            os.rename(partial, path)
        except OSError:
            if not path.is_dir():
                raise
    sync_folder(path.parent)


def replace_folder(source: Path, target: Path) -> None:
    """Flush `source` to disk and rename it to `target`; what was there goes aside first, and is removed last."""
    _sync_tree(source)
    replaced = target.with_name(target.name + REPLACED)
    shutil.rmtree(replaced, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(target, replaced)
    os.replace(source, target)
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    """Flush all files of a folder, and the entries of the folder and of those inside it."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def seal(folder: str | Path) -> None:
    """Write the manifest of a finished folder: the size and SHA-256 of each file in it, after those are on the disk.

    A folder without a manifest is unfinished. `damage` compares a folder with its manifest.
    """
    folder = Path(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    _sync_tree(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    with ThreadPoolExecutor() as pool:
        entries = [
            {"size": path.stat().st_size, "sha256": checksum}
            for path, checksum in zip(paths, pool.map(sha256, paths), strict=True)
        ]
    names = [str(path.relative_to(folder)) for path in paths]
    write_json(folder / MANIFEST, {"files": dict(zip(names, entries, strict=True))})
    sync_folder(folder.parent)


def damage(folder: str | Path, only: str | None = None) -> str | None:
    """What is wrong with a sealed folder, in one line that names a file; None if all its files are as they were.

    Files that the manifest does not list are left alone. With `only`, that file alone is compared.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        return f"{folder} is unfinished: it has no {MANIFEST}"
    try:
        listed = read_json(folder / MANIFEST)["files"]
        names = listed.keys() if only is None else [only]
        expected = {folder / name: (listed[name]["size"], listed[name]["sha256"]) for name in names}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{folder / MANIFEST} is damaged: it is not a list of files"
    for path, (size, _) in expected.items():
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} is damaged: it has {path.stat().st_size:,} bytes instead of {size:,}"
    with ThreadPoolExecutor() as pool:
        for path, found in zip(expected, pool.map(sha256, expected), strict=True):
            if found != expected[path][1]:
                return f"{path} is damaged: its content does not match the checksum in {MANIFEST}"
    return None


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any, indent: int = 2) -> None:
    """Write a JSON file whole."""
    write_whole(path, json.dumps(value, indent=indent) + "\n")


def read_bytes(path: str | Path) -> bytes:
    """The content of a file, decompressed if its name ends in .gz; BadFile if that fails."""
    data = Path(path).read_bytes()
    if Path(path).suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"{path} is not a gzip file: {error}") from None


def read_json(path: str | Path) -> Any:
    """The value of a JSON file; BadFile if it is not JSON, FileNotFoundError if it is missing."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not valid JSON: {error}") from None


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """The mapping with a checksum of itself, for a record outside of sealed folders; `checked` is the inverse.

    >>> checked(with_checksum({"file": "000001.jsonl"}), "here")
    {'file': '000001.jsonl'}
    """
    return value | {CHECKSUM: _digest(value)}


def checked(value: Any, where: str | Path) -> dict[str, Any]:
    """A mapping that `with_checksum` made, without its checksum; BadFile naming `where` if it is not as it was made.

    A mapping without a checksum, which an earlier version of this project wrote, is taken as it is.
    """
    if not isinstance(value, dict):
        raise BadFile(f"{where} is damaged: it does not hold a mapping")
    plain = {key: inner for key, inner in value.items() if key != CHECKSUM}
    if value.get(CHECKSUM, _digest(plain)) != _digest(plain):
        raise BadFile(f"{where} is damaged: its content does not match its checksum")
    return plain


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json_lines(path: str | Path, values: Iterable[Any]) -> None:
    """Write a JSON Lines file whole, one value per line."""
    write_whole(path, "".join(json.dumps(value) + "\n" for value in values))


def read_lines(path: str | Path, finished_only: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) for the lines of a file that are not blank.

    Lines end at a newline only: text of a model may hold other characters that Python takes for line ends.
    `finished_only` leaves out a last line without a newline, which a killed process may leave behind.
    """
    *finished, last = read_bytes(path).removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(finished if finished_only else [*finished, last], start=1):
        if line.strip():
            yield number, line


def read_json_lines(path: str | Path, finished_only: bool = False) -> list[Any]:
    """The values of a JSON Lines file (see `read_lines`); BadFile with the number of a line that is not JSON."""
    values = []
    for value in parsed_lines(path, finished_only):
        if isinstance(value, BadFile):
            raise value
        values.append(value)
    return values


def parsed_lines(path: str | Path, finished_only: bool = False) -> Iterator[Any]:
    """Yield the values of a JSON Lines file (see `read_lines`), and a BadFile in place of a line that is not JSON."""
    for number, line in read_lines(path, finished_only):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadFile(f"{path}, line {number}, is not valid JSON: {error}")


class Journal:
    """A file open for appending lines. Each append reaches the disk before it returns, whole or not at all."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sync_folder(self.path.parent)

    def append(self, lines: Iterable[str]) -> None:
        """Append lines, given without their newline. If the disk refuses: OSError, and the file ends where it did.

        FileNotFoundError if the file has been deleted, moved or replaced since it was opened: the lines would be lost.
        """
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(self._descriptor)):
            raise FileNotFoundError(errno.ENOENT, "deleted or moved while it was being written", str(self.path))
        data = memoryview("".join(line + "\n" for line in lines).encode())
        end = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        os.close(self._descriptor)


def try_lock(path: str | Path, shared: bool = False, wait: bool = False) -> IO[str] | None:
    """The lock file `path`, open and locked, or None if another process holds the lock.

    Closing the file releases the lock. A child process that inherits the descriptor holds the lock until it ends, too.

    Args:
        shared: hold it together with others that ask for a shared lock.
        wait: wait until nobody else holds the lock; then never None.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def locked(path: str | Path, what: str, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the body runs; the kernel releases it however the process ends.

    ValueError naming `what` and the process that holds the lock. `shared` and `wait` are those of `try_lock`.

    >>> with locked("runs/demo/.lock", what="runs/demo"):
    ...     pass
    """
    file = try_lock(path, shared, wait)
    if file is None:
        owner = Path(path).read_text().strip() or "unknown"
        raise ValueError(f"{what} is in use by process {owner}; wait for it or give another folder")
    with file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
