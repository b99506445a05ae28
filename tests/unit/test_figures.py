"""Every figure in the README and in a card is what results/ holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"<!-- figures: (\S+) -->")
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src").rglob("README.md")),
]
SECTIONS = [(page, script) for page in PAGES for script in MARK.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "script"), SECTIONS, ids=[script for _, script in SECTIONS])
def test_a_page_is_not_behind_its_results(page, script):
    command = [sys.executable, script, "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page.name}: {done.stderr}"
