"""How the official code of the AdaFocus family names the tensors of its encoders.

Example:
    >>> from foveal.backbones.official import encoder_name
    >>> encoder_name("features.1.conv.0.weight"), encoder_name("layer1.0.conv1.net.weight")
    ('blocks.0.0.conv_dw.weight', 'layer1.0.conv1.conv.weight')
"""

from __future__ import annotations


def encoder_name(name: str) -> str:
    """Return timm's name of a tensor of an official encoder; ResNets share theirs."""
    module, _, leaf = name.rpartition(".")
    shifted = module.endswith(".net")
    module = module.removesuffix(".net")
    module = mobilenetv2_modules().get(module, module)
    return f"{module}.conv.{leaf}" if shifted else f"{module}.{leaf}"


def mobilenetv2_modules() -> dict[str, str]:
    """Return official module to timm's for MobileNetV2."""
    names = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.18.0": "conv_head",
        "features.18.1": "bn2",
    }
    first = {0: "conv_dw", 1: "bn1", 3: "conv_pw", 4: "bn2"}
    others = {0: "conv_pw", 1: "bn1", 3: "conv_dw", 4: "bn2", 6: "conv_pwl", 7: "bn3"}
    index = 1
    for stage, repeats in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for block in range(repeats):
            for place, layer in (others if stage else first).items():
                names[f"features.{index}.conv.{place}"] = f"blocks.{stage}.{block}.{layer}"
            index += 1
    return names
