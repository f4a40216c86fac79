"""Worker processes with a hard deadline, for comparisons that may hang or use up the memory.

- A worker is a Python interpreter of its own that exchanges JSON lines over pipes. It therefore also works under daemon
  processes and in notebooks, needs no importable `__main__`, and ends with its parent, because its input closes.
- If a comparison passes its deadline, the operating system ends the worker, whatever Python is doing at that moment.
  The pool starts another worker for the next item.
"""

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

Outcome = bool | Exception
_START = "from rlfr_mm.grading.worker import main; main()"
_CHUNK = 16  # jobs sent to a worker at once, so that it does not wait for us between them
_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class Job:
    """One comparison for a worker: a name in `comparisons.COMPARISONS`, the gold answer and the answer found."""

    comparison: str
    gold: str
    answer: str
    tolerance: tuple[float, ...] = ()


class JobTimeout(Exception):
    """The comparison has no outcome: it passed its deadline, or something else ended its worker."""


class JobError(Exception):
    """The comparison raised an exception, for instance because it ran out of memory."""


class _Worker:
    def __init__(self) -> None:
        # The worker gets this process's import path, so that it finds the package from any working directory.
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {_START}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.requests, self.replies = self.process.stdin, self.process.stdout
        hello = json.loads(self.replies.readline() or '{"error": "the worker process did not start"}')
        if "error" in hello:
            self.stop()
            raise RuntimeError(f"the answer parsers are broken: {hello['error']}")

    def ask(self, jobs: Sequence[Job], deadline_s: float) -> list[Outcome]:
        """The outcomes of the jobs, up to and including the job that ends this worker, if one does."""
        # A worker that was killed while idle has closed its pipe; reading from it below handles both cases.
        with contextlib.suppress(BrokenPipeError):
            for job in jobs:
                self.requests.write(json.dumps({**asdict(job), "deadline_s": deadline_s}).encode() + b"\n")
            self.requests.flush()
        outcomes: list[Outcome] = []
        for job in jobs:
            line = self.replies.readline()
            if not line:
                status = self.process.wait()
                late = f"took longer than {deadline_s:g} s"
                reason = late if status == -signal.SIGALRM else f"lost its worker (status {status})"
                return [*outcomes, JobTimeout(f"{job.comparison} comparison {reason}")]
            reply = json.loads(line)
            outcomes.append(JobError(reply["error"]) if "error" in reply else reply["equal"])
        return outcomes

    def stop(self) -> None:
        """End the process, if it still runs, and close its pipes."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()
        self.replies.close()


class _Pool:
    """Workers that start when first needed, at most one per core. Safe to use from any thread."""

    def __init__(self) -> None:
        self.idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self.workers: set[_Worker] = set()
        self.slots = threading.BoundedSemaphore(available_cores())

    def ask(self, jobs: Sequence[Job], deadline_s: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(jobs):
            with self.slots:
                worker = self._idle_or_new()
                try:
                    outcomes += worker.ask(jobs[len(outcomes) :], deadline_s)
                except BaseException:  # such as Ctrl-C: replies left unread must not answer the next question
                    worker.stop()
                    raise
                finally:
                    if worker.process.returncode is None:
                        self.idle.put(worker)
                    else:
                        self._forget(worker)
        return outcomes

    def _idle_or_new(self) -> _Worker:
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self.idle.get_nowait()
                if worker.process.poll() is None:
                    return worker
                self._forget(worker)
        worker = _Worker()
        self.workers.add(worker)
        return worker

    def _forget(self, worker: _Worker) -> None:
        self.workers.discard(worker)
        worker.stop()

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


def available_cores() -> int:
    """The number of cores for the work of this process.

    A scheduler may grant fewer cores than the machine has, and the processes of one launcher share those of a machine.
    """
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


_pool = _Pool()
_remembered: dict[Job, bool] = {}


def _start_afresh_in_forked_child() -> None:
    # The child must not talk to its parent's workers, nor keep their pipes open after the parent has ended.
    global _pool
    nothing = os.open(os.devnull, os.O_RDWR)
    for worker in _pool.workers:
        os.dup2(nothing, worker.requests.fileno())
        os.dup2(nothing, worker.replies.fileno())
    os.close(nothing)
    _pool = _Pool()


os.register_at_fork(after_in_child=_start_afresh_in_forked_child)
atexit.register(lambda: _pool.stop())


def decide_all(jobs: Sequence[Job], deadline_s: float, workers: int | None = None) -> dict[Job, Outcome]:
    """The decision on each distinct job, or the exception if it failed; jobs run in parallel.

    Decisions are cached, since answers repeat within a group of rollouts and between the two rules; failures are not.
    Raises RuntimeError if the parsers are broken.
    """
    outcomes: dict[Job, Outcome] = {job: _remembered[job] for job in jobs if job in _remembered}
    new = [job for job in dict.fromkeys(jobs) if job not in outcomes]
    size = max(1, min(_CHUNK, len(new) // (workers or available_cores())))
    chunks = [new[start : start + size] for start in range(0, len(new), size)]
    if len(chunks) < 2:
        asked = [_pool.ask(chunk, deadline_s) for chunk in chunks]
    else:
        with ThreadPoolExecutor(max_workers=workers or available_cores()) as threads:
            asked = list(threads.map(lambda chunk: _pool.ask(chunk, deadline_s), chunks))
    if len(_remembered) > _MOST_REMEMBERED:
        _remembered.clear()
    for job, outcome in zip(new, (outcome for chunk in asked for outcome in chunk), strict=True):
        outcomes[job] = outcome
        if isinstance(outcome, bool):
            _remembered[job] = outcome
    return outcomes


def decide(job: Job, deadline_s: float) -> bool:
    """Whether the answer equals the gold. Raises JobTimeout, JobError, or RuntimeError as `decide_all` does."""
    outcome = decide_all([job], deadline_s)[job]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
