"""Reads PyTorch's checkpoint files and safetensors with numpy and the standard library; executes nothing of them."""

from jinv_convert.reader.read import read_checkpoint
from jinv_convert.reader.types import Checkpoint, Opaque, TensorRef

__all__ = ["Checkpoint", "Opaque", "TensorRef", "read_checkpoint"]
