"""PyTorch's checkpoint files, safetensors and pickles of arrays, read with numpy and the standard library; executes nothing of them.

    read                      `read_checkpoint`: from a path to a `Checkpoint`
    sniff, source, limits     what kind of file it is, its bytes, and how much it may ask for
    zip_archive, zip_container, legacy_container, safetensors_container   the four containers
    pickle_machine, pickle_stack, globals, rebuild   an inert unpickler: which names mean something, and what
    numpy_pickle              arrays in a plain pickle
    storages, tree, types     tensors that are still on disk, checks of the finished tree, the values that come out

Whatever is malformed in a file is an `UnsafeInputError`. May import `jinv.errors` and numpy.
`pipeline`, `tables`, `state_dict`, `tensor_checks` and `validate` use it.
"""

from jinv_convert.reader.read import read_checkpoint
from jinv_convert.reader.types import Checkpoint, Opaque, TensorRef, UnreadTensor

__all__ = ["Checkpoint", "Opaque", "TensorRef", "UnreadTensor", "read_checkpoint"]
