"""Which names of a pickle mean something here. Names are compared, never looked up, imported or called.

A name is one of three: known (a function of `rebuild` stands for it), dangerous (it runs processes or code, or leads to
something that does: the whole file is refused), or anything else (kept as an inert `Opaque`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinv_convert.reader import rebuild
from jinv_convert.reader.limits import MAX_NAME_CHARS
from jinv_convert.reader.rebuild import Known, StorageType
from jinv_convert.reader.types import DTYPES, UNREAD_BYTES, Opaque

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
    "torch._tensor._rebuild_from_type": rebuild.tensor_from_type,
    "torch._tensor._rebuild_from_type_v2": rebuild.tensor_from_type,
    "torch._utils._rebuild_qtensor": rebuild.unread_tensor,
    "torch._utils._rebuild_sparse_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_sparse_csr_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_nested_tensor": rebuild.unread_tensor,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild.unread_tensor,
    "torch._utils._rebuild_wrapper_subclass": rebuild.unread_tensor,
    "torch.Size": rebuild.size,
    "torch.device": rebuild.device,
    "torch.serialization._get_layout": rebuild.layout,
    "_codecs.encode": rebuild.encode,
    "builtins.bytes": rebuild.no_bytes,
    "__builtin__.bytes": rebuild.no_bytes,
    "numpy.dtype": rebuild.numpy_dtype,
    "numpy.core.multiarray.scalar": rebuild.numpy_scalar,
    "numpy._core.multiarray.scalar": rebuild.numpy_scalar,
}


def _table() -> dict[tuple[str, str], Opaque]:
    values: list[Opaque] = [Known(name, call) for name, call in _CALLS.items()]
    values += [Known(name, rebuild.parameter) for name in rebuild.PARAMETERS]
    values += [Known(name) for name in rebuild.PLAIN_TENSORS - rebuild.PARAMETERS]
    values += [Known(f"torch.{dtype}") for dtype in (*DTYPES, *UNREAD_BYTES)]
    for module in ("torch", "torch.cuda"):
        values += [StorageType(f"{module}.{name}", dtype) for name, dtype in _STORAGES.items()]
    values.append(StorageType("torch.storage.UntypedStorage", None))
    # By module and name: "a.b" + "c" and "a" + "b.c" are different names to pickle.
    return {(module, name): value for value in values for module, _, name in [value.name.rpartition(".")]}


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_KNOWN = _table()

# Modules of these names, through whatever package they are reached (six.moves.builtins, os.path, ...).
_PARTS = _words(
    "os posix nt subprocess _posixsubprocess sys builtins __builtin__ ctypes _ctypes socket _socket pty shutil runpy",
    "importlib pkgutil multiprocessing",
)
# Modules of the standard library and its companions that run code or reach processes, the network or files, with
# everything below them.
_ROOTS = _words(
    "io _io posixpath ntpath pickle _pickle cPickle shelve marshal pdb bdb cProfile doctest unittest idlelib lib2to3",
    "distutils setuptools pip ensurepip venv webbrowser antigravity asyncio concurrent _thread inspect zipimport",
    "tempfile fileinput linecache mmap fcntl http urllib urllib2 urllib3 requests httplib ftplib smtplib telnetlib",
    "poplib imaplib nntplib xmlrpc socketserver ssl aiohttp paramiko IPython cffi cloudpickle jsonpickle sqlite3",
    "pydoc _osx_support _aix_support _pyrepl mailcap _interpreters _xxsubinterpreters _testcapi _winapi",
)
# The same for names that a user's own package may well have: only the module itself.
_MODULES = _words("code codeop commands imp popen2 timeit profile trace test site signal gc threading")
# Ways from packages that are otherwise harmless to a process, to code or to a file; each with everything below it.
_NAMES = _words(
    "operator.attrgetter operator.methodcaller _operator.attrgetter _operator.methodcaller functools.reduce",
    "types.CodeType types.FunctionType types.LambdaType types.ModuleType logging.config logging.FileHandler",
    "torch.load torch.save torch.hub torch.jit torch.ops torch.classes torch.package torch.fx torch.testing torch._C",
    "torch.utils.collect_env torch.utils.cpp_extension torch.utils.bottleneck torch.utils.model_zoo",
    "torch.utils.data.datapipes torch.utils._config_module torch.serialization torch.storage._load_from_bytes",
    "torch._inductor torch._dynamo torch.multiprocessing torch.distributed.rpc torch.distributed.run",
    "torch.distributed.launch torch.distributed.elastic torch.distributed.distributed_c10d",
    "numpy.f2py numpy.distutils numpy.testing numpy.ctypeslib numpy.load numpy.save numpy.memmap numpy.fromfile",
    "numpy.loadtxt numpy.genfromtxt numpy.lib.format numpy.lib.npyio",
    "dill.load dill.loads dill.source dill.temp dill._dill.load dill._dill.loads dill._dill._eval_repr",
    "dill._dill.getattr joblib.load joblib.numpy_pickle joblib.externals pandas.eval pandas.read_pickle pandas.io",
    "pandas.core.computation scipy.LowLevelCallable sympy.sympify uuid._get_command_stdout test.support platform.popen",
    "yaml.load yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all yaml.UnsafeLoader",
    "yaml.loader yaml.constructor numpy._core.records.fromfile numpy.rec.fromfile numpy.core.multiarray.fromfile",
    "numpy._core.multiarray.fromfile numpy.fromstring numpy.lib._npyio_impl numpy.lib._format_impl",
)
_LONGEST = max(name.count(".") + 1 for name in _NAMES)
_BUILTINS = _words(
    "set frozenset bytearray bytes complex object slice range dict list tuple int float str bool type property super",
    "staticmethod classmethod long unicode xrange Ellipsis NotImplemented len min max sum abs round sorted enumerate",
    "zip reversed all any print repr setattr delattr hasattr",  # dill finishes its classes with setattr
)
# dill's look-ups by string: inert here, but what they would look up is judged like any other name.
_LOOKUPS = _words("dill._dill._import_module dill._dill._get_attr dill.dill._import_module dill.dill._get_attr")


def dangerous(module: str, name: str) -> bool:
    """Whether `module.name` runs processes or code, or leads to something that does."""
    if (module, name) in _KNOWN:
        return False
    if module in ("builtins", "__builtin__"):
        return name not in _BUILTINS
    path, attributes = module.split("."), name.split(".")
    if module in _MODULES or path[0] in _ROOTS or _PARTS.intersection(path):
        return True
    # A dotted attribute walks through objects: no class that a checkpoint names has a dunder or a module on its way.
    if len(attributes) > 1 and any(part.startswith("__") or part in _PARTS for part in attributes):
        return True
    steps = [*path, *attributes]
    return any(".".join(steps[:count]) in _NAMES for count in range(2, min(len(steps), _LONGEST) + 1))


def asks_for_danger(function: Opaque, args: tuple[Any, ...]) -> bool:
    """Whether an inert look-up function is asked for a dangerous name."""
    if function.name not in _LOOKUPS:
        return False
    words = [arg[: MAX_NAME_CHARS + 1] for arg in args if isinstance(arg, str)]
    if any(len(word) > MAX_NAME_CHARS for word in words):
        return True
    return any(dangerous(word, "") or word in _PYTHON_CODE for word in words)


_PYTHON_CODE = _words("eval exec execfile compile open getattr setattr __import__ system popen")


def resolve(module: str, name: str) -> Opaque:
    """The value of a name that is not dangerous."""
    return _KNOWN.get((module, name)) or Opaque(f"{module}.{name}")
