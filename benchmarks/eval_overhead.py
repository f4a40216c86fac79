"""Measure the overhead of a run over generation alone: data, prompts, journal, grading and results.

python benchmarks/eval_overhead.py [--json OUT] [--note TEXT]

In turn, the back end alone and a whole run answer the same requests in the same batches. The overhead is the median
over rounds of (run - bare) / bare. `outside_generate` is the time that a run spends outside the calls of the back
end, which does not compare two timings and so varies less.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rlfr_mm.eval.engine.backends import Request
from rlfr_mm.eval.engine.harness import build_backend
from rlfr_mm.eval.engine.plan import RunSettings, plan_task
from rlfr_mm.eval.engine.running import evaluate
from rlfr_mm.quickstart.policy import build_policy
from rlfr_mm.tasks import registry


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=200, help="problems")
    parser.add_argument("--max_new_tokens", type=int, default=384)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--note", default="", help="remark about the machine, kept in the record")
    args = parser.parse_args()
    spec = registry.task("rlfr_quickstart")
    settings = RunSettings(limit=args.limit, generation={"max_new_tokens": args.max_new_tokens})
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        policy = build_policy(Path(folder) / "policy")
        backend = build_backend(f"rlfr={policy}", args.batch_size)
        task = plan_task(spec, backend, settings)
        docs = [task.docs[i] for i in range(args.limit)]
        batches = [
            ([Request(s.doc_id, spec.text(docs[s.doc_id]), spec.messages(docs[s.doc_id]), s.seed) for s in batch], seed)
            for _, seed, batch in task.batches(args.batch_size)
        ]
        generate = backend.generate
        generate(spec.name, *batches[0][:1], task.generation, 0)  # the first call compiles and allocates
        for number in range(args.rounds):
            began = time.perf_counter()
            for requests, seed in batches:
                generate(spec.name, requests, task.generation, seed)
            bare = time.perf_counter() - began

            inside = 0.0

            def timed(*arguments):
                nonlocal inside
                began = time.perf_counter()
                outputs = generate(*arguments)
                inside += time.perf_counter() - began
                return outputs

            backend.generate = timed
            began = time.perf_counter()
            found = evaluate(backend, [spec], Path(folder) / f"run{number}", settings, progress=False)
            whole = time.perf_counter() - began
            if found.failures:
                raise SystemExit(f"error: {found.failures[0]}")
            rounds.append({"bare_s": bare, "run_s": whole, "outside_generate": (whole - inside) / inside})
            print({key: round(value, 3) for key, value in rounds[-1].items()}, flush=True)
    overhead = statistics.median((one["run_s"] - one["bare_s"]) / one["bare_s"] for one in rounds)
    outside = statistics.median(one["outside_generate"] for one in rounds)
    summary = {"responses": args.limit, "max_new_tokens": args.max_new_tokens, "batch_size": args.batch_size}
    summary |= {"note": args.note} if args.note else {}
    summary |= {"overhead": round(overhead, 4), "outside_generate": round(outside, 4), "rounds": rounds}
    print(f"overhead {overhead:.1%}, outside of generation {outside:.1%}")
    if args.json:
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if overhead < 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
