"""How much a file may ask for; every limit is checked before anything is allocated.

A classifier's checkpoint stays far below each of these, optimizer state included; a file above one is refused.
"""

from typing import Final

MIB: Final = 1 << 20

# The pickle.
MAX_OPS: Final = 1_000_000  # of 1.7 microseconds: a file is read or refused in two seconds
MAX_BUILT: Final = 2_000_000  # entries of what calls build out of what is there already: an op can copy a whole dict
MAX_DEPTH: Final = 64  # nesting of the finished tree
MAX_NODES: Final = 1_000_000  # of the tree written out in full: shared parts count each time they appear
MAX_STRING_BYTES: Final = 16 * MIB
MAX_TOTAL_STRING_BYTES: Final = 64 * MIB
MAX_INT_BYTES: Final = 256
MAX_NAME_CHARS: Final = 256  # module and attribute of a global
MAX_KEY_CHARS: Final = 1024  # a key of a dict
MAX_KEY_PARTS: Final = 32  # of a key that is a tuple, nested ones written out in full
MAX_INT_CHARS: Final = 64  # of an integer written as text

# The zip archive.
MAX_MEMBERS: Final = 100_000
MAX_DIRECTORY_BYTES: Final = 32 * MIB
MAX_SMALL_MEMBER_BYTES: Final = 64  # version, byteorder and the like
MAX_DEFLATE_RATIO: Final = 20  # weights deflate by 1.1; constants deflate well, and are free up to
FREE_DEFLATE_BYTES: Final = MIB
MAX_INFLATED_PICKLE_BYTES: Final = 64 * MIB  # held in memory, which a stored one is not

# Safetensors. The format allows 100 MB, which would cost about ten times that as Python objects.
MAX_HEADER_BYTES: Final = 25_000_000
MAX_HEADER_VALUES: Final = 1_500_000  # commas and brackets: every one can become an object of a hundred bytes
MAX_METADATA_BYTES: Final = MIB

# Tensors.
MAX_RANK: Final = 32


def max_logical_bytes(file_size: int) -> int:
    """Bytes that all different tensors of a file may come to; expanded and overlapping ones can exceed the file."""
    return 2 * file_size + 64 * MIB
