"""What file names say about who and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foveal.dataset.groups import Groups, find_groups
from foveal.dataset.listing import Row
from foveal.dataset.samples import Split


def found(
    pairs: Sequence[tuple[str, int]], *, splits: Sequence[Split] | None = None, own: bool = True
) -> Groups:
    rows = [
        Row(path=f"/data/{name}.mp4", label=label, where=name, split=splits[i] if splits else None)
        for i, (name, label) in enumerate(pairs)
    ]
    labels = [label for _, label in pairs]
    return find_groups(rows, labels, files=[row.path for row in rows], own=own)


HMDB = "{}_{}_f_cm_np1_fr_med_{}"
CONVENTIONS: dict[str, tuple[list[tuple[str, int]], list[str], str]] = {
    "ucf": (
        [
            (f"v_{c}_g{g:02d}_c{i:02d}", k)
            for k, c in enumerate("AB")
            for g in range(3)
            for i in (1, 2)
        ],
        [f"{c}_{g:02d}" for c in "AB" for g in range(3) for _ in (1, 2)],
        "UCF101",
    ),
    "hmdb": (
        [
            (HMDB.format(m, a, i), k)
            for k, a in enumerate(("brush_hair", "wave"))
            for m in ("Big_Fish_4", "Crash", "Troy")
            for i in (0, 1)
        ],
        [m for _ in "ab" for m in ("Big_Fish_4", "Crash", "Troy") for _ in (0, 1)],
        "HMDB51",
    ),
    "ntu": (
        [(f"S001C001P{p:03d}R001A{k:03d}_rgb", k) for k in (1, 2) for p in range(4)],
        [f"P{p:03d}" for _ in (1, 2) for p in range(4)],
        "NTU",
    ),
    "youtube": (
        [(f"-abc_efgh{v}k_{i:06d}_{i + 10:06d}", i % 2) for v in range(4) for i in range(4)],
        [f"-abc_efgh{v}k" for v in range(4) for _ in range(4)],
        "cut from",
    ),
    "subjects": (
        [(f"person{p:02d}_{c}_d1", k) for k, c in enumerate(("box", "run")) for p in range(4)],
        [f"person{p:02d}" for _ in "ab" for p in range(4)],
        "before the first _",
    ),
    "cuts": (
        [
            (f"match {m} - part {i}", k)
            for k in (0, 1)
            for m in range(k * 4, k * 4 + 4)
            for i in "12"
        ],
        [f"match {m}" for m in range(8) for _ in "12"],
        "numbered clip",
    ),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_of_file_names(name: str) -> None:
    pairs, groups, how = CONVENTIONS[name]
    result = found(pairs)
    assert list(result.named) == groups
    assert result.how is not None
    assert how in result.how
    assert not result.explicit
    assert len(set(result.keys)) == len(set(groups))


NOTHING: dict[str, list[tuple[str, int]]] = {
    "no underscore": [(f"clip{i}", i % 2) for i in range(12)],
    "the prefix is the class": [(f"{'ab'[k]}_{i}", k) for k in (0, 1) for i in range(6)],
    "numbered clips of a class": [
        (f"{c}_clip{i}", k) for k, c in enumerate("abcdef") for i in range(4)
    ],
    "one camera took nearly all": [
        (f"{'IMG' if i > 3 else f'X{i // 2}'}_{i}", i % 2) for i in range(16)
    ],
    "two prefixes only": [(f"{'lr'[i % 2]}_{i}", i // 6) for i in range(12)],
}


@pytest.mark.parametrize("name", NOTHING)
def test_names_that_group_nothing(name: str) -> None:
    result = found(NOTHING[name])
    assert result.how is None
    assert set(result.named) == {None}
    assert len(set(result.keys)) == len(NOTHING[name])


def test_names_that_a_public_list_parts_mean_something_else() -> None:
    pairs, groups, _ = CONVENTIONS["subjects"]
    splits: list[Split] = ["train" if i < 4 else "test" for i in range(len(pairs))]
    assert found(pairs, splits=splits, own=False).how is None
    assert list(found(pairs, splits=splits, own=True).named) == groups


def test_given_groups_count_alone_and_join_over_files() -> None:
    rows = [
        Row(path="/a.mp4", label=0, where="1", group="x"),
        Row(path="/a.mp4", label=0, where="2", group="y"),
        Row(path="/p1_b.mp4", label=0, where="3", group="y"),
        Row(path="/p1_c.mp4", label=1, where="4"),
    ]
    result = find_groups(
        rows, [0, 0, 0, 1], files=[r.path for r in rows], own=True, copies=[("/a.mp4", "/d.mp4")]
    )
    assert result.explicit
    assert len(set(result.keys[:3])) == 1
    assert result.keys[3] not in result.keys[:3]
    assert result.named == ("x", "y", "y", None)
