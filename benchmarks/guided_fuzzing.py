"""Coverage-guided fuzzing: libFuzzer mutates what hypothesis draws in tests/faults towards code not yet reached.

pip install atheris
python benchmarks/guided_fuzzing.py --seconds 1800 --json benchmarks/results/guided_fuzzing.json

Each test gets an equal share of the time and a process of its own. The corpus stays in .cache/fuzzing, so that the next
call goes on from it, and hypothesis keeps what failed: `pytest tests/faults` then fails in the same way.
"""

import argparse
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / ".cache/fuzzing"
MODULES = ("tests.faults.test_fuzz", "tests.faults.test_fuzz_evaluations")
SLOWEST = 30  # seconds for one example; more is a hang
sys.path.insert(0, str(ROOT))


def fuzz_one(name: str, seconds: int) -> None:
    """Fuzz one test in this process; never returns."""
    import atheris

    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    with atheris.instrument_imports(include=["rlfr_mm"]):
        found = [getattr(import_module(module), name, None) for module in MODULES]
    (test,) = filter(None, found)
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", "-rss_limit_mb=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *options, f"-artifact_prefix={corpus}-"], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def fuzzed(name: str, seconds: int) -> dict[str, Any]:
    """How many examples of a test were tried, how many ways through the code they found, and what failed."""
    command = [sys.executable, __file__, "--test", name, "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr

    def last(pattern: str) -> int:
        return int((re.findall(pattern, said) or ["0"])[-1])

    failure = re.search(r"Uncaught Python exception: ===\n(.*)", said) or re.search(r"(libFuzzer: .*)", said)
    return {
        "test": name,
        "examples": last(r"number_of_executed_units: (\d+)") or last(r"#(\d+)"),
        "edges": last(r"\bcov: (\d+)"),
        "failure": None if done.returncode == 0 else (failure[1] if failure else said[-300:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1800, help="for all tests together")
    parser.add_argument("--test", help="only this one, with all that libFuzzer prints")
    parser.add_argument("--json", type=Path, help="where the record goes")
    args = parser.parse_args()
    if find_spec("atheris") is None:
        parser.error("atheris is missing: pip install atheris")
    if args.test:
        fuzz_one(args.test, args.seconds)
    from rlfr_mm.files import write_json

    modules = [vars(import_module(module)) for module in MODULES]
    names = [name for module in modules for name, test in module.items() if hasattr(test, "hypothesis")]
    rows = []
    for name in names:
        rows.append(fuzzed(name, args.seconds // len(names)))
        print(rows[-1], flush=True)
    if args.json:
        write_json(args.json, {"seconds": args.seconds, "tests": rows})


if __name__ == "__main__":
    main()
