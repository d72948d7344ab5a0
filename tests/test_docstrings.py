"""What is public says what it is: names of jinv, modules, functions, classes and their methods; rooms have a page each."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import jinv
from tools import structure

ROOT = Path(structure.__file__).resolve().parents[1]
MODULES = {
    name: module
    for name, module in structure.read_modules(ROOT).items()
    if name.split(".")[0] in ("jinv", "jinv_convert")
}
PACKAGES = {name: module for name, module in MODULES.items() if module.path.name == "__init__.py" and name != "jinv"}

WITHOUT = {
    "__version__": "a string",
    "Number": "a union of types, which cannot carry one; a string below it in `jinv.core.types` says what it is",
    "Scalar": "a type that jaxtyping makes",
    "Image": "likewise",
}
"""Public names that have no docstring, and why."""

LACKING = {
    # torch calls them, and says what they are
    "jinv_convert.reference": """densenet.DenseLayer.forward densenet.DenseNet.forward efficientnet.Block.forward
        efficientnet.EfficientNet.forward efficientnet.SqueezeExcite.forward efficientnet_lite.Block.forward
        efficientnet_lite.EfficientNetLite.forward efficientnet_lite.StaticSameConv2d.forward
        mobilenet.InvertedResidual.forward mobilenet.MobileNetV2.forward mobilenet_v3.Block.forward
        mobilenet_v3.MobileNetV3.forward mobilenet_v3.SqueezeExcite.forward regnet.Block.forward regnet.RegNet.forward
        regnet.SqueezeExcite.forward resnet.BasicBlock.forward
        resnet.Bottleneck.forward resnet.ResNet.forward resnet_cifar.BasicBlock.forward resnet_cifar.ResNetCifar.forward
        resnet_preact.PreActBlock.forward resnet_preact.PreActBottleneck.forward resnet_preact.ResNetPreAct.forward
        resnet_shortcut.Block.forward resnet_shortcut.ShortcutResNet.forward
        resnet_wide.WideBlock.forward resnet_wide.ResNetWide.forward
        shufflenet.ShuffleNetV2.forward shufflenet.Unit.forward
        squeezenet.CaffeFire.forward squeezenet.CaffeSqueezeNet.forward squeezenet.Fire.forward
        squeezenet.SqueezeNet.forward vgg.LinearVGG.forward vgg.VGG.forward
        NoHead.forward googlenet.BasicConv.forward googlenet.GoogLeNet.forward googlenet.Inception.forward
        inception.InceptionA.forward inception.InceptionB.forward inception.InceptionC.forward
        inception.InceptionD.forward inception.InceptionE.forward inception.InceptionV3.forward
        mobilenet.FlatResidual.forward mobilenet_v1.MobileNetV1.forward mobilenet_v1.TimmMobileNetV1.forward
        mobilenet_v1.TimmSeparable.forward""",
    # what they override has one
    "jinv": """recipe.onnx.OnnxTable.conflicts recipe.recipe.Recipe.conflicts reproduce.plan.Sheets.conflicts reproduce.plan.Sheets.model_post_init""",
    # one per opcode, whose meaning is pickle's; the table below them says which
    "jinv_convert.reader.pickle_machine.PickleMachine": """integer
        python2_string tuple_of append set_items set_one add_items frozen_set drop name global_name stack_global
        reduce build persistent_id frame""",
}
"""Public functions and methods without a docstring, by where they are; whoever writes one takes its name out."""


def undocumented(name, tree):
    """Dotted names, of a module or a class and of all that is public in it, that have no docstring."""
    if not ast.get_docstring(tree):
        yield name
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from undocumented(f"{name}.{node.name}", node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{name}.{node.name}"


def test_everything_public_has_a_docstring():
    found = {place for name, module in MODULES.items() for place in undocumented(name, module.tree)}
    lacking = {f"{where}.{name}" for where, names in LACKING.items() for name in names.split()}
    assert found - lacking == set(), "without a docstring"
    assert lacking - found == set(), "have one: take them out of the list"


def test_what_lacks_a_docstring_is_found():
    text = 'def f(): ...\nclass A:\n    "A."\n    def f(self): ...\n    def _g(self): ...\nclass _B:\n    def f(self): ...\n'
    assert list(undocumented("m", ast.parse(text))) == ["m", "m.f", "m.A.f"]


@pytest.mark.parametrize("name", sorted(set(jinv.__all__) - WITHOUT.keys()))
def test_a_public_name_has_a_docstring(name):
    assert (getattr(jinv, name).__doc__ or "").strip(), f"jinv.{name} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_rooms_docstring_is_a_page_that_names_its_modules(name):
    page = ast.get_docstring(PACKAGES[name].tree) or ""
    assert 5 <= len(page.splitlines()) <= 15, "a page has five to fifteen lines"
    modules = [other.removeprefix(f"{name}.") for other in MODULES if other.startswith(f"{name}.")]
    inside = {module.split(".")[0] for module in modules if module.split(".")[0] != "data"}
    assert inside - set(re.findall(r"\w+", page)) == set(), "modules that the page does not name"
    assert "mport" in page, "what may it import?"
    if name != "jinv.weights.data":
        assert re.search(r"\buses? (it|them)\b", " ".join(page.split())), "who uses it?"


def test_make_docs_builds_a_page_of_every_room_and_of_the_public_names(tmp_path):
    said = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Under `make test` it also says which directory it enters and leaves.
    (line,) = [line for line in said.splitlines() if "pdoc" in line]
    _, *arguments = shlex.split(line)
    arguments[arguments.index("build/docs")] = str(tmp_path)
    # Sources beside the pages are pdoc's own work.
    subprocess.run([sys.executable, *arguments, "--no-show-source"], cwd=ROOT, capture_output=True, check=True)
    for name in [*PACKAGES, "jinv.errors", "jinv.files"]:
        assert (tmp_path / f"{name.replace('.', '/')}.html").is_file(), f"no page of {name}"
    page = (tmp_path / "jinv.html").read_text()
    modules = {name for name in jinv.__all__ if f"jinv.core.{name}" in MODULES or f"jinv.judge.{name}" in MODULES}
    assert {name for name in jinv.__all__ if f'id="{name}"' not in page} == modules - {"synthesize", "evaluate"}
