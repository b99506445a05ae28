"""Carry the claims of results/ into the package, where ``foveal systems`` reads them.

    python scripts/make_claims.py

A result is the claim of a system if its ``claim`` says which: ``system``, ``text``, ``holds``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from foveal.systems import index

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "src" / "foveal" / "systems" / "claims.json"


def claims(results: Path) -> dict[str, dict[str, object]]:
    """Return by system: the text of its claim, whether it holds, and the result that says so.

    Raises:
        ValueError: a claim is of no working system, or a system has two.
    """
    found: dict[str, dict[str, object]] = {}
    working = {row.name for row in index.ALL if row.status == "working"}
    for path in sorted(results.rglob("*.json")):
        claim = json.loads(path.read_text(encoding="utf-8")).get("claim")
        if claim is None or "system" not in claim:
            continue
        name, shown = claim["system"], path.relative_to(results.parent).as_posix()
        if name not in working:
            raise ValueError(f"{shown}: a claim of {name!r}, which is not a working system")
        if name in found:
            raise ValueError(f"{name} has two claims: {found[name]['result']} and {shown}")
        found[name] = {"text": claim["text"], "holds": claim["holds"], "result": shown}
    return dict(sorted(found.items()))


def text(found: dict[str, dict[str, object]]) -> str:
    """Return the content of the file in the package."""
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    CLAIMS.write_text(text(claims(ROOT / "results")), encoding="utf-8")
    print(f"{CLAIMS.relative_to(ROOT)} written", file=sys.stderr)
