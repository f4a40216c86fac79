"""Files of a run that belong to its steps, in a folder with the checksum of each, so that damage to one is told."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlfr_mm.files import BadFile, Journal, checked, read_lines, sha256, warn, with_checksum, write_whole

CHECKSUMS = "checksums.jsonl"


class StepFiles:
    """The files of one folder. `checksums.jsonl` there has a line per file; of two for the same file the last counts.

    Args:
        names: matches the whole name of a file, relative to the folder; its first group is the step, or is left out
            for a file that belongs to none. No other file is touched.

    >>> answers = StepFiles(run / "evaluation", r"step-(\\d+)\\.jsonl")
    """

    def __init__(self, folder: str | Path, names: str):
        self.folder, self._names = Path(folder), re.compile(names, re.ASCII)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files by name, each of them whole, and then their checksums."""
        for name, content in files.items():
            write_whole(self.folder / name, content)
        self.record(*files)

    def record(self, *names: str) -> None:
        """Record the checksums of files that were just written.

        It comes last, so that a kill leaves files without a checksum, and never a checksum without its file.
        """
        journal = Journal(self.folder / CHECKSUMS)
        try:
            journal.append(_entry(name, sha256(self.folder / name)) for name in names)
        finally:
            journal.close()

    def step_of(self, name: str) -> int:
        """The step of a file; 0 for one that belongs to no step."""
        found = self._names.fullmatch(name)
        return int(found[1] or 0) if found else 0

    def existing(self) -> list[str]:
        """The names of the files that are there."""
        paths = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        return sorted(path for path in paths if self._names.fullmatch(path))

    @property
    def steps(self) -> set[int]:
        """The steps that have a file, or had one that was damaged or lost."""
        return {self.step_of(name) for name in {*self.existing(), *self._checksums()[0]}} - {0}

    def by_step(self) -> Iterator[tuple[int, Path, str | None]]:
        """Yield (step, path, what is wrong with it or None) for each file of a step that is there or was."""
        known, _ = self._checksums()
        steps = {name: self.step_of(name) for name in {*self.existing(), *known}}
        for name in sorted(filter(steps.get, steps), key=lambda name: (steps[name], name)):
            yield steps[name], self.folder / name, self._damage(name, known[name]) if name in known else None

    def continue_after(self, step: int) -> None:
        """Remove the files of later steps, which a resumed run writes again, and set damaged ones aside.

        A warning names each file that is damaged or missing. A damaged one is renamed to NAME.damaged. A file of a step
        counts as lost from then on; one of no step may be written again.
        """
        for name in self.existing():
            if self.step_of(name) > step:
                (self.folder / name).unlink()
        known, unreadable = self._checksums()
        for message in unreadable:
            warn(message)
        unknown = [name for name in self.existing() if self.step_of(name) and name not in known]
        if unknown and not unreadable:
            files = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else "")
            warn(f"{self.folder / CHECKSUMS} is damaged or missing: damage to {files} cannot be told")
        kept = {name: checksum for name, checksum in known.items() if self.step_of(name) <= step}
        for name, checksum in list(kept.items()):
            path = self.folder / name
            if checksum is None or (reason := self._damage(name, checksum)) is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(path.name + ".damaged"))
                reason += f"; moved to {path.name}.damaged"
            warn(reason)
            if self.step_of(name):
                kept[name] = None
            else:
                del kept[name]
        for name in self.existing():
            if name not in kept:  # written by an earlier version or just before a kill, or its line is damaged
                kept[name] = sha256(self.folder / name)
        journal, text = self.folder / CHECKSUMS, "".join(_entry(*item) + "\n" for item in kept.items())
        if text.encode() != (journal.read_bytes() if journal.exists() else b""):
            write_whole(journal, text)

    def _checksums(self) -> tuple[dict[str, str | None], list[str]]:
        """The checksums by name, None for a file that is known to be lost; and a message per line that is damaged."""
        path = self.folder / CHECKSUMS
        known: dict[str, str | None] = {}
        unreadable = []
        for number, line in read_lines(path) if path.exists() else []:
            try:
                entry = checked(json.loads(line), path)
                if not self._names.fullmatch(entry["file"]):
                    raise BadFile(f"{entry['file']} is not a file of {self.folder}")
                known[entry["file"]] = entry["content"]
            except (ValueError, KeyError, TypeError, RecursionError):
                unreadable.append(f"{path}, line {number}, is damaged: damage to the file that it names cannot be told")
        return known, unreadable

    def _damage(self, name: str, checksum: str | None) -> str | None:
        path = self.folder / name
        if not path.is_file():
            return f"{path} is missing"
        if checksum is not None and sha256(path) != checksum:
            return f"{path} is damaged: its content does not match its checksum in {CHECKSUMS}"
        return None


def _entry(name: str, checksum: str | None) -> str:
    """The line of a file in CHECKSUMS, with a checksum of its own."""
    return json.dumps(with_checksum({"file": name, "content": checksum}))
