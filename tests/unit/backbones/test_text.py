"""Names to vectors: how they are spelled, scaled, and what is said where it cannot be done."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from foveal.backbones.text import TextError, check_encoder, name_vectors, sentence_encoder


def letters(texts: list[str]) -> np.ndarray:
    """Count letters: an encoder that needs nothing."""
    return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz "] for text in texts])


def test_vectors_have_length_one_and_follow_the_spelled_name() -> None:
    vectors = name_vectors(["TennisServe", "tennis_serve", "jump"], encode=letters)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])


@pytest.mark.parametrize(
    ("names", "encode", "words"),
    [
        (["run", "__"], letters, "'__' has no word"),
        ([], letters, "no name"),
        (["run"], lambda texts: np.zeros((1, 4)), "nothing of 'run'"),
        (["run"], lambda texts: np.full((1, 4), np.nan), "nothing of 'run'"),
        (["run", "walk"], lambda texts: np.ones((1, 4)), "for 2 names"),
    ],
)
def test_what_cannot_be_encoded_is_named(names, encode, words) -> None:
    with pytest.raises(TextError, match=words):
        name_vectors(names, encode=encode)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(TextError, match="sentence_transformers") as caught:
        sentence_encoder()
    assert "foveal[text]" in str(caught.value.hint)


def test_a_model_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(place: str, device: str) -> None:
        raise OSError(f"{place} holds no model\nand more")

    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = refuse
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    with pytest.raises(TextError, match="holds no model") as caught:
        sentence_encoder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of a hub that refuses connections."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    return tmp_path


def cache_file(hub: Path, owner_and_name: str, file: str) -> None:
    """Put an empty file where the hub's client keeps what it has downloaded."""
    repo = hub / f"models--{owner_and_name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("0" * 40) / file).touch()


def watch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, bool]]]:
    """Take the place of the library; return the list of what it is asked for."""
    asked: list[tuple[str, dict[str, bool]]] = []

    def load(place: str, *, device: str, **how: bool) -> None:
        asked.append((place, how))

    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = load
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    return asked


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "a/model"])
def test_offline_is_one_line_and_the_library_does_not_try(
    name: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = watch(monkeypatch)
    with pytest.raises(TextError, match=r"hub, and http://127.0.0.1:1 cannot be reached") as caught:
        sentence_encoder(name)
    assert "--text-model FOLDER" in str(caught.value.hint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TextError, match="HF_HUB_OFFLINE forbids downloads"):
        sentence_encoder(name)
    assert asked == []


@pytest.mark.parametrize("file", ["modules.json", "config.json"])
@pytest.mark.parametrize(
    ("name", "kept"),
    [("a/model", "a/model"), ("MiniLM", "sentence-transformers/MiniLM"), ("bert", "bert")],
)
def test_what_is_in_the_cache_needs_no_network(
    name: str, kept: str, file: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = watch(monkeypatch)
    cache_file(hub, kept, file)
    sentence_encoder(name)
    assert asked == [(name, {"local_files_only": True})]


def test_a_download_that_was_cut_short_goes_on(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(place: str, *, device: str, local_files_only: bool = False) -> None:
        asked.append(local_files_only)
        if local_files_only:
            raise OSError("no weights")

    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = load
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    cache_file(hub, "a/model", "modules.json")
    with pytest.raises(TextError, match="no weights"):
        sentence_encoder("a/model")
    monkeypatch.setattr("foveal.backbones.text.reachable", lambda url: True)
    sentence_encoder("a/model")
    assert asked == [True, True, False]


def test_a_hub_that_answers_is_asked(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watch(monkeypatch)
    monkeypatch.setattr("foveal.backbones.text.reachable", lambda url: True)
    sentence_encoder("a/model")
    assert asked == [("a/model", {})]


def test_the_encoder_is_asked_for_all_names_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Fake:
        def __init__(self, place: str, device: str) -> None:
            asked.append((place, device))

        def encode(self, texts: list[str], *, show_progress_bar: bool) -> np.ndarray:
            asked.append(texts)
            return letters(texts)

    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = Fake
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    vectors = name_vectors(["HighJump", "run"], encode=sentence_encoder(tmp_path))
    assert asked == [(str(tmp_path), "cpu"), ["high jump", "run"]]
    assert vectors.shape == (2, 27)


@pytest.mark.parametrize("told", ["/nope", "./nope", "~/no/such/model", "a/b/c"])
def test_a_folder_that_is_not_there_is_told_without_asking_a_hub(told: str) -> None:
    with pytest.raises(TextError, match="there is no such folder"):
        sentence_encoder(told)


def test_names_on_a_hub_and_folders_that_are_there_may_be_asked_for(tmp_path: Path) -> None:
    for told in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", tmp_path):
        check_encoder(told)
