"""Rules for MobileNetV2: torchvision's names, and those of the first PyTorch files, whose blocks are flat Sequentials."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "stem_features": axis(shapes, "features.0.0.weight", 0),
        "head_inputs": axis(shapes, "features.18.0.weight", 1),
    }


FAMILY = Family(
    title="a torchvision MobileNetV2",
    markers=("features.0.0.weight", "features.0.1.running_mean", "features.1.conv.0.0.weight", "classifier.1.weight"),
    # torchvision's MobileNetV3 and EfficientNet name their blocks `block`; a 19th stage is somebody else's variant.
    absent=("features.1.block.0.0.weight", "features.19.0.weight"),
    head="classifier.1",
    can_lack_head=True,
    describe=_describe,
)

FLAT = Family(
    title="a MobileNetV2 of flat blocks",
    markers=(
        "features.0.0.weight",
        "features.0.1.running_mean",
        "features.1.conv.3.weight",
        "features.2.conv.7.running_mean",
        "features.18.0.weight",
        "classifier.1.weight",
    ),
    absent=("features.1.conv.0.0.weight", "features.19.0.weight"),
    head="classifier.1",
    can_lack_head=True,
    describe=_describe,
    # Activations count as places too: convolution, norm, ReLU6 are three. The first block does not expand.
    renames=(
        (r"^features\.1\.conv\.2$", "features.1.conv.4"),
        (r"^features\.1\.conv\.1$", "features.1.conv.3"),
        (r"^features\.(?!1\.)(\d+)\.conv\.3$", r"features.\1.conv.7"),
        (r"^features\.(?!1\.)(\d+)\.conv\.2$", r"features.\1.conv.6"),
        (r"\.conv\.1\.1$", ".conv.4"),
        (r"\.conv\.1\.0$", ".conv.3"),
        (r"\.conv\.0\.([01])$", r".conv.\1"),
    ),
    # Where the last convolution and the classifier are modules of their own.
    aliases=((r"^conv\.([01])\.", r"features.18.\1."), (r"^classifier\.(?=weight|bias)", "classifier.1.")),
)
