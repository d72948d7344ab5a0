"""Which names of a pickle mean something here. Names are compared, never looked up, imported or called.

A name is one of three: known (a function of `rebuild` stands for it), dangerous (it runs processes or code, or reaches
something that does: the whole file is refused), or anything else (kept as an inert `Opaque`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convert.reader import rebuild
from convert.reader.rebuild import Known, StorageType
from convert.reader.types import Opaque

# Storage class -> dtype. Complex and quantised ones are named so that the refusal can say what they are.
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}
_CALLS: dict[str, Callable[[Any], Any]] = {
    "collections.OrderedDict": rebuild.ordered_dict,
    "collections.Counter": rebuild.counter,
    "collections.defaultdict": rebuild.default_dict,
    "torch._utils._rebuild_tensor": rebuild.tensor_v1,
    "torch._utils._rebuild_tensor_v2": rebuild.tensor_v2,
    "torch._utils._rebuild_tensor_v3": rebuild.tensor_v3,
    "torch._utils._rebuild_parameter": rebuild.parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild.parameter,
    "torch._tensor._rebuild_from_type_v2": rebuild.tensor_from_type,
    "torch._utils._rebuild_qtensor": rebuild.unread_tensor,
    "torch._utils._rebuild_sparse_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_sparse_csr_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_nested_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild.unread_tensor,
    "torch._utils._rebuild_wrapper_subclass": rebuild.unread_tensor,
    "torch.Size": rebuild.size,
    "_codecs.encode": rebuild.encode,
    "builtins.bytes": rebuild.no_bytes,
    "__builtin__.bytes": rebuild.no_bytes,
    "numpy.dtype": rebuild.numpy_dtype,
    "numpy.core.multiarray.scalar": rebuild.numpy_scalar,
    "numpy._core.multiarray.scalar": rebuild.numpy_scalar,
}
KNOWN: dict[str, Opaque] = {
    **{name: Known(name, call) for name, call in _CALLS.items()},
    **{f"torch.{name}": StorageType(f"torch.{name}", dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.cuda.{name}": StorageType(f"torch.cuda.{name}", dtype) for name, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType("torch.storage.UntypedStorage", None),
}

# A module of one of these names, whatever package it is reached through (six.moves.builtins, os.path, ...).
_DANGEROUS_PARTS = frozenset(
    "os posix nt posixpath ntpath subprocess _posixsubprocess sys builtins __builtin__ ctypes _ctypes socket _socket ssl "
    "pty shutil runpy importlib imp pkgutil code codeop commands popen2 multiprocessing".split()
)
# Top-level modules, with everything below them.
_DANGEROUS_ROOTS = frozenset(
    "_io io operator _operator functools pickle _pickle cPickle shelve marshal pdb bdb cProfile profile timeit trace "
    "doctest unittest test idlelib lib2to3 distutils setuptools pip ensurepip venv webbrowser antigravity asyncio "
    "concurrent threading _thread signal inspect types gc atexit site sitecustomize zipimport tempfile pathlib glob "
    "fileinput linecache linecache2 tokenize mmap fcntl resource select selectors http urllib urllib2 urllib3 requests "
    "httplib ftplib smtplib telnetlib poplib imaplib nntplib xmlrpc socketserver webbrowser aiohttp paramiko IPython "
    "cffi joblib cloudpickle jsonpickle sqlite3 logging.config".split()
)
# Gadgets inside packages that are otherwise harmless: known ways from an allowed package to a process or to code.
_DANGEROUS_PREFIXES = tuple(
    "torch.hub torch.utils.collect_env torch.utils.cpp_extension torch.utils.bottleneck torch.utils.model_zoo "
    "torch.utils.data.datapipes torch.serialization.load torch.load torch.jit torch.package torch._inductor "
    "torch._dynamo torch.distributed torch.multiprocessing torch.fx torch.testing torch.ops torch.classes "
    "torch.storage._load_from_bytes torch._C numpy.f2py numpy.distutils numpy.testing numpy.load numpy.ctypeslib "
    "numpy.lib.format numpy.lib.npyio numpy.memmap numpy.fromfile numpy.loadtxt numpy.genfromtxt numpy.save "
    "dill._dill._eval_repr dill.load dill.loads dill._dill.load dill._dill.loads dill.source dill.temp "
    "pandas.eval pandas.read_pickle scipy.LowLevelCallable sympy.sympify".split()
)
_HARMLESS_BUILTINS = frozenset(
    "set frozenset bytearray bytes complex object slice range dict list tuple int float str bool type property "
    "staticmethod classmethod super long unicode xrange Ellipsis NotImplemented len min max sum abs round sorted "
    "enumerate zip reversed all any print repr".split()
)
# functools.partial and friends only hold things; without being called they are the usual contents of a schedule.
_HARMLESS = frozenset(
    "functools.partial pathlib.Path pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath types.SimpleNamespace "
    "torch.distributed.ReduceOp torch.jit.ScriptModule".split()
)
# dill's lookups by name: inert here, but what they would look up is judged like any other name.
_LOOKUPS = frozenset({"dill._dill._import_module", "dill._dill._get_attr", "dill.dill._import_module"})


def dangerous(module: str, name: str) -> bool:
    """Whether `module.name` runs processes or code, or leads to something that does."""
    if module in ("builtins", "__builtin__"):
        return name not in _HARMLESS_BUILTINS
    full = f"{module}.{name}"
    if full in _HARMLESS:
        return False
    parts, attributes = module.split("."), name.split(".")
    if _DANGEROUS_PARTS.intersection(parts) or parts[0] in _DANGEROUS_ROOTS:
        return True
    # A dotted attribute walks through objects: no class that a checkpoint names needs a dunder or a module on the way.
    if len(attributes) > 1 and any(part.startswith("__") or part in _DANGEROUS_PARTS for part in attributes):
        return True
    return any(full == prefix or full.startswith(prefix + ".") for prefix in _DANGEROUS_PREFIXES)


def lookup_is_dangerous(function: Opaque, args: Any) -> bool:
    """Whether an inert lookup function is asked for a dangerous name."""
    if function.name not in _LOOKUPS or not isinstance(args, tuple):
        return False
    return any(isinstance(arg, str) and (dangerous(arg, "") or dangerous("builtins", arg)) for arg in args)


def resolve(module: str, name: str) -> Opaque:
    """The value of a name that is not dangerous."""
    full = f"{module}.{name}"
    return KNOWN.get(full) or Opaque(full)
