import itertools
import json
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
from rlfr_mm.grading.worker import MEMORY_LIMIT

TOWER = "9^{9^{9^{9}}}"
NUMBERS = itertools.count(2)


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


def signal_workers(number: int) -> None:
    for worker in list(pool._pool.workers):
        os.kill(worker.process.pid, number)


def new_items(count: int) -> list[Item]:
    """Items that no test has graded before, which only a parser finds correct."""
    return [Item(f"\\boxed{{x+{n}y}}", f"{n}y+x") for n in itertools.islice(NUMBERS, count)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_idle_worker_that_is_killed_or_stopped_is_replaced(number):
    self_test()
    signal_workers(number)
    time.sleep(0.1)
    start = time.monotonic()
    assert all(verdict.correct for verdict in grade_all(new_items(4)))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_item_whose_worker_is_killed_or_stopped_is_graded_by_another(number):
    self_test()
    # the time-out ends one worker more, after the signal, and must not be taken for a second loss of the others
    items = [Item(f"\\boxed{{{TOWER}}}", "8^8"), *new_items(40)]
    with ThreadPoolExecutor(1) as thread:
        verdicts = thread.submit(grade_all, items, deadline_s=2.0)
        time.sleep(0.5)
        signal_workers(number)
    assert [verdict.status for verdict in verdicts.result()] == ["timeout", *["correct"] * 40]


def test_an_item_that_loses_its_worker_again_gets_timeout_and_says_so():
    self_test()
    with ThreadPoolExecutor(1) as thread:
        lost = thread.submit(grade, Item(f"\\boxed{{{TOWER}}}", "9^8"), deadline_s=60.0)
        while not lost.done():
            time.sleep(0.5)
            signal_workers(signal.SIGKILL)
    assert lost.result().status == "timeout" and "status -9" in lost.result().detail


def test_a_worker_that_is_stopped_while_it_starts_is_an_error_and_not_a_hang(monkeypatch):
    monkeypatch.setattr(pool, "_pool", pool._Pool())
    monkeypatch.setattr(pool, "_START", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"did not start.*stopped"):
        grade_all(new_items(1))
    assert time.monotonic() - start < 15


def test_the_deadline_is_cpu_time():
    grade_all(new_items(2 * pool.available_cores()))  # the parsers are loaded
    done = threading.Event()

    def slow_down() -> None:  # as a busy machine does: a little time for the workers, then none for a while
        while not done.wait(0.01):
            signal_workers(signal.SIGSTOP)
            time.sleep(0.2)
            signal_workers(signal.SIGCONT)

    thread = threading.Thread(target=slow_down)
    thread.start()
    start = time.monotonic()
    try:
        verdicts = grade_all(new_items(12), deadline_s=0.3)
    finally:
        done.set()
        thread.join()
    assert time.monotonic() - start > 0.3
    assert [verdict.status for verdict in verdicts] == ["correct"] * 12


def test_finding_the_answer_is_under_the_deadline_too():
    verdict = grade(Item("the answer is " * 10_000, "7"), deadline_s=0.001)
    assert verdict.status == "timeout" and verdict.extracted is None and "CPU time" in verdict.detail


def test_a_parent_that_blocks_or_ignores_the_signal_still_has_deadlines():
    code = (
        "import signal\n"
        "signal.signal(signal.SIGPROF, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])\n"
        "from rlfr_mm.grading import Item, grade\n"
        f"print(grade(Item('\\\\boxed{{{TOWER}}}', '8^8'), deadline_s=1.0).status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "timeout", done.stderr


def test_a_worker_at_work_ends_with_its_deadline_if_its_parent_is_killed():
    code = (
        "import os, signal, threading, time\n"
        "from rlfr_mm.grading import Item, grade, pool, self_test\n"
        "self_test()\n"
        f"item = Item('\\\\boxed{{{TOWER}}}', '8^8')\n"
        "threading.Thread(target=grade, args=(item,), kwargs={'deadline_s': 2.0}).start()\n"
        "time.sleep(0.5)\n"
        "print(*[worker.process.pid for worker in pool._pool.workers], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    workers = [int(pid) for pid in done.stdout.split()]
    assert workers and wait_until(lambda: all(map(gone, workers)))


def test_a_time_out_is_not_remembered():
    item = Item(f"\\boxed{{{TOWER}}}", "7^6")
    assert grade(item, deadline_s=0.3).detail == "took longer than 0.3 s of CPU time"
    assert grade(item, deadline_s=0.4).detail == "took longer than 0.4 s of CPU time"


def test_equal_items_are_graded_once():
    verdicts = grade_all([Item(f"\\boxed{{{TOWER}}}", "7^5")] * 50, deadline_s=0.5)
    assert {verdict.status for verdict in verdicts} == {"timeout"}


def test_a_response_of_lone_surrogates_and_a_record_with_any_meta_reach_the_worker():
    meta = {"precision": (0.1, 0.2), "when": time.gmtime(0), "array": {1, 2}}
    assert grade(Item("\\boxed{7} \udcff", "7", meta={**meta, "precision": None})).correct


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


def test_simple_answers_load_no_parser():
    code = (
        "import json\n"
        "from rlfr_mm.grading import Item, grade, pool\n"
        "items = [Item('<answer>1,000</answer>', '1000'), Item('(B)', 'B'), Item('50%', '50'), Item('', '1')]\n"
        "statuses = [grade(item).status for item in items]\n"
        "(worker,) = pool._pool.workers\n"
        "pages = int(open(f'/proc/{worker.process.pid}/statm').read().split()[1])\n"
        "print(json.dumps([statuses, pages * 4096]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    statuses, size = json.loads(done.stdout)
    assert statuses == ["correct", "correct", "correct", "no_answer"]
    assert size < 45e6  # bytes; with sympy it is over 80 MB


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


def test_a_worker_that_does_not_start_is_an_error(monkeypatch):
    fresh = pool._Pool()
    monkeypatch.setattr(pool, "_pool", fresh)
    monkeypatch.setattr(pool, "_START", "raise SystemExit(1)")
    with pytest.raises(RuntimeError, match=r"parsers are broken.*status 1"):
        grade_all(new_items(1))
    assert not fresh.workers


def test_broken_parsers_are_an_error_and_no_verdict(tmp_path):
    (tmp_path / "antlr4.py").write_text("raise ImportError('another antlr runtime')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from rlfr_mm.grading import Item, grade, self_test\n"
        "print(grade(Item('\\\\boxed{7}', '7')).status)\n"
        "self_test()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "correct"
    assert "RuntimeError: the answer parsers are broken: another antlr runtime" in done.stderr


def test_an_interrupted_question_does_not_shift_the_answers_of_the_next():
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(Interrupted):
            grade(Item(f"\\boxed{{{TOWER}}}", "6^6"), deadline_s=60.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [verdict.status for verdict in grade_all([*new_items(1), Item("\\boxed{w+1}", "w+2")])] == [
        "correct",
        "wrong",
    ]


def test_no_thread_is_left_behind():
    before = threading.active_count()
    grade_all([Item("\\boxed{\\sqrt{32}}", "4\\sqrt{2}")])
    assert threading.active_count() == before
