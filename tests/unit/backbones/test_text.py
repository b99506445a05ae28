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


def test_the_encoder_is_asked_for_all_names_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr("foveal.backbones.text.need_hub", lambda name: None)
    vectors = name_vectors(["HighJump", "run"], encode=sentence_encoder("a/model"))
    assert asked == [("a/model", "cpu"), ["high jump", "run"]]
    assert vectors.shape == (2, 27)


@pytest.mark.parametrize("told", ["/nope", "./nope", "~/no/such/model", "a/b/c"])
def test_a_folder_that_is_not_there_is_told_without_asking_a_hub(told: str) -> None:
    with pytest.raises(TextError, match="there is no such folder"):
        sentence_encoder(told)


def test_names_on_a_hub_and_folders_that_are_there_may_be_asked_for(tmp_path: Path) -> None:
    for told in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", tmp_path):
        check_encoder(told)


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = None
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    monkeypatch.setattr("foveal.backbones.text.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(TextError, match=r"owner/model: not in the cache .* refused") as caught:
        sentence_encoder("owner/model")
    assert "--text-model" in str(caught.value.hint)
    monkeypatch.setattr("foveal.backbones.text.getproxies", lambda: {"https": "proxy"})
    with pytest.raises(TypeError):  # it goes on to load, which this stand-in cannot do
        sentence_encoder("owner/model")


def test_a_model_in_the_cache_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = lambda place, device: place
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    monkeypatch.setattr("foveal.backbones.text.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/there")
    assert callable(sentence_encoder("owner/model"))
