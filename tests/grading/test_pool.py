import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlfr_mm.grading import Item, grade, grade_all, pool, self_test
from rlfr_mm.grading.pool import Job, JobTimeout, decide, decide_all
from rlfr_mm.grading.worker import MEMORY_LIMIT

TOWER = "9^{9^{9^{9}}}"


def gone(pid: int) -> bool:
    """No such process, or only its entry left for a parent to collect."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_a_tower_of_powers_times_out_and_the_others_get_their_verdicts():
    items = [
        Item("\\boxed{\\frac{2}{4}}", "\\frac{1}{2}"),
        Item(f"\\boxed{{{TOWER}}}", "7^7"),
        Item("\\boxed{(x+1)^2}", "x^2+2x+1"),
        Item("\\boxed{x+1}", "x+2"),
    ]
    verdicts = grade_all(items, deadline_s=1.0)
    assert [verdict.status for verdict in verdicts] == ["correct", "timeout", "correct", "wrong"]
    assert "1 s" in verdicts[1].detail


def test_an_idle_worker_that_dies_is_replaced():
    assert decide(Job("symbolic", "x+1", "1+x"), 5.0)
    for worker in pool._pool.workers:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    assert decide_all([Job("symbolic", "y+1", "1+y"), Job("symbolic", "y+1", "2+y")], 5.0) == {
        Job("symbolic", "y+1", "1+y"): True,
        Job("symbolic", "y+1", "2+y"): False,
    }


def test_an_item_whose_worker_is_killed_gets_timeout_and_says_so():
    self_test()
    with ThreadPoolExecutor(1) as thread:
        lost = thread.submit(grade, Item(f"\\boxed{{{TOWER}}}", "8^8"), deadline_s=60.0)
        time.sleep(0.5)
        for worker in pool._pool.workers:
            os.kill(worker.process.pid, signal.SIGKILL)
        verdict = lost.result()
    assert verdict.status == "timeout" and "status -9" in verdict.detail
    assert grade(Item("\\boxed{\\sqrt{50}}", "5\\sqrt{2}")).correct


def test_a_failed_comparison_is_not_remembered():
    job = Job("symbolic", "7^7", TOWER)
    for _ in range(2):
        with pytest.raises(JobTimeout):
            decide(job, 0.5)


def test_the_memory_of_a_worker_is_bounded():
    self_test()
    for worker in pool._pool.workers:
        soft, _ = resource.prlimit(worker.process.pid, resource.RLIMIT_AS)
        assert soft == MEMORY_LIMIT


def test_many_threads_share_the_workers_and_get_their_own_verdicts():
    # math-verify's own time-outs would fail off the main thread
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(
            threads.map(lambda i: grade(Item(f"\\boxed{{\\frac{{{i}}}{{7}}}}", f"\\frac{{{2 * i}}}{{14}}")), range(24))
        )
    assert all(verdict.correct for verdict in verdicts)
    assert len(pool._pool.workers) <= pool.available_cores()


def test_simple_answers_start_no_worker():
    code = (
        "from rlfr_mm.grading import Item, grade, pool\n"
        "items = [Item('<answer>1,000</answer>', '1000'), Item('(B)', 'B'), Item('50%', '50'), Item('', '1')]\n"
        "print([grade(item).status for item in items], len(pool._pool.workers))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['correct', 'correct', 'correct', 'no_answer'] 0"


def _grade_in_child(connection) -> None:
    connection.send(grade(Item("\\boxed{\\sqrt{8}}", "2\\sqrt{2}")).status)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemon_child_grades_with_workers_of_its_own(method):
    self_test()  # the parent has workers already
    ours, theirs = multiprocessing.get_context(method).Pipe()
    child = multiprocessing.get_context(method).Process(target=_grade_in_child, args=(theirs,), daemon=True)
    child.start()
    assert ours.poll(60) and ours.recv() == "correct"
    child.join()
    assert grade(Item("\\boxed{\\sqrt{18}}", "3\\sqrt{2}")).correct


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_no_worker_outlives_its_parent(end):
    code = (
        "import os, signal, sys, threading\n"
        "from rlfr_mm.grading import pool, self_test\n"
        "self_test()\n"
        "print(*[worker.process.pid for worker in pool._pool.workers], flush=True)\n"
        + ("os.kill(os.getpid(), signal.SIGKILL)" if end == "kill" else "")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    workers = [int(pid) for pid in done.stdout.split()]
    assert workers
    assert wait_until(lambda: all(map(gone, workers)))


def test_a_broken_parser_stack_fails_loudly(monkeypatch):
    fresh = pool._Pool()
    monkeypatch.setattr(pool, "_pool", fresh)
    monkeypatch.setattr(pool.sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(pool, "_START", "raise SystemExit(1)")
    with pytest.raises(RuntimeError, match="parsers are broken"):
        decide(Job("symbolic", "broken", "stack"), 5.0)
    assert not fresh.workers


def test_an_interrupted_question_does_not_shift_the_answers_of_the_next():
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(Interrupted):
            decide(Job("symbolic", "6^6", TOWER), 60.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    jobs = [Job("symbolic", "w+1", "1+w"), Job("symbolic", "w+1", "2+w")]
    assert list(decide_all(jobs, 5.0).values()) == [True, False]


def test_decisions_of_equal_jobs_are_asked_for_once():
    jobs = [Job("symbolic", "z+1", "1+z")] * 50
    assert decide_all(jobs, 5.0) == {jobs[0]: True}


def test_no_thread_is_left_behind():
    before = threading.active_count()
    grade_all([Item("\\boxed{\\sqrt{32}}", "4\\sqrt{2}")])
    assert threading.active_count() == before
