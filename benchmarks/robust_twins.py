"""Four CIFAR-10 ResNet-20s that differ in one thing, the strength of the attack that they were trained against.

    python -m benchmarks.robust_twins --start resnet20-12fca82f.th --data train.zip --out DIR --eps 0 2 4 8

Every twin starts from the same published weights and sees the same images in the same order with the same shifts and
flips; `eps`, in 255ths, is how far the attack may move a pixel. The attack is one step with a random start (Wong et al.
2020), so a pass costs two forward and two backward passes. Writes `eps<N>.pt`, a plain state dict, and `eps<N>.json`: its
accuracy on real images and under a stronger attack (PGD, Madry et al. 2018). What is there already, trained by the same
settings, is kept. The weights' preprocessing stays the published one, mean and deviation of ImageNet.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import machine
from benchmarks.labelled_images import read_labelled
from benchmarks.robustness_records import (
    AttackedScore,
    File,
    Score,
    Settings,
    Twin,
    read_record,
    write_record,
)
from jinv.errors import JinvError
from jinv.files import atomic_path
from jinv.models.registry import get_architecture
from jinv.weights.cache import file_sha256
from jinv_convert.families.rules import COUNTER
from jinv_convert.reader import read_checkpoint
from jinv_convert.reference import make_reference
from jinv_convert.reference.measure import load_weights
from jinv_convert.state_dict import select_state_dict
from jinv_convert.tensor_checks import read_weights

NETWORK = "resnet20"
WHITE = 255
PADDING = 4
PGD_STEPS, PGD_STEP = 20, 0.25
"""Steps of the measuring attack, and a step's length as a share of eps: 2/255 at 8/255."""
COMMON_EPS = 8.0
"""The attack that every twin is measured by besides its own, in 255ths."""
ATTACKED_EVERY = 10
"""Of the sorted test images one in ten is attacked: 1,000, the same number of each class."""


class Images(NamedTuple):
    """uint8 pixels (n, 3, height, width) and class ids (n)."""

    pixels: Tensor
    labels: Tensor


class Attack(NamedTuple):
    """A search for the worst image within `eps` of each pixel (white is 1): `steps` of length `step` along the sign."""

    eps: float
    steps: int
    step: float

    @classmethod
    def single_step(cls, eps: float, share: float) -> "Attack":
        """The one that training uses; `share` of eps is its step."""
        return cls(eps, 1, share * eps)

    @classmethod
    def projected(cls, eps: float) -> "Attack":
        """The one that measures."""
        return cls(eps, PGD_STEPS, PGD_STEP * eps)


def read_images(path: Path) -> Images:
    """Every image of a folder or zip, class by class; raises as `read_labelled`."""
    pictures, labels = read_labelled(path)
    return Images(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels))


def start_network(checkpoint: Path) -> nn.Module:
    """The ResNet-20 of a checkpoint, read by the converter's reader: nothing of the file is executed."""
    tensors = select_state_dict(read_checkpoint(checkpoint)).tensors
    # How many batches a norm has seen is a count, not a weight.
    weights, _ = read_weights({name: ref for name, ref in tensors.items() if not name.endswith(COUNTER)})
    network = load_weights(make_reference(NETWORK), {name: array.copy() for name, array in weights.items()})
    return network.requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def logits_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """Logits of images in [0, 1]: the attack moves pixels, the network sees them standardised."""
    architecture = get_architecture(NETWORK)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (architecture.mean, architecture.std))
    standardised = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
    # In float32 whatever the activations were: small differences of the loss are what an attack follows.
    logits: Tensor = network(standardised).float()
    return logits


def attacked(network: nn.Module, pixels: Tensor, labels: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] within `attack.eps` of `pixels` that raise the loss, from a start drawn uniformly.

    By the network's running statistics, as it will be used (as Zhang et al. 2019 do), so that the attack leaves them alone.
    """
    if attack.eps == 0:
        return pixels
    network.eval()
    delta = (2 * torch.rand(pixels.shape, generator=generator) - 1) * attack.eps
    for _ in range(attack.steps):
        moved = (pixels + delta).clamp(0, 1).requires_grad_(True)
        loss = F.cross_entropy(logits_of(network, moved), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        delta = (moved.detach() + attack.step * gradient.sign() - pixels).clamp(-attack.eps, attack.eps)
    return (pixels + delta).clamp(0, 1)


def augmented(images: Images, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """The chosen images in [0, 1], each shifted by up to `PADDING` pixels over black and flipped half the time."""
    size = images.pixels.shape[-1]
    padded = F.pad(images.pixels[chosen], (PADDING,) * 4)
    top, left = torch.randint(2 * PADDING + 1, (2, len(chosen)), generator=generator)
    flip = torch.rand(len(chosen), generator=generator) < 0.5
    along = torch.arange(size)
    across = torch.where(flip[:, None], along.flip(0), along) + left[:, None]
    rows = (along + top[:, None])[:, None, :, None]
    n, channels = torch.arange(len(chosen))[:, None, None, None], torch.arange(3)[None, :, None, None]
    return padded[n, channels, rows, across[:, None, None, :]].float() / WHITE


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices in random order, the last incomplete batch left out."""
    order = torch.randperm(count, generator=generator)
    yield from torch.split(order[: count - count % size], size)


def arithmetic(settings: Settings) -> torch.autocast:
    """The context in which a twin is trained: half the time of float32 where the processor multiplies bfloat16."""
    # Without its cache of rounded weights, which outlives an update made within the context.
    return torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16", cache_enabled=False)


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> float:
    """One update on images in [0, 1]; the loss before it."""
    network.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(logits_of(network, pixels), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def train(network: nn.Module, images: Images, eps: float, settings: Settings) -> list[float]:
    """Adversarial training in place, `eps` with white as 1; the mean loss of every epoch.

    Raises:
      ValueError: fewer images than a batch has.
    """
    if len(images.labels) < settings.batch:
        raise ValueError(f"train: {len(images.labels)} images, a batch has {settings.batch}")
    # Two generators: that the attack draws numbers must not change which images a twin sees.
    drawn, starts = (torch.Generator().manual_seed(settings.seed + offset) for offset in (0, 1))
    optimizer = torch.optim.SGD(
        network.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
    )
    total = settings.epochs * (len(images.labels) // settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    attack = Attack.single_step(eps, settings.attack_step)
    means = []
    for _ in range(settings.epochs):
        losses = []
        for chosen in batches(len(images.labels), settings.batch, drawn):
            labels = images.labels[chosen]
            with arithmetic(settings):
                pixels = attacked(network, augmented(images, chosen, drawn), labels, attack, starts)
                losses.append(train_step(network, optimizer, pixels, labels))
            schedule.step()
        means.append(float(np.mean(losses)))
        print(f"eps {WHITE * eps:g}/255, epoch {len(means)} of {settings.epochs}: loss {means[-1]:.3f}", flush=True)
    network.eval()
    return means


def correct(network: nn.Module, images: Images, attack: Attack, batch: int = 128, seed: int = 0) -> int:
    """How many images are still classified rightly when attacked."""
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    right = 0
    for pixels, labels in zip(torch.split(images.pixels, batch), torch.split(images.labels, batch), strict=True):
        moved = attacked(network, pixels.float() / WHITE, labels, attack, generator)
        with torch.no_grad():
            right += int((logits_of(network, moved).argmax(1) == labels).sum())
    return right


def measure(network: nn.Module, test: Images, eps_255: float) -> tuple[Score, tuple[AttackedScore, ...]]:
    """Accuracy on all test images, and under attack at `eps_255` and at `COMMON_EPS` on one in `ATTACKED_EVERY`."""
    some = Images(test.pixels[::ATTACKED_EVERY], test.labels[::ATTACKED_EVERY])
    under_attack = tuple(
        AttackedScore(
            eps_255=strength,
            correct=correct(network, some, Attack.projected(strength / WHITE)),
            count=len(some.labels),
        )
        for strength in dict.fromkeys((eps_255, COMMON_EPS))
    )
    return Score(correct=correct(network, test, Attack.projected(0)), count=len(test.labels)), under_attack


def save(network: nn.Module, path: Path) -> str:
    """The state dict as torch writes it, whole or not at all; its sha256."""
    # In torch's usual order: a file says nothing of the memory format that was fast here.
    plain = torch.contiguous_format
    state = {name: value.detach().clone(memory_format=plain) for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    return file_sha256(path)


def make_twin(start: Path, images: Images, test: Images, eps_255: float, settings: Settings) -> tuple[nn.Module, Twin]:
    """A network trained and measured; the digest of its file is still empty."""
    network, began = start_network(start), time.perf_counter()
    losses = train(network, images, eps_255 / WHITE, settings)
    seconds = time.perf_counter() - began
    clean, under_attack = measure(network, test, eps_255)
    return network, Twin(
        eps_255=eps_255,
        settings=settings,
        start=File(file=start.name, sha256=file_sha256(start)),
        images=len(images.labels),
        epoch_losses=tuple(round(loss, 4) for loss in losses),
        training_seconds=round(seconds, 1),
        clean=clean,
        pgd20=under_attack,
        threads=torch.get_num_threads(),
        machine=machine.describe(),
        sha256="",
    )


def is_made(folder: Path, name: str, settings: Settings, start: Path) -> bool:
    """Whether this twin is there, whole, trained by these settings from this file."""
    record, weights = folder / f"{name}.json", folder / f"{name}.pt"
    if not (record.is_file() and weights.is_file()):
        return False
    twin = read_record(record, Twin)
    return twin.settings == settings and twin.sha256 == file_sha256(weights) and twin.start.sha256 == file_sha256(start)


def make_twins(
    start: Path, images: Images, test: Images, strengths: Sequence[float], out: Path, settings: Settings
) -> None:
    """Train, measure and write the twin of every strength, in 255ths, that is not in `out` already."""
    out.mkdir(parents=True, exist_ok=True)
    for eps_255 in strengths:
        name = f"eps{eps_255:g}"
        if is_made(out, name, settings, start):
            continue
        network, twin = make_twin(start, images, test, eps_255, settings)
        twin = twin.model_copy(update={"sha256": save(network, out / f"{name}.pt")})
        write_record(out / f"{name}.json", twin)
        attacked = ", ".join(f"{s.correct} of {s.count} at {s.eps_255:g}/255" for s in twin.pgd20)
        print(f"{name}: {twin.clean.correct} of {twin.clean.count} right; attacked {attacked}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robust_twins", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--start", type=Path, required=True, metavar="FILE.th", help="the ResNet-20 that all start from"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="TRAIN", help="training images by class")
    parser.add_argument("--test", type=Path, metavar="TEST", help="test images (default: test.zip beside TRAIN)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--eps", type=float, nargs="+", default=[0, 2, 4, 8], help="in 255ths")
    parser.add_argument("--epochs", type=int, default=Settings().epochs, help="passes over the training images")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    for name, values, lowest in (
        ("eps", options.eps, 0),
        ("epochs", [options.epochs], 1),
        ("threads", [options.threads], 1),
    ):
        if wrong := [value for value in values if not lowest <= value <= WHITE]:
            parser.error(f"--{name} {wrong[0]:g}: between {lowest} and {WHITE}")
    torch.set_num_threads(options.threads)
    try:
        images, test = read_images(options.data), read_images(options.test or options.data.with_name("test.zip"))
        make_twins(options.start, images, test, options.eps, options.out, Settings(epochs=options.epochs))
    except (JinvError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
