"""Rules for MobileNetV1: the names of marvis/pytorch-mobilenet, which most PyTorch files have, and timm's.

Both have the same tensors and different activations: the names alone tell them apart.
"""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    width, blocks = axis(shapes, "model.0.0.weight", 0), count_children(shapes, "model")
    outputs = [axis(shapes, f"model.{block}.3.weight", 0) for block in range(1, blocks)]
    # Nothing but the width changes from stage to stage, which doubles.
    return {"width": width, "stage_sizes": tuple(outputs.count(width * 2**stage) for stage in range(1, 6))}


def _describe_timm(shapes: Shapes) -> dict[str, Any]:
    stages = tuple(count_children(shapes, f"blocks.{stage}") for stage in range(5))
    return {"width": axis(shapes, "conv_stem.weight", 0), "stage_sizes": stages}


FAMILY = Family(
    title="a MobileNetV1",
    markers=("model.0.0.weight", "model.0.1.running_mean", "model.1.3.weight", "model.1.4.running_mean", "fc.weight"),
    head="fc",
    describe=_describe,
    renames=(
        (r"^conv_stem$", "model.0.0"),
        (r"^bn1$", "model.0.1"),
        (r"^classifier$", "fc"),
        # Activations count as places too.
        *(
            (rf"^(model\.\d+)\.{layer}$", rf"\1.{place}")
            for layer, place in {"conv_dw": 0, "bn1": 1, "conv_pw": 3, "bn2": 4}.items()
        ),
    ),
    # `model.` is also what wrappers put before every name, and is left out with theirs.
    aliases=((r"^(?=\d+\.[0134]\.)", "model."),),
)

TIMM = Family(
    title="a timm MobileNetV1",
    markers=(
        "conv_stem.weight",
        "bn1.running_mean",
        "blocks.0.0.conv_dw.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.4.0.bn2.running_mean",
        "classifier.weight",
    ),
    # Inverted residuals of the networks that came after, and the variant with one more convolution.
    absent=("blocks.1.0.conv_pwl.weight", "blocks.5.0.conv_dw.weight", "conv_head.weight"),
    head="classifier",
    can_lack_head=True,
    describe=_describe_timm,
)
