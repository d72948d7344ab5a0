"""Networks that come with jinv, trained by `jinv train`: of each what lay in the directory that it was trained in.

networks/NAME/   model.safetensors  training.json  metrics.jsonl  config.toml
"""

from pathlib import Path

from jinv.errors import UnsafeInputError
from jinv.record.training import NETWORK
from jinv.weights.cache import file_sha256

FOLDER = Path(__file__).with_name("networks")

PACKAGED: dict[str, str] = {
    "cifar10_resnet20": "c73f1f1cea923980f8a476f36e2cdd29e3c324ceb5b14c05f2d8a5f259ae3f34",
    "cifar10_resnet20_linf8": "1502c14fc656ae5a0211db63be4e2472263a009dca37355db34826795703f699",
}
"""sha256 of the network's file by name."""


def packaged_network(name: str) -> Path:
    """The file of a network that comes with jinv.

    Raises:
      StorageError: it is not there. UnsafeInputError: it is another one than was packaged.
    """
    path = packaged_training(name) / NETWORK
    if (digest := file_sha256(path)) != PACKAGED[name]:
        raise UnsafeInputError(f"{path}: sha256 {digest} is not {PACKAGED[name]}, the one of the packaged {name}")
    return path


def packaged_training(name: str) -> Path:
    """The directory of a packaged network's training."""
    return FOLDER / name
