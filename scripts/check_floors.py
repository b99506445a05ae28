"""Run the light part of the tests on the oldest versions that ``pyproject.toml`` allows.

Needs the network, so it is not part of ``make check``. A new virtual environment gets exactly the
floor of each light dependency, and no PyTorch; in it every light module is imported, the demo is
run, and so are all tests whose files never name a package that only the extras bring.

    python scripts/check_floors.py --out results/install/floors.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import tomllib
import venv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("hatchling", "hypothesis", "pytest", "pytest-xdist")


def floors(requirements: list[str]) -> list[str]:
    """Return ``name==version`` for each ``name>=version``.

    Raises:
        ValueError: a requirement is not a plain floor.
    """
    plain = [re.fullmatch(r"([\w-]+)>=([\d.]+)", text) for text in requirements]
    if None in plain:
        raise ValueError(f"every light dependency must be a plain floor: {requirements}")
    return [f"{match[1]}=={match[2]}" for match in plain if match is not None]


def light_tests(extras: list[str]) -> list[str]:
    """Return the test files that import none of the packages ``extras``."""
    heavy = re.compile(
        rf"^\s*(?:import|from) (?:{'|'.join(extras)})\b|foveal\.export", re.MULTILINE
    )
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if not heavy.search(path.read_text())]


def run(python: Path, *arguments: str) -> str:
    """Run ``python`` with ``arguments`` in the repository, echo, and return its last line."""
    print("+", " ".join(arguments)[:200], flush=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["PATH"] = f"{python.parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        [str(python), *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, flush=True)
    done.check_returncode()
    return done.stdout.strip().rpartition("\n")[2].strip("= ")


def main() -> int:
    """Install the floors, run what is light, write the outcome, and return 0 if all passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    out: Path = parser.parse_args().out
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = floors(settings["project"]["dependencies"])
    extras = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        run(python, "-m", "pip", "install", "--quiet", *oldest, *TOOLS, "-e", ".")
        light = run(python, "scripts/check_light.py")
        run(python, "-m", "foveal", "demo")
        tests = run(python, "-m", "pytest", "-n", "2", *light_tests(extras))
    result = {
        "command": "python scripts/check_floors.py --out results/install/floors.json",
        "date": datetime.now(UTC).date().isoformat(),
        "floors": oldest,
        "light": light,
        "tests": tests,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
