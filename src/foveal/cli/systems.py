"""``foveal systems``: what there is, and what has been shown of it."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from typing import Any

from foveal.cli.guard import OK
from foveal.systems.index import ALL, PAPERS, System


def run(*, json_array: bool) -> int:
    """List all systems and return the exit code."""
    claims = measured_claims()
    if json_array:
        print(json.dumps([row_record(row, claims) for row in ALL], indent=1))
    else:
        show(claims)
    return OK


def measured_claims() -> dict[str, dict[str, Any]]:
    """Return the claim of each system that has one: ``text``, ``holds``, ``result``."""
    text = (files("foveal.systems") / "claims.json").read_text(encoding="utf-8")
    claims: dict[str, dict[str, Any]] = json.loads(text)
    return claims


def row_record(row: System, claims: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one system as JSON data; ``claim`` is null where nothing has been measured."""
    return {
        "name": row.name,
        "title": row.title,
        "kind": row.kind,
        "task": row.task,
        "question": row.question,
        "paper": row.paper,
        "licence": row.licence,
        "status": row.status,
        "claim": claims.get(row.name),
    }


def show(claims: dict[str, dict[str, Any]]) -> None:
    """Print the systems by the question they answer."""
    from rich.text import Text

    from foveal.cli.terminal import PROSE, console_on, table

    shown = table("question and system", "status", "paper; licence of its code; claim")
    for question in dict.fromkeys(row.question for row in ALL):
        shown.add_row(Text(question, style="bold"))
        for row in ALL:
            if row.question != question:
                continue
            working = row.status == "working"
            about = Text(f"{'no paper' if row.paper == 'none' else row.paper}; {row.licence}")
            if row.name in claims:
                claim = claims[row.name]
                verdict = "holds" if claim["holds"] else "does not hold"
                about.append(
                    f"\nClaim {verdict}: {claim['text']} ({claim['result']})",
                    style="green" if claim["holds"] else "red",
                )
            status = Text(row.status, style="green" if working else "dim")
            shown.add_row(Text(f"  {row.name}"), status, about)
        shown.add_section()
    out = console_on(sys.stdout, width=PROSE)
    out.print(shown)
    out.print(Text(counted()))


def counted() -> str:
    """Return how many of the papers work, and what else does."""
    num_working = sum(row.status == "working" for row in PAPERS)
    ours = [row.name for row in ALL if row not in PAPERS and row.status == "working"]
    beside = f"; our own are {' and '.join(ours)}" if ours else ""
    return f"{num_working} of the {len(PAPERS)} papers work, the others are planned{beside}."
