"""Whatever a list holds, it is read or refused in one printable line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.dataset import DataError, read_dataset

COUNT = 8


def lists() -> dict[str, str]:
    """Return a sound list of each format, by the name of its file."""
    both = ["ab"[i % 2] for i in range(COUNT)]
    segments = [{"label": label, "segment": [i, i + 1]} for i, label in enumerate("ab")]
    database = {str(i): {"subset": "training", "annotations": segments} for i in range(COUNT)}
    clips = [{"vid_name": str(i), "label": i % 2, "end_frame": 9} for i in range(COUNT)]
    return {
        "own.csv": "path,label,start,end,group,split\n"
        + "".join(f"{i}.mp4,{c},0,{i + 1},g{i},\n" for i, c in enumerate(both)),
        "own.jsonl": "".join(
            json.dumps({"path": f"{i}.mp4", "label": c}) + "\n" for i, c in enumerate(both)
        ),
        "kinetics.csv": "label,youtube_id,time_start,time_end,split\n"
        + "".join(f"{c},{i},1,11,train\n" for i, c in enumerate(both)),
        "net.json": json.dumps({"database": database}),
        "some.json": json.dumps(
            [{"id": str(i), "template": f"[x] {c}"} for i, c in enumerate(both)]
        ),
        "diving.json": json.dumps(clips),
        "trainlist01.txt": "".join(f"{c}/{i}.mp4 {1 + i % 2}\n" for i, c in enumerate(both)),
        "a_test_split1.txt": "".join(f"{i}.mp4 {i % 3}\n" for i in range(COUNT)),
        "Run_val.txt": "".join(f"{i} 0.5 {i + 1}\n" for i in range(COUNT)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    for i in range(COUNT):
        (root / f"{i}.mp4").write_bytes(b"x" * (i + 1))
    (root / "classInd.txt").write_text("1 a\n2 b\n")
    (root / "b_test_split1.txt").write_text("3.mp4 1\n4.mp4 1\n")
    (root / "Walk_val.txt").write_text("".join(f"{i} 20 30\n" for i in range(COUNT)))
    return root


pieces = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b'"', b",", b"\n", b"\0", b"-1", b"nan", b"1e999", b"null", b"[]", b"{}"]),
    st.sampled_from([b"../", b"/", b"\xed\xa0\x80", b'"\\ud800"', b"\xe2\x80\xa8", b"9" * 30]),
)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), pieces), max_size=6)


@pytest.mark.parametrize("name", lists())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits)
def test_a_changed_list_is_read_or_refused(
    folder: Path, name: str, changes: list[tuple[float, int, bytes]]
) -> None:
    data = lists()[name].encode()
    for place, removed, piece in changes:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + removed :]
    path = folder / name
    path.write_bytes(data)
    message, samples = "", []
    try:
        found = read_dataset(path)
        samples = [sample for part in found.samples.values() for sample in part]
    except DataError as error:
        message = str(error)
    finally:
        path.unlink()
    assert message.isprintable()
    assert bool(message) != bool(samples)
    assert changes or samples
    assert {sample.path for sample in samples} <= {str(folder / f"{i}.mp4") for i in range(COUNT)}
