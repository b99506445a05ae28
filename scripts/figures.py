"""Sections of Markdown that scripts write: figures come from results/, never from a keyboard.

A page holds ``<!-- figures: scripts/NAME.py -->`` ... ``<!-- end of figures -->``; that script
calls :func:`keep_up_to_date`. With ``--check`` it fails where the page is behind; a test does so.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
END = "<!-- end of figures -->\n"


def measured(name: str) -> dict[str, Any]:
    """Return what ``results/<name>.json`` measured."""
    path = ROOT / "results" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["measured"]
    return found


def with_figures(text: str, *, script: str, figures: str) -> str:
    """Return ``text`` with the section that ``script`` writes brought up to date.

    Raises:
        ValueError: the text has no such section.
    """
    begin = f"<!-- figures: {script} -->\n"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"no section {begin.strip()} ... {END.strip()}")
    return before + begin + figures + END + after


def keep_up_to_date(page: Path, *, script: str, figures: str) -> None:
    """Write ``figures`` into the section of ``page`` that ``script`` owns, or check it."""
    parser = argparse.ArgumentParser(description=f"Carry figures of results/ into {page.name}.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    text = page.read_text(encoding="utf-8")
    wanted = with_figures(text, script=script, figures=figures)
    if not parser.parse_args().check:
        page.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit(f"{page.relative_to(ROOT)} is behind results/: run python {script}")
