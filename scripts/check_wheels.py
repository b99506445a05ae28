"""Resolve the light install as wheels, for every system and Python that Foveal promises.

Needs the network, so it is not part of ``make check``. Each target is one ``pip install
--dry-run --only-binary :all:`` against the requirements in ``pyproject.toml``: nothing is
compiled, and nothing is installed. ``newest`` in the result is the most demanding platform tag
among the wheels found, hence the oldest system they run on.

    python scripts/check_wheels.py --out results/install/wheels.json
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# A manylinux tag does not imply the older ones when pip is told the platform, so all are listed.
GLIBC = ("manylinux_2_17", "manylinux2014", "manylinux_2_24", "manylinux_2_26", "manylinux_2_27")
PLATFORMS: dict[str, tuple[str, ...]] = {
    "linux-x86_64": tuple(f"{tag}_x86_64" for tag in (*GLIBC, "manylinux_2_28")),
    "linux-aarch64": tuple(f"{tag}_aarch64" for tag in (*GLIBC, "manylinux_2_28")),
    "macos-arm64": ("macosx_14_0_arm64",),
    "windows-amd64": ("win_amd64",),
}
# pip evaluates environment markers for the machine it runs on; this is what they hide here.
ONLY_THERE: dict[str, tuple[str, ...]] = {"windows-amd64": ("colorama",)}


def resolve(requirements: list[str], system: str, python: str) -> dict[str, Any]:
    """Return what pip would install for ``requirements`` on ``system``, or why it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--only-binary", ":all:", "--target", folder]
        command += ["--implementation", "cp", "--python-version", python, "--report", str(report)]
        for tag in PLATFORMS[system]:
            command += ["--platform", tag]
        done = subprocess.run(
            [*command, *requirements, *ONLY_THERE.get(system, ())], capture_output=True, text=True
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return {"resolved": False, "error": " ".join(errors)}
        found = json.loads(report.read_text())["install"]
    wheels = sorted(item["download_info"]["url"].rsplit("/", 1)[1] for item in found)
    # A wheel with several tags runs on the least of them; the whole set needs the most.
    least = (min(wheel[:-4].rsplit("-", 1)[1].split("."), key=system_age) for wheel in wheels)
    return {"resolved": True, "newest": max(least, key=system_age), "wheels": wheels}


def system_age(tag: str) -> list[int]:
    """Return a key that is greater for a platform ``tag`` that needs a newer system."""
    numbers = tag.replace("manylinux2014", "manylinux_2_17").replace("x86_64", "")
    return [int(number) for number in re.findall(r"\d+", numbers)] if tag != "any" else []


def main() -> int:
    """Resolve every target, write the outcome, and return 0 if all resolve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    out: Path = parser.parse_args().out
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = {}
    for system in PLATFORMS:
        for python in PYTHONS:
            target = resolve(project["dependencies"], system, python)
            targets[f"{system} {python}"] = target
            print(f"{system} {python}: {target.get('newest') or target['error']}", flush=True)
    result = {
        "command": "python scripts/check_wheels.py --out results/install/wheels.json",
        "date": datetime.now(UTC).date().isoformat(),
        "pip": subprocess.check_output(
            [sys.executable, "-m", "pip", "--version"], text=True
        ).split()[1],
        "host": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "requirements": project["dependencies"],
        "all_resolve": all(target["resolved"] for target in targets.values()),
        "targets": targets,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["all_resolve"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
