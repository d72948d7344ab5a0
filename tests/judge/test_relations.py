"""Who is a sibling of the inverted network, who a stranger, and what is known of published checkpoints."""

import pytest

from jinv.judge.relations import Pedigree, pedigrees_of, relation_of
from jinv.models.architecture import EMBEDDED
from jinv.models.origins import PAPERS, origin_of
from jinv.models.registry import ARCHITECTURES, family_of
from jinv.record.manifest import InvertedModel, Manifest
from jinv_convert.published import TORCHVISION_FILES

LITE0 = Pedigree("EfficientNetLite", "google", "a")


@pytest.mark.parametrize(
    ("judge", "relation"),
    [
        (Pedigree("EfficientNetLite", "google", "b"), "sibling"),
        (Pedigree("EfficientNetLite", "others", "b"), "sibling"),
        (Pedigree("EfficientNetLite", None, None), "sibling"),
        (Pedigree("efficientnet_lite", None, None), "sibling"),
        (Pedigree("EfficientNet-Lite2", "others", None), "sibling"),
        (Pedigree("EfficientNet", "others", None), "sibling"),
        (Pedigree("LiteNet", "others", None), "stranger"),
        (Pedigree("MobileNetV2", "Google", "b"), "sibling"),
        (Pedigree(None, "google", "b"), "sibling"),
        (Pedigree("MobileNetV2", "others", None), "stranger"),
        (Pedigree("MobileNetV2", None, "b"), "unknown"),
        (Pedigree(None, "others", "b"), "unknown"),
        (Pedigree(None, None, None), "unknown"),
        (Pedigree("MobileNetV2", "others", "a"), "inverted"),
        (Pedigree("MobileNetV2", "others", "student"), "student"),
    ],
)
def test_family_and_training_say_what_a_judge_is(judge, relation):
    assert relation_of(judge, [LITE0], "student") == relation


def test_a_judge_is_a_sibling_of_a_committee_if_it_is_of_any_member():
    resnet, unknown = Pedigree("ResNet", "torchvision", "c"), Pedigree("VGG", None, "d")
    judge = Pedigree("DenseNet", "torchvision", "e")
    assert relation_of(judge, [LITE0]) == "stranger"
    assert relation_of(judge, [LITE0, resnet]) == "sibling"
    assert relation_of(judge, [LITE0, unknown]) == "unknown"
    assert relation_of(judge, [unknown, resnet, LITE0]) == "sibling"
    assert relation_of(Pedigree("DenseNet", "google", "c"), [LITE0, resnet]) == "inverted"
    assert relation_of(judge, []) == "unknown"


def test_networks_without_a_digest_are_not_taken_for_each_other():
    nameless = Pedigree("A", "x", None)
    assert relation_of(nameless, [Pedigree("B", "y", None)], None) == "stranger"


def test_a_run_of_before_is_known_by_its_architecture_and_digest():
    sha256 = EMBEDDED["efficientnet_lite0"].sha256
    old = Manifest(model=InvertedModel(architecture="efficientnet_lite0", sha256=sha256))
    assert pedigrees_of(old) == (Pedigree("EfficientNetLite", "google-efficientnet-lite", sha256),)
    stated = Manifest(model=InvertedModel(architecture="one of ours", family="Ours", training="us", sha256="b"))
    assert pedigrees_of(stated) == (Pedigree("Ours", "us", "b"),)
    assert pedigrees_of(Manifest()) == (Pedigree(None, None, None),)


def test_what_is_embedded_or_published_has_an_origin():
    """The digests are those of the two other tables, which tests of downloads and of embedded weights hold to the files."""
    for checkpoint in EMBEDDED.values():
        assert origin_of(checkpoint.sha256).accuracy is not None
    for file in TORCHVISION_FILES.values():
        origin = origin_of(file.removesuffix(".pth").rsplit("-", 1)[1])
        # torchvision's own and those that it ported; no network of ImageNet's thousand classes is worse than AlexNet.
        assert origin.training in {"torchvision", "timm", "google-efficientnet", "tf-slim"} or "-" in origin.training
        assert 0.56 < origin.accuracy < 0.9 and origin.preparation.crop <= origin.preparation.resize
        assert (origin.license is None) == (origin.training == "ericsun99-shufflenet")
    assert origin_of("12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8").accuracy == 0.9173
    robust, parent = origin_of("fcafcf8d21fc6d4c"), origin_of("12fca82f0bebc413")
    assert robust.training == parent.training and robust.accuracy is None
    assert origin_of(None) is None and origin_of("") is None and origin_of("0" * 64) is None


def test_every_network_that_torchvision_publishes_by_name_is_one_of_ours():
    assert {name.removesuffix("_v2") for name in TORCHVISION_FILES} - {"mobilenet"} <= ARCHITECTURES.keys()


def test_every_architecture_has_a_family_and_every_family_a_paper():
    assert all(PAPERS[family_of(name)].startswith("arXiv:") for name in ARCHITECTURES)
    assert {family_of(name) for name in ARCHITECTURES} >= {"EfficientNetLite", "ResNet", "ResNetCifar", "VGG"}
    assert family_of("resnet20") == family_of("resnet56") != family_of("resnet50")
    assert family_of("squeezenet1_1") == family_of("squeezenet1_1_caffe") == "SqueezeNet"
    assert family_of("one of ours") is None and family_of(None) is None
