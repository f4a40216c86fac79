"""Every private name of another package that we use is on a list, and the package has an upper bound."""

import ast
import importlib
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

import rlfr_mm
from tests.conftest import ROOT

# By distribution: what of its private parts we use. A new name needs a reason in review, and a bound in pyproject.toml.
ALLOWED = {
    "transformers": {
        "_determine_best_metric",
        "_finish_current_push",
        "_get_grad_norm",
        "_get_num_multimodal_tokens",
        "_get_output_dir",
        "_load_best_model",
        "_load_from_checkpoint",
        "_load_optimizer_and_scheduler",
        "_push_from_checkpoint",
        "_run_epoch",
        "_save_checkpoint",
    },
    "trl": {
        "_calculate_rewards",
        "_compute_loss",
        "_generate",
        "_generate_and_score_completions",
        "_generate_single_turn",
        "_get_per_token_logps_and_entropies",
        "_get_train_sampler",
        "_is_vlm",
        "_logs",
        "_metrics",
        "_tokenize_prompts",
        "_tokenizer",
    },
    "latex2sympy2_extended": {"latex2sympy2_extended.latex2sympy2._Latex2Sympy"},
    "antlr4-python3-runtime": {"_interp"},
    "sympy": {"sympy.parsing.latex._parse_latex_antlr"},
}
# Benchmarks are not installed: flow_memory.py counts live bytes, verdict_pool.py times lmms-eval's own scorer.
IN_BENCHMARKS = {
    "torch.utils._python_dispatch.TorchDispatchMode",
    "torch.utils._pytree.tree_map_only",
    "_cdata",
    "lmms_eval.tasks._task_utils.reasoning_utils.compute_score",
}
# What lmms-eval 0.7.3 imports of other packages' private parts (read in its evaluator and its model classes).
LMMS_EVAL = {"filelock": "filelock._api", "datasets": "datasets.utils._filelock"}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _sources() -> Iterator[Path]:
    for folder in ("rlfr_mm", "tasks", "eval", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _private_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Of one file: the private names it uses (imports in full, attributes by name), and those it defines."""
    used, defined = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) and not node.level else ""
            names = {module + alias.name for alias in node.names}
            used |= {name for name in names if any(map(_is_private, name.split(".")))}
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and _is_private(node.name):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and _is_private(node.id):
            defined.add(node.id)
    return used, defined


def _overridden() -> set[str]:
    """Private names that our classes define over a base class of another package."""
    found = set()
    for info in pkgutil.walk_packages(rlfr_mm.__path__, "rlfr_mm."):
        for _, kind in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
            foreign = [
                base
                for base in kind.__mro__
                if base.__module__.split(".")[0] not in {"rlfr_mm", *sys.stdlib_module_names}
            ]
            if kind.__module__.startswith("rlfr_mm"):
                found |= {name for name in vars(kind) if _is_private(name) and any(hasattr(b, name) for b in foreign)}
    return found


def test_uses_of_other_packages_private_names_are_listed():
    foreign, ours = set(), set()
    for path in _sources():
        used, defined = _private_names(ast.parse(path.read_text()))
        foreign, ours = foreign | used - defined, ours | defined
    standard_library = {"_exit", "_actions"}  # os, argparse
    overridden = _overridden() & ours  # what pydantic and abc generate is written in no file
    documented = {"_version"}  # of a tensor, in torch's notes on in-place operations
    assert foreign - standard_library - documented | overridden == IN_BENCHMARKS.union(*ALLOWED.values())


def test_packages_whose_private_names_are_used_are_bounded_above():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = {item.name: item.specifier for item in map(Requirement, project["dependencies"])}
    for name in {*ALLOWED, *LMMS_EVAL, "lmms-eval"}:
        assert any(bound.operator in ("<", "<=", "==") for bound in requirements[name]), name


def test_what_lmms_eval_reaches_into_is_there():
    for module in LMMS_EVAL.values():
        importlib.import_module(module)
