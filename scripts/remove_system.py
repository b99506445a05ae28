"""Take a system out of the repository and leave everything else as it was.

    python scripts/remove_system.py NAME [--force]        (make remove S=NAME)

What belongs to a system is told by its name: its folder, and every file or folder of tests,
goldens, results, scripts and benchmarks that has the name as a word of its own
(``claim_NAME.py``); a result whose claim is of the system; and, in any text, the lines between
``system: NAME`` and ``end of system``, written as a comment of Python (``# ...``) or Markdown
(``<!-- ... -->``). Sections of pages that a removed script wrote go too. The row of a paper
stays in ``systems/index.py`` and is planned again; a row of our own goes. Claims and figures are
then made anew.

Nothing is changed if a file that would go has changes git does not know, or if something that
stays still needs the system; that is listed. The rest is left to review and commit.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
INDEX = "src/foveal/systems/index.py"
FOLDERS = ("benchmarks", "docs", "examples", "results", "scripts", "tests")
"""Where a name in a path says whose it is; in ``src`` only the folder of the system is its own."""

CODE = (".cfg", ".in", ".json", ".py", ".sh", ".toml", ".yaml", ".yml", "")
"""Files in which a path or module of the system is a need and not only a mention."""

FIGURES = re.compile(r"<!-- figures: (\S+) -->\n.*?<!-- end of figures -->\n\n?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the index: its lines, and the line of its status where it has one (from 1)."""

    name: str
    own: bool
    first_line: int
    last_line: int
    status_line: int | None


def rows_of(source: str) -> list[Row]:
    """Return the rows of ``PAPERS`` and ``OWN`` in the text of the index."""
    found = []
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.value, ast.Tuple):
            continue
        assert isinstance(statement.target, ast.Name)
        for call in statement.value.elts:
            assert isinstance(call, ast.Call)
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            status = given.get("status")
            found.append(
                Row(
                    name=ast.literal_eval(given["name"]),
                    own=statement.target.id == "OWN",
                    first_line=call.lineno,
                    last_line=call.end_lineno or call.lineno,
                    status_line=None if status is None else status.lineno,
                )
            )
    return found


def without_row(source: str, row: Row) -> str:
    """Return the index with ``row`` planned, or without it if it is our own."""
    lines = source.splitlines(keepends=True)
    if row.own:
        del lines[row.first_line - 1 : row.last_line]
    elif row.status_line is not None:
        del lines[row.status_line - 1]
    return "".join(lines)


def owner(word: str, names: Iterable[str]) -> str | None:
    """Return the longest of ``names`` that ``word`` holds as a word of its own.

    >>> owner("claim_adafocus_v2_tsm", ["adafocus", "adafocus_v2", "ean"])
    'adafocus_v2'
    >>> owner("clean", ["ean"]) is None
    True
    """
    held = [n for n in names if re.search(rf"(?<![a-z0-9]){re.escape(n)}(?![a-z0-9])", word)]
    return max(held, key=len, default=None)


def belongs(path: str, name: str, names: Sequence[str]) -> bool:
    """Return whether the file at ``path`` is the system's own."""
    pure = PurePosixPath(path)
    if pure.is_relative_to(f"src/foveal/systems/{name}"):
        return True
    words = (*pure.parts[1:-1], pure.name.partition(".")[0])
    if pure.parts[0] in FOLDERS and any(owner(word, names) == name for word in words):
        return True
    return pure.parts[0] == "results" and pure.suffix == ".json" and claims_for(path) == name


def claims_for(path: str) -> str | None:
    """Return the system that the result at ``path`` holds the claim of, if it does."""
    result = json.loads((ROOT / path).read_text(encoding="utf-8"))
    claim = result.get("claim") if isinstance(result, dict) else None
    return claim.get("system") if isinstance(claim, dict) else None


def without_marked(text: str, name: str) -> str:
    """Return ``text`` without the lines marked as the system's.

    Raises:
        ValueError: a mark has no end.
    """
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        mark = re.sub(r"^(#|<!--)\s*|\s*-->$", "", line.strip())
        if mark == f"system: {name}" and mark != line.strip():
            inside = True
        if not inside:
            kept.append(line)
        inside = inside and mark != "end of system"
    if inside:
        raise ValueError(f"'system: {name}' has no 'end of system'")
    return "".join(kept)


def without_figures(text: str, removed: Iterable[str]) -> str:
    """Return a page without the sections that ``removed`` scripts wrote."""
    gone = set(removed)
    return FIGURES.sub(lambda section: "" if section[1] in gone else section[0], text)


def need_pattern(name: str, gone: Iterable[str]) -> re.Pattern[str]:
    """Return what a line of code holds that needs a module, a path or a script of the system."""
    n = re.escape(name)
    stems = {PurePosixPath(path).stem for path in gone if path.endswith(".py")}
    scripts = sorted(re.escape(stem) for stem in stems if name in stem and stem != name)
    forms = [
        rf"systems[./]{n}\b",
        rf"from foveal\.systems import .*\b{n}\b",
        rf"[\"'/]{n}[/.]\w",
        rf"\btests\.[\w.]*\b{n}\b",
        *(rf"\b{script}\b" for script in scripts),
    ]
    return re.compile("|".join(forms))


def needs(path: str, text: str, wanted: re.Pattern[str]) -> list[str]:
    """Return the lines of a file of code that match ``wanted``, with their place."""
    if PurePosixPath(path).suffix not in CODE:
        return []
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if wanted.search(line)
    ]


# --- the working tree -------------------------------------------------------------------------


def git(*arguments: str) -> list[str]:
    """Return what a git command lists, separated by NUL."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return [line for line in done.stdout.split("\0") if line]


def read_text(path: str) -> str | None:
    """Return the text of a file, or ``None`` if it is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def delete(paths: Sequence[str]) -> None:
    """Delete files, the caches beside them, and the folders that are empty then."""
    for path in paths:
        (ROOT / path).unlink()
    for folder in sorted({(ROOT / path).parent for path in paths}, key=lambda p: -len(p.parts)):
        here = folder
        while here != ROOT and here.exists():
            if {entry.name for entry in here.iterdir()} - {"__pycache__"}:
                break
            shutil.rmtree(here)
            here = here.parent


def run_script(path: str) -> None:
    """Run a script of the repository on this working tree."""
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"removed, but {path} fails now: {done.stderr.strip().splitlines()[-1]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What removing means: files that go, files with their new text, lines that stand against it.

    Args:
        gone: paths to delete.
        changed: new text by path.
        needed: ``path:line: text`` of what stays and needs the system.
        unsaved: paths among ``gone`` with changes that git does not know.
    """

    gone: tuple[str, ...]
    changed: dict[str, str]
    needed: tuple[str, ...]
    unsaved: tuple[str, ...]


def make_plan(row: Row, names: Sequence[str]) -> Plan:
    """Return what removing the system of ``row`` means; nothing is changed."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    present = sorted({path for path in listed if (ROOT / path).is_file()})
    gone = [path for path in present if belongs(path, row.name, names)]
    wanted = need_pattern(row.name, gone)
    changed: dict[str, str] = {}
    needed: list[str] = []
    for path in present:
        if path in gone or (text := read_text(path)) is None:
            continue
        try:
            kept = without_figures(without_marked(text, row.name), gone)
        except ValueError as error:
            sys.exit(f"{path}: {error}")
        if path == INDEX:
            kept = without_row(kept, row)
        if kept != text:
            changed[path] = kept
        # The claims are made anew, and the row says what it is of.
        if path not in (INDEX, "src/foveal/systems/claims.json"):
            needed += needs(path, kept, wanted)
    status = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    unsaved = {line[3:] for line in status} & set(gone)
    return Plan(
        gone=tuple(gone), changed=changed, needed=tuple(needed), unsaved=tuple(sorted(unsaved))
    )


def carry_out(plan: Plan, names: Sequence[str]) -> None:
    """Delete and change what ``plan`` says; make claims and shared figures anew."""
    delete(plan.gone)
    for path, text in plan.changed.items():
        (ROOT / path).write_text(text, encoding="utf-8")
    run_script("scripts/make_claims.py")
    shared = (ROOT / "docs").glob("*.md")
    pages = [ROOT / "README.md", *sorted(shared), *sorted((ROOT / "src").rglob("README.md"))]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    for script in sorted({found[1] for text in texts for found in FIGURES.finditer(text)}):
        # What is named after another system shows that system alone.
        if owner(PurePosixPath(script).stem, names) is None:
            run_script(script)


def refuse(why: str, lines: Sequence[str]) -> NoReturn:
    """Leave with what stands against removing."""
    sys.exit("\n  ".join([f"nothing was removed; {why}:", *lines]))


def main() -> None:
    """Remove the system that the command line names, and print what that was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME", help="as in systems/index.py")
    parser.add_argument("--force", action="store_true", help="also files with unsaved changes")
    options = parser.parse_args()
    rows = {row.name: row for row in rows_of((ROOT / INDEX).read_text(encoding="utf-8"))}
    if options.name not in rows:
        near = difflib.get_close_matches(options.name, rows, n=3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(rows)}"
        sys.exit(f"no system {options.name!r}; {known}")
    plan = make_plan(rows[options.name], list(rows))
    if not plan.gone:
        sys.exit(f"{options.name} has no files: nothing to remove")
    if plan.needed:
        refuse(f"{options.name} is still needed", plan.needed)
    if plan.unsaved and not options.force:
        refuse("in no commit, and only --force would lose them", plan.unsaved)
    carry_out(plan, list(rows))
    for path in plan.gone:
        print(f"removed {path}")
    for path in plan.changed:
        print(f"changed {path}")


if __name__ == "__main__":
    main()
