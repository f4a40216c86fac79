"""How a run is stopped from outside: SIGTERM and SIGUSR1 ask for a checkpoint first, Ctrl-C ends at once.

Schedulers send SIGTERM before they kill a job; SLURM sends any signal some time before (`--signal=USR1@300`).
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback

STOPPED = 75  # exit status after SIGTERM or SIGUSR1: EX_TEMPFAIL, try again; the same command with --resume goes on
INTERRUPTED = 130  # exit status after Ctrl-C
AGAIN = 5.0  # seconds after which a signal that has not ended the process does so again


class StopSignals:
    """What the signals have asked of this process since `taken` began.

    Where steps are taken (`at_steps`), a signal waits until the processes agree on it at a step boundary; everywhere
    else it ends the process at once, with exit status `STOPPED` and one line that says how to continue. Libraries
    swallow the exception that does so where they catch everything (`datasets` does while it hashes the arguments of a
    transform), so that it is raised again after `AGAIN` seconds.
    """

    def __init__(self, how_to_continue: str, say: bool = True):
        self.how_to_continue, self.say = how_to_continue, say  # `say` on one process only
        self.name: str | None = None  # of the signal that has arrived
        self._interrupted = False
        self._cause: str | None = None  # of the end of this process
        self._waits = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the signals while the body runs; Ctrl-C in the body becomes one line and exit status `INTERRUPTED`."""
        if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
            yield
            return
        numbers = [signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else Ctrl-C is ignored, as in `nohup ... &`
            numbers.append(signal.SIGINT)
        before = {number: signal.signal(number, self._arrive) for number in numbers}
        try:
            yield
        except KeyboardInterrupt:
            self._tell("interrupted")
            raise SystemExit(INTERRUPTED) from None
        except SystemExit:
            if self._cause is not None:
                self._tell(self._cause)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_steps(self, stage: str) -> Iterator[None]:
        """Let signals wait for `agreed` while the body runs, or for the end of the body, which `stage` names."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        if self.name is not None:
            self.end(f" after {stage}")

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether a signal has arrived at any process, all of which must ask, after the same step."""
        arrived = torch.tensor(float(self.name is not None), device=accelerator.device)
        return bool(accelerator.reduce(arrived, "sum").item() > 0)

    def end(self, saved: str = "") -> None:
        """End this process; `saved` says what was saved just before."""
        self._cause = f"stopped by {self.name or 'a signal to another process'}{saved}"
        raise SystemExit(STOPPED)

    def _tell(self, cause: str) -> None:
        """Say what ended the run, after progress bars have closed, on a line of its own: a print may be unfinished."""
        if self.say:
            print(f"\n{cause}; {self.how_to_continue}", file=sys.stderr, flush=True)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._interrupted = True
        elif number != signal.SIGALRM:
            self.name = signal.Signals(number).name
        if self._interrupted or not self._waits:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if self._interrupted:
            raise KeyboardInterrupt
        if not self._waits:
            self.end()


class StopAtCheckpoint(TrainerCallback):
    """Ends the process after a checkpoint at the first step at which a signal has been agreed on.

    Checkpoints lie between two batches of rollouts, `steps_per_batch` policy steps apart, where a run resumes exactly.
    """

    def __init__(self, stop: StopSignals, accelerator: Accelerator, steps_per_batch: float):
        self.stop, self.accelerator, self.steps_per_batch = stop, accelerator, steps_per_batch
        self.stopping = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps_per_batch == 0 and self.stop.agreed(self.accelerator):
            self.stopping = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stopping:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.stop.end(f" after step {state.global_step}, which is saved in {checkpoint}")
