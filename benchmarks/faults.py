"""Do harm to training runs and evaluations, and count how often they end as if nothing had happened.

python benchmarks/faults.py [--kills 30] [--seconds 2400]    # all classes, at most an hour on two cores
python benchmarks/faults.py --page                           # docs/reliability.md from the record

The record is benchmarks/results/faults.json. Runs are those of tests/faults/tiny_run.py, a tiny real policy on the
CPU. Each class ends when its share of the time is over; the record says how often it was tried.
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD, PAGE = ROOT / "benchmarks/results/faults.json", ROOT / "docs/reliability.md"
sys.path.insert(0, str(ROOT))

from rlfr_mm.files import read_json, write_json  # noqa: E402
from rlfr_mm.quickstart.policy import build_policy  # noqa: E402
from tests.faults import tiny_run  # noqa: E402

HARMS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "bit-flipped": lambda path: path.write_bytes(_flipped(path.read_bytes())),
    "removed": lambda path: path.unlink(),
}
EXAMPLES = 3000  # per fuzzing test
GUIDED_RECORD = ROOT / "benchmarks/results/guided_fuzzing.json"
GUIDED = [sys.executable, str(ROOT / "benchmarks/guided_fuzzing.py"), "--json", str(GUIDED_RECORD)]
Outcome = tuple[str, str | None]  # what was tried, and what went wrong if anything did


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


class Faults:
    """The undisturbed run, and what is done to others."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.draw = folder, random.Random(seed)
        self.config = tiny_run.write_config(build_policy(folder / "policy"), folder)
        self.whole = folder / "whole"
        tiny_run.finish(tiny_run.train(self.config, folder / "first"))  # so that the libraries are loaded
        started = time.monotonic()
        assert tiny_run.finish(tiny_run.train(self.config, self.whole)) == 0
        self.seconds = time.monotonic() - started
        self.expected = tiny_run.results_of(self.whole)
        self.kept = Path(shutil.copytree(self.whole, folder / "kept"))

    def resumed(self, run: Path, lost: int | None = None) -> str | None:
        """What is wrong with a run after it was resumed; None if it ended like the undisturbed one.

        The rollout records and answers of the step `lost` may be missing, but not differ.
        """
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        status = tiny_run.finish(tiny_run.train(self.config, run, *resume))
        if status != 0:
            return f"exit status {status}: {tiny_run.log_of(run)[-1]}"
        try:
            found = tiny_run.results_of(run)
        except (ValueError, OSError) as error:
            return " ".join(str(error).split())[:200]
        for name in ("rollouts", "answers during training"):
            if lost is not None and lost in self.expected[name] and lost not in found[name]:
                found[name][lost] = self.expected[name][lost]
        differing = [name for name, value in self.expected.items() if found[name] != value]
        return f"other {', '.join(differing)}" if differing else None

    def kills(self) -> Iterator[Outcome]:
        """SIGKILL at a moment drawn uniformly from the undisturbed run's time."""
        while True:
            run, moment = self.folder / "killed", self.draw.uniform(0, self.seconds)
            process = tiny_run.train(self.config, run)
            process.join(moment)
            process.kill()
            process.join()
            if not (run / "summary.json").exists():  # else it was faster, and there was nothing to kill
                yield f"{moment / self.seconds:.0%} of the run", self.resumed(run)
            _clear(run)

    def terminations(self) -> Iterator[Outcome]:
        """SIGTERM at a random moment; the status must be the documented one, or the run must be over or not begun."""
        while True:
            run, moment = self.folder / "terminated", self.draw.uniform(0, self.seconds)
            process = tiny_run.train(self.config, run)
            process.join(moment)
            process.terminate()
            status = tiny_run.finish(process)
            if status in (75, -signal.SIGTERM):
                yield f"{moment / self.seconds:.0%} of the run", self.resumed(run)
            elif status:
                yield f"{moment / self.seconds:.0%} of the run", f"exit status {status}"
            _clear(run)

    def unfinished(self) -> Path:
        """The undisturbed run, at its old place, as a kill just before its end leaves it."""
        _clear(self.whole)
        shutil.copytree(self.kept, self.whole)
        (self.whole / "summary.json").unlink()
        return self.whole

    def damage(self, inside: str) -> Iterator[Outcome]:
        """Every file of a folder of the run, damaged in every way, in random order.

        The run must end as undisturbed, or be refused in one line. The damage must be named, or the file made again.
        A damaged file of rollout records or of answers during training may be lost, because the run goes on from a
        checkpoint after its step.
        """
        files = [path.relative_to(self.kept) for path in sorted((self.kept / inside).rglob("*")) if path.is_file()]
        files = [path for path in files if path.name != ".lock" and (inside or "checkpoint" not in str(path))]
        cases = [(name, harm) for name in files for harm in HARMS]
        cases = [case for case in cases if case != (Path("summary.json"), "removed")]  # that is an unfinished run
        for name, harm in self.draw.sample(cases, len(cases)):
            run = self.unfinished()
            if not (run / name).exists():  # summary.json, which an unfinished run does not have
                shutil.copy(self.kept / name, run / name)
            if inside:  # or final/ would be used, and no checkpoint be read
                shutil.rmtree(run / "final")
            HARMS[harm](run / name)
            step = re.fullmatch(r"(?:rollouts/|evaluation/step-)(\d+)\.jsonl", str(name))
            wrong = self.resumed(run, lost=int(step[1]) if step else None)
            named = name.name in "\n".join(tiny_run.log_of(run))
            made_again = (run / name).is_file() and (run / name).read_bytes() == (self.kept / name).read_bytes()
            if wrong and re.search(rf"error: .*{re.escape(str(run))}", wrong):
                wrong = None
            elif not wrong and not named and not made_again:
                wrong = "not named"
            yield f"{name} {harm}", wrong
            _clear(run)

    def full_disks(self) -> Iterator[Outcome]:
        """A limit on the size of files, drawn anew each time; then the limit is gone and the run is resumed."""
        largest = max(path.stat().st_size for path in self.kept.rglob("*") if path.is_file())
        while True:
            run, limit = self.folder / "full", int(10 ** self.draw.uniform(2.3, 6.2))
            log = run.with_name("full.log")
            command = ["--config", str(self.config), f"train.output_dir={run}"]
            process = tiny_run.forks.Process(target=_limited, args=(limit, str(log), "rlfr_mm.train", command))
            process.start()
            status, lines = tiny_run.finish(process), log.read_text(errors="replace").splitlines()
            if status == 0 and limit < largest:
                yield f"{limit:,} bytes", None  # the libraries wrote in smaller pieces
            elif status == 0:
                continue
            else:
                one_line = sum(line.startswith("error: ") for line in lines) == 1 and status == 2
                yield f"{limit:,} bytes", self.resumed(run) if one_line else f"status {status}: {lines[-1]}"
            _clear(run)

    def soak(self, seconds: float) -> dict[str, Any]:
        """Memory and open files of a long run: at a quarter of its time and at its end."""
        run = self.folder / "soak"
        many = [
            "train.max_steps=100000",
            "train.save_steps=200",
            "evaluation=null",
            "offline=null",
            "flow.random_start=true",
        ]
        process = tiny_run.train(self.config, run, *many)
        started, samples = time.monotonic(), []
        while process.is_alive() and time.monotonic() - started < seconds and tiny_run.steps_of(run) < 5000:
            time.sleep(1)
            if process.is_alive():
                samples.append((*_resources(process.pid), tiny_run.steps_of(run)))
        assert process.is_alive() and samples, f"the soak ended early: {tiny_run.log_of(run)[-1]}"
        process.terminate()
        status = tiny_run.finish(process)
        quarter, last = samples[len(samples) // 4], samples[-1]
        log = run.with_name("soak.log").stat().st_size
        found = {"steps": last[2], "seconds": round(time.monotonic() - started), "status": status, "log_bytes": log}
        found |= {"memory_mb": [quarter[0], last[0]], "open_files": [quarter[1], last[1]]}
        _clear(run)
        return found


def _limited(limit: int, *command: Any) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    tiny_run.run_command(*command)


def _resources(process: int | None) -> tuple[int, int]:
    """Resident memory in MB and the number of open files."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024, len(os.listdir(f"/proc/{process}/fd"))  # type: ignore[index]


def _clear(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    run.with_name(run.name + ".log").unlink(missing_ok=True)


def tally(name: str, outcomes: Iterator[Outcome], most: int, seconds: float) -> dict[str, Any]:
    """One row of the record: how often a class of faults was tried and survived, and each failure."""
    started, tried, failed = time.monotonic(), 0, []
    for what, wrong in outcomes:
        wrong = wrong and re.sub(r"/\S*/(?=(killed|terminated|whole|full)\b)", "", wrong)  # the temporary folder
        tried += 1
        failed += [f"{what}: {wrong}"] if wrong else []
        print(f"{name} {tried}: {what}: {wrong or 'survived'}", flush=True)
        if tried >= most or time.monotonic() - started > seconds:
            break
    return {"class": name, "tried": tried, "survived": tried - len(failed), "failed": failed}


def evaluation_kills(kills: int) -> dict[str, Any]:
    """The row of benchmarks/eval_kill.py, which kills evaluations with several samples per problem."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kills.json"
        command = [sys.executable, str(ROOT / "benchmarks/eval_kill.py"), "--kills", str(kills), "--json", str(out)]
        subprocess.run(command, cwd=ROOT)  # its status says whether all rows were the same
        found = read_json(out)
    return {
        "class": "SIGKILL of an evaluation with up to 32 samples per problem",
        "tried": found["kills"],
        "survived": found["same_rows"],
        "failed": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="kills of each kind")
    parser.add_argument("--seconds", type=float, default=2400, help="time for everything but evaluations and fuzzing")
    parser.add_argument(
        "--only", default="", help="only the classes with this in their name; the record keeps the rest"
    )
    parser.add_argument("--page", action="store_true", help="only write docs/reliability.md from the record")
    args = parser.parse_args()
    rows = {row["class"]: row for row in read_json(RECORD)} if RECORD.exists() else {}
    for row in [] if args.page else measured(args.kills, args.seconds / 8, args.only):
        rows[row["class"]] = row
        write_json(RECORD, list(rows.values()))  # after each class
    PAGE.write_text(page(PAGE.read_text(), list(rows.values())))


def measured(kills: int, share: float, only: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the chosen classes; each is tried for its share of the time."""
    guided = subprocess.Popen(GUIDED, cwd=ROOT) if only in "coverage-guided fuzzing" else None  # beside the others
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(Path(folder), seed=0)
        for name, outcomes, most, shares in (
            ("SIGKILL of a training run", faults.kills(), kills, 2),
            ("SIGTERM of a training run", faults.terminations(), kills, 1),
            ("a damaged file of the newest checkpoint", faults.damage("checkpoint-6"), 10**6, 2),
            ("a damaged file of the run folder", faults.damage(""), 10**6, 1),
            ("a full disk", faults.full_disks(), kills, 1),
        ):
            if only in name:
                yield tally(name, outcomes, most, shares * share)
        if only in "a soak":
            yield {"class": "a soak"} | faults.soak(share)
    if only in "SIGKILL of an evaluation":
        yield evaluation_kills(kills)
    if only in "fuzzing":
        yield fuzzing(EXAMPLES)
    if guided is not None and guided.wait() == 0:
        yield guided_fuzzing()


def guided_fuzzing() -> dict[str, Any]:
    """The row of benchmarks/guided_fuzzing.py."""
    found = read_json(GUIDED_RECORD)
    examples, minutes = sum(row["examples"] for row in found["tests"]), found["seconds"] // 60
    failed = [f"{row['test']}: {row['failure']}" for row in found["tests"] if row["failure"]]
    return {
        "class": "coverage-guided fuzzing of the same",
        "said": f"{examples:,} examples in {minutes} minutes",
        "tried": len(found["tests"]),
        "survived": len(found["tests"]) - len(failed),
        "failed": failed,
    }


def fuzzing(examples: int) -> dict[str, Any]:
    """The row of the fuzzing tests with that many examples per test."""
    files = [str(path) for path in sorted((ROOT / "tests/faults").glob("test_fuzz*.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-rf", *files]
    environment = os.environ | {"RLFR_FUZZ_EXAMPLES": str(examples)}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    passed, failed = (
        int((re.search(r"(\d+) passed", said) or [0, 0])[1]),
        re.findall(r"^FAILED (.*)", said, re.MULTILINE),
    )
    return {
        "class": f"fuzzing of readers, importers, exporters and settings, {examples:,} examples each",
        "tried": passed + len(failed),
        "survived": passed,
        "failed": failed,
    }


def page(text: str, rows: list[dict[str, Any]]) -> str:
    """The text of docs/reliability.md with what stands between its two marks made from the record."""
    counted = [row for row in rows if "tried" in row]
    lines = ["| class | tried | survived |", "|---|---|---|"]
    for row in counted:
        name = f"{row['class']}, {row['said']}" if "said" in row else row["class"]
        lines.append(f"| {name} | {row['tried']} | {row['survived']} |")
    failures = [f"- {row['class']}: {failure}" for row in counted for failure in row["failed"]]
    lines += ["", "Not survived:", "", *failures] if failures else []
    for soak in (row for row in rows if "steps" in row):
        (early, late), (before, after) = soak["memory_mb"], soak["open_files"]
        lines += [
            "",
            f"A soak of {soak['steps']:,} steps took {soak['seconds']:,} s. Resident memory was {early:,} MB after a "
            f"quarter of the time and {late:,} MB at the end, open files were {before} and {after}, and the log has "
            f"{soak['log_bytes']:,} bytes.",
        ]
    head, _, rest = text.partition("<!-- record -->\n")
    return (
        head
        + "<!-- record -->\n"
        + "\n".join(lines)
        + "\n<!-- end of record -->"
        + rest.partition("<!-- end of record -->")[2]
    )


if __name__ == "__main__":
    main()
