"""Names in a pickle (rows P of the catalogue): what runs code refuses the file, what is unknown stays a name."""

import os
import pickle
import struct

import dill
import pytest

from jinv_convert.reader import Opaque
from tests.converter.reader_audit import read_watched, refused, watched
from tests.converter.reader_files import (
    PROTO2,
    PROTO4,
    STOP,
    call,
    dictionary,
    integer,
    name,
    stack_name,
    storage,
    tensor,
    text,
    write_legacy,
    write_zip,
)
from tests.converter.reader_trees import contents

_NAMES = """
os.system posix.system nt.system os.popen os.execv os.remove posix.fork subprocess.Popen subprocess.check_output
subprocess.run sys.exit sys.modules builtins.eval builtins.exec builtins.getattr builtins.__import__ builtins.compile
builtins.open builtins.globals builtins.breakpoint builtins.__dict__ __builtin__.eval __builtin__.execfile
__builtin__.apply __builtin__.getattr runpy.run_path runpy._run_code shutil.rmtree socket.socket
socket.create_connection ctypes.CDLL importlib.import_module importlib._bootstrap._load
pty.spawn operator.attrgetter operator.methodcaller
_operator.attrgetter io.open _io.FileIO pickle.loads _pickle.loads marshal.loads code.InteractiveInterpreter
pdb.run bdb.Bdb.run cProfile.run profile.run timeit.timeit trace.Trace doctest.debug_script webbrowser.open
tempfile.mktemp types.FunctionType types.CodeType asyncio.create_subprocess_shell multiprocessing.Process
urllib.request.urlopen http.client.HTTPConnection requests.get smtplib.SMTP pip._internal.main idlelib.pyshell.main
lib2to3.pgen2.pgen.ParserGenerator distutils.file_util.write_file pkgutil.resolve_name inspect.getattr_static
six.moves.builtins.eval numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring numpy.load
numpy.ctypeslib.load_library torch.utils.collect_env.run torch.hub.load torch.load torch.jit.load
torch.utils.cpp_extension.load torch.utils.bottleneck.__main__.run_autograd_prof torch.storage._load_from_bytes
torch._dynamo.guards.GuardBuilder.get torch._inductor.codecache.compile_file torch.fx.graph_module.reduce_graph_module
torch.distributed.rpc.rpc_sync torch.package.PackageImporter torch.serialization.load dill.loads dill._dill.loads
dill._dill._eval_repr joblib.load cloudpickle.loads pandas.read_pickle
"""
DANGEROUS = _NAMES.split()


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def payload(target: str, canary, form: str) -> tuple[bytes, bytes]:
    """Protocol and opcodes that would call `target("touch canary")`."""
    module, _, attribute = target.rpartition(".")
    argument = text(f"touch {canary}")
    if form == "GLOBAL":
        return PROTO2, call(name(module, attribute), argument)
    if form == "STACK_GLOBAL":
        return PROTO4, call(stack_name(module, attribute), argument)
    # The strings come out of the memo, away from the opcode that joins them.
    stored = text(module) + b"q\x05" + b"0" + text(attribute) + b"q\x06" + b"0"
    return PROTO4, stored + call(b"h\x05h\x06\x93", argument)


@pytest.mark.parametrize("target", DANGEROUS)
def test_reader_refuses_names_that_run_code(tmp_path, canary, target):
    """P01, P02, P06, P07: wherever in the file the name is, in whatever opcode, and in both containers."""
    for form in ("GLOBAL", "STACK_GLOBAL", "memo"):
        protocol, body = payload(target, canary, form)
        buried = dictionary({"model": dictionary({"w": tensor()}), "epoch": body})
        for path in (
            write_zip(tmp_path / "a.pth", body, {}, protocol=protocol),
            write_zip(tmp_path / "a.pth", buried, protocol=protocol),
            write_legacy(tmp_path / "a.pth", buried.replace(storage(), storage(legacy=True))),
        ):
            refused(path, target, "nothing was run")
    # A reference without a call is enough.
    module, _, attribute = target.rpartition(".")
    refused(write_zip(tmp_path / "a.pth", name(module, attribute), {}), target)


def test_payload_is_live(tmp_path, canary):
    """The payload that the reader refuses does touch the canary in Python's own unpickler, and is seen."""
    with pytest.raises(AssertionError, match="os.system"), watched():
        pickle.loads(PROTO2 + payload("os.system", canary, "GLOBAL")[1] + STOP)
    assert canary.exists()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "OrderedDict.os.system"),
        ("torch", "os.system"),
        ("collections.OrderedDict", "__init__.__globals__"),
    ],
)
def test_reader_refuses_attribute_walks(tmp_path, module, attribute):
    """P05."""
    body = call(stack_name(module, attribute), text("x"))
    refused(write_zip(tmp_path / "a.pth", body, {}, protocol=PROTO4), attribute)


@pytest.mark.parametrize("attribute", ["a\nb", "a\x1b[31m", "a\u202eb", "", "a" * 1000])
def test_reader_refuses_names_that_would_forge_output(tmp_path, attribute):
    refused(write_zip(tmp_path / "a.pth", stack_name("mine", attribute), {}, protocol=PROTO4), "name")


def test_reader_keeps_unknown_objects_inert(tmp_path):
    """P09: whatever is done to an unknown object, it stays a name, and the tensors beside it are read."""
    thing = call(name("mine.schedules", "Cosine"), integer(3)) + dictionary({"last": integer(1)}) + b"b"
    filled = name("mine", "Config") + b")\x81" + b"(" + text("a") + integer(1) + b"u"
    listed = call(name("mine", "List")) + b"(" + integer(1) + integer(2) + b"e"
    body = dictionary({"model": dictionary({"w": tensor()}), "schedule": thing, "config": filled, "list": listed})
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", body))
    assert checkpoint.tree["schedule"] == Opaque("mine.schedules.Cosine")
    assert checkpoint.opaque == ("mine.schedules.Cosine", "mine.Config", "mine.List")
    assert "mine.schedules.Cosine, mine.Config, mine.List" in checkpoint.warnings[0]
    assert contents(checkpoint)["model / w"][2] == struct.pack("<6f", *range(1, 7))


def test_reader_keeps_malicious_dill_functions_inert(tmp_path, canary):
    """P10: a function by value never becomes one; a look-up of a module that runs processes refuses the file."""

    def touch():
        os.system(f"touch {canary}")

    class Evil:
        def __reduce__(self):
            return touch, ()

    data = dill.dumps(Evil(), protocol=2, recurse=True)
    assert b"_create_function" in data
    body = data.removeprefix(PROTO2).removesuffix(STOP)
    refused(write_zip(tmp_path / "a.pth", body, {}))
    created = call(name("dill._dill", "_create_function"), call(name("dill._dill", "_create_code"), integer(1)), b"}")
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", dictionary({"f": created + b")R"}), {}))
    assert checkpoint.tree["f"] == Opaque("dill._dill._create_function")
    for word in ("os", "posix", "subprocess", "os.path", "eval"):
        refused(write_zip(tmp_path / "a.pth", call(name("dill._dill", "_import_module"), text(word)), {}), "looks up")
