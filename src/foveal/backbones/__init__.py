"""Networks that turn pictures or clips into feature maps, of one form each."""

from foveal.backbones.focus import focus_encoder, glance_encoder
from foveal.backbones.form import ImageBackbone, ImageClassifier, VideoBackbone
from foveal.backbones.frames import frame_recogniser, object_network, preview_encoder
from foveal.backbones.image import (
    ImageBackboneName,
    create,
    create_classifier,
    imagenet_names,
)
from foveal.backbones.pretrained import Loaded, PretrainedError, load_modules, load_pretrained
from foveal.backbones.shift import insert_temporal_shift
from foveal.backbones.small import conv_stack, small_mobilenet, small_resnet
from foveal.backbones.video import VideoBackboneName, create_video

__all__ = [
    "ImageBackbone",
    "ImageBackboneName",
    "ImageClassifier",
    "Loaded",
    "PretrainedError",
    "VideoBackbone",
    "VideoBackboneName",
    "conv_stack",
    "create",
    "create_classifier",
    "create_video",
    "focus_encoder",
    "frame_recogniser",
    "glance_encoder",
    "imagenet_names",
    "insert_temporal_shift",
    "load_modules",
    "load_pretrained",
    "object_network",
    "preview_encoder",
    "small_mobilenet",
    "small_resnet",
]
