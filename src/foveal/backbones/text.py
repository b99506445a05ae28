"""Names to vectors by a sentence encoder, which the extra ``text`` brings.

Letters: N names, W width of a vector.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from huggingface_hub import constants as hub_constants
from huggingface_hub import try_to_load_from_cache

from foveal.backbones.pretrained import hub_server, reachable
from foveal.types import Array, FovealError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Apache-2.0; 384 numbers a name."""

Encode: TypeAlias = Callable[[list[str]], Array]
"""Texts to vectors (N,W), of any length."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class TextError(FovealError):
    """No sentence encoder, or names it cannot take."""

    kind = "text"


def spelled(name: str) -> str:
    """Return a class name as words: lower case, no underscores, humps apart.

    >>> [spelled(name) for name in ("BaseballPitch", "ride_a-bike", "TVShow", "beam")]
    ['baseball pitch', 'ride a bike', 'tv show', 'beam']
    """
    return " ".join(re.split(r"[\W_]+", _HUMP.sub(" ", name).strip())).lower().strip()


def name_vectors(names: Sequence[str], *, encode: Encode) -> Array:
    """Return a vector of length 1 for every name, float32 (N,W).

    Args:
        names: of classes or objects.
        encode: e.g. what :func:`sentence_encoder` returns.

    Raises:
        TextError: a name has no letter or digit, or the encoder gives no finite vector for it.
    """
    texts = [spelled(name) for name in names]
    empty = [name for name, text in zip(names, texts, strict=True) if not text]
    if empty or not texts:
        raise TextError(
            f"the name {empty[0]!r} has no word in it" if empty else "there is no name",
            hint="give names a sentence encoder can read",
        )
    vectors = np.asarray(encode(texts), np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise TextError(
            f"the encoder gave {vectors.shape} for {len(texts)} names",
            hint="it must give one vector for each",
        )
    lengths = np.linalg.norm(vectors, axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        name = names[int(np.argmax(bad))]
        raise TextError(f"the encoder knows nothing of {name!r}", hint="give another encoder")
    return np.asarray(vectors / lengths[:, None], np.float32)


def check_encoder(model: str | os.PathLike[str]) -> None:
    """Ask that a folder of a sentence encoder is there; loads nothing, and knows nothing of hubs.

    Args:
        model: as of :func:`sentence_encoder`. A name on the hub is ``model`` or ``owner/model``.

    Raises:
        TextError: it can only be a folder, and there is none.
    """
    told = os.fspath(model)
    is_path = told.startswith((os.sep, ".", "~")) or told.count("/") > 1
    if is_path and not os.path.isdir(os.path.expanduser(told)):
        raise TextError(
            f"{told}: there is no such folder",
            hint="give the folder of a sentence encoder, or its name on the Hugging Face hub",
        )


def sentence_encoder(model: str | os.PathLike[str] = MODEL) -> Encode:
    """Return a sentence encoder on the CPU.

    Args:
        model: a folder, or a name on the Hugging Face hub, which is downloaded once. What is in
            the hub's cache is taken from there without asking the hub.

    Raises:
        TextError: the extra is missing, there is no such model, or it is not in the cache and the
            hub cannot be reached.
    """
    check_encoder(model)
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise TextError(
            f"vectors of names need the package {error.name}",
            hint="pip install 'foveal[text]'",
        ) from error
    name = os.path.expanduser(os.fspath(model))
    try:
        encoder = _loaded(SentenceTransformer, name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TextError(
            f"{name}: no sentence encoder ({reason})",
            hint="give a model of sentence-transformers: by name where the network has it, or as "
            "a folder that holds one",
        ) from error
    return lambda texts: np.asarray(encoder.encode(texts, show_progress_bar=False))


def _loaded(load: Callable[..., Any], name: str) -> Any:
    """Return the model of a folder, of the hub's cache, or of the hub, if it can be reached.

    The hub's own client tries an absent network for 20 s and more, once a file.

    Raises:
        TextError: it is in none of them.
        OSError: what was found is no model, or not all of one; a ``ValueError`` says the same.
    """
    if os.path.isdir(name):
        return load(name, device="cpu")
    if _has_kept(name, "modules.json"):
        try:
            return load(name, device="cpu", local_files_only=True)
        except (OSError, ValueError):  # cut short while it was downloaded
            if _away() is not None:
                raise
    if (why := _away()) is None:
        return load(name, device="cpu")
    if _has_kept(name, "config.json"):  # a model without the library's own list of modules
        return load(name, device="cpu", local_files_only=True)
    raise TextError(
        f"{name}: not in the cache of the Hugging Face hub, and {why}",
        hint="download that sentence encoder where there is a network, and give its folder "
        "(--text-model FOLDER)",
    )


def _has_kept(name: str, file: str) -> bool:
    """Return whether the hub's cache has ``file`` of the model ``name``."""
    # A bare name is one of the library's own, or of the hub's first models.
    owned = [name] if "/" in name else [f"sentence-transformers/{name}", name]
    return any(isinstance(try_to_load_from_cache(one, file), str) for one in owned)


def _away() -> str | None:
    """Return why nothing can be had from the hub; None: it takes connections."""
    if hub_constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids downloads"
    server = hub_server()
    return None if reachable(server) else f"{server} cannot be reached"
