"""Worker processes that grade responses under deadlines, since a response may hang a parser or use up the memory.

- A worker is a Python interpreter of its own that exchanges JSON lines over pipes. It therefore also works under daemon
  processes and in notebooks, needs no importable `__main__`, and ends with its parent, because its input closes.
- A deadline is CPU time, so that a busy machine turns no answer into a time-out. The operating system ends a worker
  that passes it, whatever Python is doing at that moment, and the pool starts another worker for the next item.
- This side waits for nothing without a limit. It ends a worker that is stopped, stands still, or takes far longer than
  the deadline by the clock, also while the worker starts.
"""

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from rlfr_mm.grading.verdict import Verdict

_START = "from rlfr_mm.grading.worker import main; main()"
_CHUNK = 16  # requests sent to a worker at once, so that it does not wait for us between them
_MOST_REMEMBERED = 8192
_PIPE = 1 << 16
_TICK_S = 0.2
# How long a worker may make no progress. A stopped one gets a moment, since Ctrl-Z and fg reach us and it in any order.
_STOPPED_S, _STANDSTILL_S, _START_UP_S = 1.0, 20.0, 120.0


class _Lost(Exception):
    """A worker ended or was ended. `by_item`: the item it worked on is the reason, so that it is not worth a retry."""

    def __init__(self, reason: str, by_item: bool = False) -> None:
        super().__init__(reason)
        self.by_item = by_item


class _Watch:
    """Watches a worker from outside while it owes a message."""

    def __init__(self, pid: int, limit_s: float) -> None:
        self.pid, self.limit_s, self.cpu = pid, limit_s, -1
        self.restart()

    def restart(self) -> None:
        self.since = self.moved = time.monotonic()

    def check(self) -> None:
        """Raise _Lost if the worker is stopped, has used no CPU time for long, or is past the limit."""
        now = time.monotonic()
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        cpu = int(fields[11]) + int(fields[12])  # clock ticks in user and in system mode
        if cpu != self.cpu:
            self.cpu, self.moved = cpu, now
        if now - self.since > self.limit_s:
            raise _Lost(f"took longer than {self.limit_s:g} s by the clock", by_item=True)
        if fields[0] in "Tt" and now - self.moved > _STOPPED_S:
            raise _Lost("stopped by a signal")
        if now - self.moved > _STANDSTILL_S:
            raise _Lost(f"stood still for {_STANDSTILL_S:g} s")


class _Worker:
    def __init__(self) -> None:
        # The worker gets this process's import path, so that it finds the package from any working directory.
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {_START}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.requests, self.replies, self.alive = self.process.stdin, self.process.stdout, True
        for pipe in (self.requests, self.replies):
            os.set_blocking(pipe.fileno(), False)
        try:
            next(self._messages(b"", _START_UP_S))
        except BaseException:
            self.end()
            raise

    def ask(self, requests: Sequence[bytes], deadline_s: float) -> tuple[list[Verdict], Verdict, _Lost | None]:
        """The verdicts that it gave, the one to give on the next item if that gets no other, and what ended the worker.

        Raises RuntimeError if the parsers are broken.
        """
        verdicts, pending = list[Verdict](), Verdict("timeout", 0.0, None, "not found")
        sending = b"".join(b"%r %b\n" % (deadline_s, request) for request in requests)
        try:
            # Generous, because on a crowded machine a second of CPU time takes many seconds.
            for kind, content in self._messages(sending, max(60.0, 20 * deadline_s)):
                if kind == "broken":
                    raise RuntimeError(f"the answer parsers are broken: {content}")
                # a span is a tuple here and a list in JSON
                fields: dict[str, Any] = {
                    name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
                }
                if kind == "pending":
                    pending = Verdict(**fields)
                    continue
                verdicts.append(Verdict(**fields))
                pending = Verdict("timeout", 0.0, None, "not found")
                if len(verdicts) == len(requests):
                    break
        except _Lost as lost:
            late = _Lost(f"took longer than {deadline_s:g} s of CPU time", by_item=True)
            return verdicts, pending, late if self.process.returncode == -signal.SIGPROF else lost
        return verdicts, pending, None

    def _messages(self, sending: bytes, limit_s: float) -> Iterator[tuple[str, Any]]:
        """Send, and yield the messages that come meanwhile and afterwards. Raises _Lost after ending the worker."""
        unsent, received = memoryview(sending), b""
        poll, watch = select.poll(), _Watch(self.process.pid, limit_s)
        poll.register(self.replies, select.POLLIN)
        if unsent:
            poll.register(self.requests, select.POLLOUT)
        while True:
            ready = dict(poll.poll(_TICK_S * 1000))
            if unsent and self.requests.fileno() in ready:
                try:
                    unsent = unsent[os.write(self.requests.fileno(), unsent[:_PIPE]) :]
                except BrokenPipeError:
                    unsent = unsent[:0]
                if not unsent:
                    poll.unregister(self.requests)
            if self.replies.fileno() in ready:
                read = os.read(self.replies.fileno(), _PIPE)
                if not read:
                    self.end(grace_s=1.0)
                    raise _Lost(f"lost its worker (status {self.process.returncode})")
                *lines, received = (received + read).split(b"\n")
                for line in lines:
                    watch.restart()
                    yield json.loads(line)
                continue
            try:
                watch.check()
            except _Lost:
                self.end()
                raise

    def end(self, grace_s: float = 0.0) -> None:
        """End the process and close its pipes. A frozen process dies only when it thaws; nobody waits for that."""
        self.alive = False
        for patience_s in (grace_s, 1.0):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
                break
            self.process.kill()
        self.requests.close()
        self.replies.close()


class _Pool:
    """Workers that start when first needed, at most one per core. Safe to use from any thread."""

    def __init__(self) -> None:
        self.idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self.workers: set[_Worker] = set()
        self.slots = threading.BoundedSemaphore(available_cores())

    def ask(self, requests: Sequence[bytes], deadline_s: float) -> list[Verdict]:
        verdicts: list[Verdict] = []
        tried = False  # whether the next item has already lost a worker through no fault of its own
        while len(verdicts) < len(requests):
            with self.slots:
                worker = self._idle_or_new()
                try:
                    given, pending, lost = worker.ask(requests[len(verdicts) :], deadline_s)
                except BaseException:  # such as Ctrl-C: replies left unread must not answer the next question
                    worker.end()
                    raise
                finally:
                    if worker.alive:
                        self.idle.put(worker)
                    else:
                        self.workers.discard(worker)
            verdicts += given
            tried = tried and not given
            if lost is not None and (lost.by_item or tried):
                verdicts.append(replace(pending, detail=str(lost)))
                tried = False
            elif lost is not None:
                tried = True
        return verdicts

    def _idle_or_new(self) -> _Worker:
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self.idle.get_nowait()
                if worker.process.poll() is None:
                    return worker
                worker.end()
                self.workers.discard(worker)
        try:
            worker = _Worker()
        except _Lost:  # once more: something may have stopped or ended it
            try:
                worker = _Worker()
            except _Lost as lost:
                raise RuntimeError(f"the answer parsers are broken: a worker process did not start ({lost})") from None
        self.workers.add(worker)
        return worker

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


def available_cores() -> int:
    """The number of cores for the work of this process.

    A scheduler may grant fewer cores than the machine has, and the processes of one launcher share those of a machine.
    """
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


_pool = _Pool()
_remembered: dict[bytes, Verdict] = {}


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
atexit.register(lambda: _pool.end())


def verdicts_on(requests: Sequence[bytes], deadline_s: float, workers: int | None = None) -> list[Verdict]:
    """The verdict on each request (`grade` writes them, `worker` reads them), in order; workers run in parallel.

    Verdicts are cached, since short responses repeat and many scorers have one rule for both of theirs; failures are
    not. An item that loses its worker through no fault of its own is tried once more. Raises RuntimeError if the
    parsers are broken or no worker starts.
    """
    keys = [blake2b(request, digest_size=16).digest() for request in requests]
    verdicts = {key: _remembered[key] for key in keys if key in _remembered}
    new = {key: request for key, request in zip(keys, requests, strict=True) if key not in verdicts}
    waiting = list(new.values())
    size = max(1, min(_CHUNK, len(waiting) // (workers or available_cores())))
    chunks = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    if len(chunks) < 2:
        given = [_pool.ask(chunk, deadline_s) for chunk in chunks]
    else:
        with ThreadPoolExecutor(max_workers=workers or available_cores()) as threads:
            given = list(threads.map(lambda chunk: _pool.ask(chunk, deadline_s), chunks))
    if len(_remembered) > _MOST_REMEMBERED:
        _remembered.clear()
    for key, verdict in zip(new, (verdict for chunk in given for verdict in chunk), strict=True):
        verdicts[key] = verdict
        if not verdict.unscored:
            _remembered[key] = verdict
    return [verdicts[key] for key in keys]
