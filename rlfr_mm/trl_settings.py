"""The settings of TRL's GRPOConfig, read from its sources: importing TRL to find a misspelt key takes ten seconds."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

SOURCES = (
    ("trl", "trainer/grpo_config.py", "GRPOConfig"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)


def trl_settings() -> dict[str, Any] | None:
    """The settings with their defaults, None for a computed one; None if the sources are not found.

    `RLFRConfig` checks the types when a run starts.

    >>> trl_settings()["num_generations"]
    8
    """
    settings: dict[str, Any] = {}
    for package, file, kind in SOURCES:
        spec = importlib.util.find_spec(package)
        source = Path(spec.origin).parent / file if spec and spec.origin else None
        body = ast.parse(source.read_text(encoding="utf-8")).body if source and source.is_file() else []
        found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == kind]
        if not found:
            return None
        for node in found[0].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
                values = [word.value for word in getattr(node.value, "keywords", []) if word.arg == "default"]
                settings.setdefault(node.target.id, _constant(values[0]) if values else None)
    return settings


def _constant(value: ast.expr) -> Any:
    """The value of a constant, such as -1; None for anything else."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None
