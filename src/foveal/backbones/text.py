"""Names to vectors by a sentence encoder, which the extra ``text`` brings.

Letters: N names, W width of a vector.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np

from foveal.types import Array, FovealError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Apache-2.0; 384 numbers a name."""

HUB_SECONDS = 5.0
"""How long the hub may take to answer."""

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


def need_hub(name: str) -> None:
    """Ask that the Hugging Face hub can be reached, if a model is not in its cache.

    Who loads a model asks for each of its files again and again before it gives up, for a minute.
    Behind a proxy nothing is asked.

    Raises:
        TextError: the hub cannot be reached.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "modules.json"), str):
        return
    hub = urlsplit(constants.ENDPOINT)
    if getproxies() or not hub.hostname:
        return
    try:
        port = hub.port or (80 if hub.scheme == "http" else 443)
        socket.create_connection((hub.hostname, port), timeout=HUB_SECONDS).close()
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise TextError(
            f"{name}: not in the cache of the Hugging Face hub, and {hub.hostname} cannot be "
            f"reached ({reason})",
            hint="give the folder of a sentence encoder (--text-model), or go online once",
        ) from error


def sentence_encoder(model: str | os.PathLike[str] = MODEL) -> Encode:
    """Return a sentence encoder on the CPU.

    Args:
        model: a folder, or a name on the Hugging Face hub, which is downloaded once.

    Raises:
        TextError: the extra is missing, or there is no such model.
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
    if not os.path.isdir(name):
        need_hub(name)
    try:
        encoder: Any = SentenceTransformer(name, device="cpu")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TextError(
            f"{name}: no sentence encoder ({reason})",
            hint="give a model of sentence-transformers: by name where the network has it, or as "
            "a folder that holds one",
        ) from error
    return lambda texts: np.asarray(encoder.encode(texts, show_progress_bar=False))
