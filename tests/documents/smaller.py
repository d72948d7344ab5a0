"""How the documents' commands are made smaller, what they are changed in besides, and which are not carried out."""

import json
import re
import shlex
import tomllib
from pathlib import Path

from jinv.recipe.packaged import DISTILLATIONS, TRAININGS, find_config
from jinv.recipe.read import read_table

SYNTHESES = ("synthesize", "worker", "sweep", "search")
SAME_PROGRAM = ("noise", "dream", "prior")
"""Sources of configs/distillation/cifar10.toml that differ from another one in numbers alone."""

PYTHON = ((r"\b112\b", "32"), (r"(steps\W{1,4})\d+", r"\g<1>2"))
"""What replaces what in a Python block before it is executed."""

CHANGED = (
    (r"--optuna [24]0\b", "--optuna 2", "two trials instead of twenty"),
    (r"--optuna 60\b", "--optuna 4", "and two more of them, two at a time"),
    (r"--at-once 4\b", "--at-once 2", "the same"),
    (r"=1e-3:1:log8\b", "=1e-3:1:log2", "two values of a range"),
    (r"=20:100:5 seed=0:4:5\b", "=1:2:2 seed=0:1:2", "two settings"),
    (r"seed=0:15:16 --set devices=2\b", "seed=0:1:2 --set devices=1", "a test's process has one device"),
    (r"(jinv status \S+) --watch \d+", r"\1", "it looks until the run has ended"),
    (
        r"jinv convert ",
        "jinv convert --unverified ",
        "stand-ins have not the digests of the files whose names they have",
    ),
    (r"\bMODEL\b", "efficientnet_lite0", "a placeholder that is no file"),
    (r"\bRUN\b", "runs/demo", "a placeholder that is no file"),
    (r"--out DIR\b|\bDIR\b", lambda match: match[0].replace("DIR", "runs/ours"), "a placeholder that is no file"),
)
"""(what, by what, why) is replaced in a shell block's lines before they are carried out."""

PARSED_ALONE = (
    (r"make ", "the job of CI: its targets are there"),
    (r"pip install ", "installs from a registry: the extras are there"),
    (r"\.venv/bin/", "changes the checkout's git hooks: something installs it"),
    (r"python -m ", "takes minutes to hours: its arguments are parsed"),
    (r"jinv validate ", "a minute, and tests/converter/test_validate.py has it of many networks"),
    (r"jinv distill .*=IMAGES", "docs/distillation.md has it, carried out"),
    (r"(srun )?jinv synthesize .*--distributed", "waits for other processes; tests/runs/test_distributed.py"),
)
"""(commands, why) that are not carried out, and what is looked at instead."""


def smaller(words):
    """A command of jinv's with settings that let it end in a second or two, whatever it computes."""
    command = words[0]
    if command in SYNTHESES:
        return [*words, "--set", *_of_synthesis(words)]
    if command == "train":
        return [*words, "--set", "architecture=one_block", "epochs=1", "batch=20", *_attack(words)]
    if command == "distill":
        return [*words, "--set", *_of_distillation(words)]
    if command == "reproduce":
        one = [
            "evaluate={}",
            "image.labels=[0, 1]",
            "image.count=2",
            "image.size=16",
            "stages=[{size = 16, steps = 1}]",
        ]
        return [*words, "--only", "4.1", "--set", *one]
    return words


def _option(words, name):
    """The words after every option of that name."""
    found, taken = [], False
    for word in words:
        if word.startswith("--"):
            taken = word == name
        elif taken:
            found.append(word)
    return found


def _of_synthesis(words):
    config = find_config(words[1])
    table = read_table(config, _option(words, "--set"))
    yield from ("image.count=4", "image.batch=2", "image.size=16", "stages=[{size=16,steps=1}]")
    if "squeezenet1_1_caffe" in (judges := table.get("evaluate", {}).get("verifiers", [])) and len(judges) > 1:
        yield 'evaluate.verifiers=["squeezenet1_1_caffe"]'
    if "layer_activation" in table["terms"]:
        yield "terms.layer_activation.layer=0"
    if table.get("augment", {}).get("roll", {}).get("max_shift", 0) > 4:
        yield "augment.roll.max_shift=4"


def _attack(words):
    config = find_config(words[1], TRAININGS)
    attacked = "attack" in tomllib.loads(config.read_text())
    return ["learning_rate.warmup=1", *(["attack.steps=1", "adversary.steps=1"] if attacked else [])]


def _of_distillation(words):
    images = read_table(find_config(words[1], DISTILLATIONS), _option(words, "--set"))["images"]
    yield from ("count=4", "seeds=[0]", "student.architecture=one_block", "student.epochs=1", "student.batch=4")
    yield "student.learning_rate.warmup=1"
    kept = {name: source for name, source in images.items() if name not in SAME_PROGRAM}
    for source in kept.values():
        if "recipe" in source:
            recipe = str(find_config("quality/cifar10_to_train_on"))
            source |= {"recipe": recipe, "set": [*source.get("set", []), "image.batch=2", "stages.0.steps=1"]}
    yield "images=" + _inline(kept)


def _inline(value):
    """A value as TOML has it on one line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}={_inline(entry)}" for name, entry in value.items()) + "}"
    return json.dumps(value)


def changed(line):
    """A shell block's line with everything in `CHANGED` replaced."""
    for pattern, replacement, _ in CHANGED:
        line = re.sub(pattern, replacement, line)
    return line


def why_parsed_alone(words):
    """Why a command is not carried out; None of one that is."""
    text = shlex.join(words) + " "
    return next((why for pattern, why in PARSED_ALONE if re.match(pattern, text)), None)


def is_placed(path: Path):
    """Whether a command may make a folder there: below the one it stands in."""
    return not path.is_absolute() and ".." not in path.parts
