from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.bundle import (
    Bundle,
    BundleError,
    BundleInvalidError,
    BundleMissingError,
    BundleTamperedError,
    BundleTooNewError,
    ConfigError,
    Part,
    decode_config,
)
from foveal.types import PartSpec, TensorSpec

Spoil = Callable[[Callable[[dict[str, Any]], None]], Path]
Write = Callable[..., Bundle]


def test_what_is_written_is_read(toy: Bundle, toy_config: Any, toy_part: Part) -> None:
    bundle = Bundle.open(str(toy.path))
    assert bundle.manifest.class_names == ("cat", "dog")
    assert decode_config(type(toy_config), bundle.manifest.config) == toy_config
    assert bundle.specs == {"head": toy_part.spec}
    assert bundle.part_bytes("head") == toy_part.model
    assert bundle.macs("head", {"t": 2}) == 6
    bank = bundle.context()["bank"]
    assert bank.dtype == np.float32
    assert bank.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert bundle.context()["class_names"].tolist() == ["cat", "dog"]
    bundle.verify()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, write_toy: Write) -> None:
    write_toy(tmp_path / "a.foveal")
    write_toy(tmp_path / "b.foveal", provenance={"commit": "abc"})
    assert (tmp_path / "a.foveal").read_bytes() == (tmp_path / "b.foveal").read_bytes()


def test_nothing_is_left_beside_the_bundle(tmp_path: Path, write_toy: Write) -> None:
    write_toy(tmp_path / "a.foveal")
    write_toy(tmp_path / "a.foveal")
    assert [p.name for p in tmp_path.iterdir()] == ["a.foveal"]


def test_context_arrays_are_read_only(toy: Bundle) -> None:
    with pytest.raises(ValueError, match="read-only"):
        toy.context()["bank"][0, 0] = 1


def test_class_names_are_in_the_context_of_every_bundle(tmp_path: Path, write_toy: Write) -> None:
    context = write_toy(tmp_path / "a.foveal", context=None).context()
    assert set(context) == {"class_names"}
    assert context["class_names"].tolist() == ["cat", "dog"]
    with pytest.raises(ValueError, match="read-only"):
        context["class_names"][0] = "cow"
    with pytest.raises(BundleInvalidError, match="'class_names' is added from class_names"):
        write_toy(tmp_path / "b.foveal", context={"class_names": np.zeros(2)})


def test_uncounted_axes_are_refused(toy: Bundle) -> None:
    with pytest.raises(ValueError, match=r"not counted at \{'t': 9\}; declared are \{'t': 1\}"):
        toy.macs("head", {"t": 9})


def test_an_unknown_part_is_named(toy: Bundle) -> None:
    with pytest.raises(BundleInvalidError, match="no part 'hat', only head"):
        toy.part_bytes("hat")


# --- what cannot be written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": []}, "class_names must hold at least one name"),
        ({"class_names": ["cat", " "]}, "no empty one"),
        ({"class_names": ["cat", "cat"]}, "class_names: 'cat' appears twice"),
        ({"class_names": ["a", "b", "c"]}, r"3 names, but 'head.logits' has shape \(2,\)"),
        ({"class_output": "head.probs"}, "'head.probs' is not among the outputs head.logits"),
        ({"threshold": (0.1, 0.2, 0.3)}, "threshold holds 3 values for 2 classes"),
        ({"licence": ""}, "must not be empty"),
        ({"parts": []}, "at least one part"),
        ({"context": {"x": np.array([{}])}}, "Object arrays cannot be saved"),
    ],
)
def test_a_broken_rule_is_refused(
    tmp_path: Path, write_toy: Write, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleInvalidError, match=message):
        write_toy(tmp_path / "a.foveal", **changes)
    assert list(tmp_path.iterdir()) == []


def test_every_declared_axes_value_must_be_counted(
    tmp_path: Path, write_toy: Write, toy_part: Part
) -> None:
    part = replace(toy_part, macs={(("t", 1),): 6})
    with pytest.raises(BundleInvalidError, match="one MAC count for each declared axes value"):
        write_toy(tmp_path / "a.foveal", parts=[part])


def test_part_names_stay_inside_the_archive(
    tmp_path: Path, write_toy: Write, toy_part: Part
) -> None:
    spec = PartSpec(name="../x", inputs=(TensorSpec("a", ()),), outputs=(TensorSpec("b", (2,)),))
    with pytest.raises(BundleInvalidError, match=r"'\.\./x' must be letters"):
        write_toy(tmp_path / "a.foveal", parts=[replace(toy_part, spec=spec, macs={(): 0})])


def test_a_config_that_is_not_data_is_refused(tmp_path: Path, write_toy: Write) -> None:
    with pytest.raises(ConfigError, match=r"config\.weights: .* cannot be stored"):
        write_toy(tmp_path / "a.foveal", config={"weights": np.zeros(3)})


def test_an_unwritable_place_is_one_line(tmp_path: Path, write_toy: Write) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        write_toy(tmp_path / "nowhere" / "a.foveal")


# --- what cannot be opened --------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match=r"a\.foveal: no such file"):
        Bundle.open(tmp_path / "a.foveal")


def test_a_folder_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match="cannot be read"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_other_files_are_not_bundles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.foveal"
    path.write_bytes(content)
    with pytest.raises(BundleInvalidError, match="is not a bundle"):
        Bundle.open(path)


def test_a_cut_bundle_is_refused(toy: Bundle) -> None:
    path = Path(str(toy.path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError):
        Bundle.open(path)


def put(manifest: dict[str, Any], key: str, value: object) -> None:
    """Set ``key`` ("parts.0.name") of a manifest."""
    *folders, last = key.split(".")
    place: Any = manifest
    for folder in folders:
        place = place[int(folder)] if isinstance(place, list) else place[folder]
    place[last] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clas_names", [], r"bundle\.json\.clas_names: unknown key; did you mean 'class_names'\?"),
        ("system", 3, r"bundle\.json\.system: expected a string, got 3"),
        ("parts.0.onx", {}, r"bundle\.json\.parts\[0\]\.onx: unknown key; did you mean 'onnx'"),
        ("parts.0.onnx.sha256", "0", r"parts\[0\]\.onnx: sha256 must be 64"),
        ("parts.0.onnx.file", "../x", r"parts\[0\]: part 'head' must be stored as parts/head"),
        ("parts.0.axes", {"u": [1]}, r"parts\[0\]: .*axes \['u'\] but inputs use"),
        ("parts.0.macs.0.macs", -1, r"macs\[0\]: macs must be >= 0"),
        ("threshold", "high", r"bundle\.json\.threshold: expected a finite number"),
        ("class_names", ["a", "a"], "'a' appears twice"),
        ("schema", 0, "schema: expected 1 to 3, got 0"),
        ("schema", "1", "schema: expected an integer, got '1'"),
    ],
)
def test_a_broken_manifest_is_one_line_naming_the_key(
    spoil: Spoil, key: str, value: object, message: str
) -> None:
    path = spoil(lambda manifest: put(manifest, key, value))
    with pytest.raises(BundleInvalidError, match=message) as caught:
        Bundle.open(path)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(spoil: Spoil) -> None:
    path = spoil(lambda manifest: manifest.pop("licence"))
    with pytest.raises(BundleInvalidError, match="licence: this key is missing"):
        Bundle.open(path)


def test_a_newer_schema_says_upgrade(spoil: Spoil) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest.update(schema=4, novelty=True)

    with pytest.raises(BundleTooNewError, match="upgrade"):
        Bundle.open(spoil(edit))


def write_zip(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "raw", [b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b'{"schema": NaN}', b"[" * 100_000]
)
def test_a_manifest_that_is_not_an_object_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = write_zip(tmp_path / "a.foveal", [("bundle.json", raw)])
    with pytest.raises(BundleInvalidError, match=r"bundle\.json"):
        Bundle.open(path)


def test_a_zip_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalidError, match=r"has no bundle\.json"):
        Bundle.open(write_zip(tmp_path / "a.foveal", [("x", b"")]))


# --- tampering --------------------------------------------------------------------------------


def add(path: Path, entry: zipfile.ZipInfo | str, content: bytes = b"x") -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, content)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a\\..\\evil", "C:evil", "a/../../evil", "./evil", "a//b"]
)
def test_names_cannot_leave_the_archive(toy: Bundle, name: str) -> None:
    add(Path(str(toy.path)), name)
    with pytest.raises(BundleTamperedError, match="leaves the archive"):
        Bundle.open(toy.path)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR])
def test_only_plain_files_are_allowed(toy: Bundle, mode: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (mode | 0o777) << 16
    add(Path(str(toy.path)), info)
    with pytest.raises(BundleTamperedError, match="not a plain file"):
        Bundle.open(toy.path)


def test_extra_files_are_refused(toy: Bundle) -> None:
    add(Path(str(toy.path)), "surprise.py")
    with pytest.raises(BundleTamperedError, match=r"'surprise\.py' is inside but not listed"):
        Bundle.open(toy.path)


def test_missing_files_are_refused(toy: Bundle) -> None:
    path = Path(str(toy.path))
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("bundle.json")
    write_zip(path, [("bundle.json", manifest)])
    with pytest.raises(BundleTamperedError, match=r"'context\.npz' is listed but not inside"):
        Bundle.open(path)


def test_compressed_files_are_refused(toy: Bundle) -> None:
    info = zipfile.ZipInfo("bomb")
    info.compress_type = zipfile.ZIP_DEFLATED
    add(Path(str(toy.path)), info, b"\0" * 10_000_000)
    with pytest.raises(BundleInvalidError, match="'bomb' is compressed"):
        Bundle.open(toy.path)


def test_doubled_files_are_refused(toy: Bundle) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        add(Path(str(toy.path)), "bundle.json")
    with pytest.raises(BundleInvalidError, match="in the archive twice"):
        Bundle.open(toy.path)


def test_a_claimed_size_beyond_the_archive_is_refused(toy: Bundle) -> None:
    path = Path(str(toy.path))
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        true_size = archive.getinfo("context.npz").file_size.to_bytes(4, "little")
    claimed = (10**9).to_bytes(4, "little")
    at = raw.index(b"PK\x01\x02")
    raw[at:] = raw[at:].replace(true_size * 2, claimed * 2)  # compressed and plain size
    path.write_bytes(raw)
    with pytest.raises(BundleTamperedError, match="claim more bytes"):
        Bundle.open(path)


def flip(path: Path, name: str) -> None:
    """Flip a bit in the content of ``name`` and mend the zip's own checksum."""
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    changed = bytearray(files[name])
    changed[len(changed) // 2] ^= 1
    files[name] = bytes(changed)
    write_zip(path, list(files.items()))


@pytest.mark.parametrize("name", ["parts/head.onnx", "context.npz"])
def test_a_flipped_bit_is_found(toy: Bundle, name: str) -> None:
    flip(Path(str(toy.path)), name)
    bundle = Bundle.open(toy.path)
    with pytest.raises(BundleTamperedError, match="does not match its hash"):
        bundle.verify()


def test_a_damaged_disk_is_found(toy: Bundle, toy_part: Part) -> None:
    path = Path(str(toy.path))
    raw = bytearray(path.read_bytes())
    raw[raw.index(toy_part.model) + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BundleTamperedError, match="is damaged"):
        Bundle.open(path).part_bytes("head")


def test_a_changed_size_is_found(spoil: Spoil) -> None:
    path = spoil(lambda manifest: put(manifest, "parts.0.onnx.num_bytes", 5))
    with pytest.raises(BundleTamperedError, match="the manifest says 5"):
        Bundle.open(path)


# --- context arrays ---------------------------------------------------------------------------


def npz_of(**arrays: np.ndarray[Any, Any]) -> bytes:
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def test_the_context_is_an_ordinary_npz(toy: Bundle) -> None:
    with zipfile.ZipFile(str(toy.path)) as archive:
        loaded = np.load(io.BytesIO(archive.read("context.npz")), allow_pickle=False)
    assert loaded["bank"].shape == (2, 3)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    from foveal.bundle.archive import arrays_from_npz

    with pytest.raises(BundleInvalidError, match="Python objects"):
        arrays_from_npz(npz_of(x=np.array([{}], dtype=object)), path="a")


def test_an_array_that_claims_too_much_is_refused() -> None:
    from foveal.bundle.archive import arrays_from_npz

    raw = npz_of(x=np.zeros(3, np.float32))
    spoilt = raw.replace(b"(3,)", b"(9,)")
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        npy = archive.read("x.npy").replace(b"(3,)", b"(9,)")
    assert spoilt != raw
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("x.npy", npy)
    with pytest.raises(BundleInvalidError, match="does not match its shape"):
        arrays_from_npz(target.getvalue(), path="a")


def test_a_huge_manifest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.bundle.file.MAX_MANIFEST_BYTES", 10)
    path = write_zip(tmp_path / "a.foveal", [("bundle.json", b"0" * 11)])
    with pytest.raises(BundleInvalidError, match="has 11 bytes, at most 10"):
        Bundle.open(path)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.foveal", [(str(i), b"") for i in range(1025)])
    with pytest.raises(BundleInvalidError, match="more than 1024 files"):
        Bundle.open(path)


def test_a_bundle_may_be_a_resource_of_a_package(toy: Bundle, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as package:
        package.write(str(toy.path), "package/toy.foveal")
    resource = zipfile.Path(tmp_path / "package.zip", "package/toy.foveal")
    bundle = Bundle.open(resource)
    bundle.verify()
    assert bundle.manifest == toy.manifest


def test_the_manifest_reads_as_json(toy: Bundle) -> None:
    with zipfile.ZipFile(str(toy.path)) as archive:
        data = json.loads(archive.read("bundle.json"))
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
    assert data["parts"][0]["macs"] == [
        {"axes": {"t": 1}, "macs": 6},
        {"axes": {"t": 2}, "macs": 6},
    ]
