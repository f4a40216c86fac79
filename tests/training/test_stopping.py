"""When signals end a process, when they wait, and what is said."""

import contextlib
import os
import signal
import threading
import time

import pytest
from accelerate import Accelerator

from rlfr_mm.training import stopping
from rlfr_mm.training.stopping import INTERRUPTED, STOPPED, StopSignals


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_waits_for_the_end_of_a_stage_and_is_agreed_on_at_its_steps(capfd: pytest.CaptureFixture):
    stop, seen = StopSignals("go on with --resume"), []
    with pytest.raises(SystemExit) as stopped, stop.taken(), stop.at_steps("the last step"):
        for _ in range(2):
            seen.append(stop.agreed(Accelerator(cpu=True)))
            _send(signal.SIGUSR1)
    assert seen == [False, True] and stopped.value.code == STOPPED
    assert capfd.readouterr().err == "\nstopped by SIGUSR1 after the last step; go on with --resume\n"


def test_an_error_in_a_stage_is_not_hidden_by_a_signal():
    stop = StopSignals("")
    with pytest.raises(KeyError), stop.taken(), stop.at_steps("the last step"):
        _send(signal.SIGTERM)
        raise KeyError


def test_outside_of_stages_a_signal_ends_the_process_at_once(capfd: pytest.CaptureFixture):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped, StopSignals("go on").taken():
        _send(signal.SIGTERM)
        pytest.fail("the signal was ignored")
    assert stopped.value.code == STOPPED and signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(SystemExit) as stopped, StopSignals("go on", say=False).taken():
        _send(signal.SIGINT)
    assert stopped.value.code == INTERRUPTED
    assert capfd.readouterr().err == "\nstopped by SIGTERM; go on\n"  # the other process says nothing


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, STOPPED), (signal.SIGINT, INTERRUPTED)])
def test_a_signal_that_a_library_swallows_ends_the_process_a_little_later(
    number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stopping, "AGAIN", 0.1)
    with pytest.raises(SystemExit) as stopped, StopSignals("go on").taken():
        with contextlib.suppress(BaseException):
            _send(number)
            pytest.fail("the signal was ignored")
        time.sleep(10)
        pytest.fail("the signal was forgotten")
    assert stopped.value.code == status
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_run_in_another_thread_leaves_the_signals_alone():
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopSignals("").taken():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
