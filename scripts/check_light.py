"""Import every module of Foveal that must work without PyTorch, and fail if one needs it.

The heavy modules are those for which ``pyproject.toml`` lifts the rule TID253; all others are
imported here.

    python scripts/check_light.py            # in a light install: PyTorch must not be there
    python scripts/check_light.py --block    # in a full install: the light install is imitated
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


class Blocker:
    """A meta-path finder for which the named top-level packages do not exist."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for a blocked package, and leave all others to the next finder."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
        return None


def lint_settings() -> tuple[list[str], list[str]]:
    """Return the globs of the heavy modules and the packages a light install lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lint = project["tool"]["ruff"]["lint"]
    heavy = [
        glob
        for glob, rules in lint["per-file-ignores"].items()
        if glob.startswith("src/") and "TID253" in rules
    ]
    return heavy, lint["flake8-tidy-imports"]["banned-module-level-imports"]


def light_modules(heavy: Sequence[str]) -> list[str]:
    """Return the dotted names of all modules under src that match none of ``heavy``."""
    # `folder/**` means all below it; before Python 3.13 pathlib takes it for the folders alone.
    skipped = {path for glob in heavy for path in ROOT.glob(glob.replace("/**", "/**/*"))}
    names = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        if path not in skipped and path.name != "__main__.py":
            parts = path.relative_to(ROOT / "src").with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def main() -> int:
    """Import the light modules and return 0 if PyTorch was never needed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--block", action="store_true", help="hide what a light install lacks")
    heavy, missing = lint_settings()
    if parser.parse_args().block:
        sys.meta_path.insert(0, Blocker(missing))
    elif find_spec("torch") is not None:
        print("torch is installed here: not a light install", file=sys.stderr)
        return 1
    names = light_modules(heavy)
    if not names:
        print("found no module to import", file=sys.stderr)
        return 1
    for name in names:
        importlib.import_module(name)
    print(f"{len(names)} modules imported without PyTorch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
