"""Hostile pickles (rows P of the catalogue): refused in one line, with nothing run, imported, written or hung."""

import os
import pickle
import struct
import sys

import dill
import pytest

from convert.reader import Opaque, limits
from jinv.errors import ModelMismatchError, UnsafeInputError
from tests.reader_audit import read_watched, refused
from tests.reader_files import (
    PROTO2,
    PROTO4,
    STOP,
    call,
    dictionary,
    integer,
    name,
    sequence,
    stack_name,
    storage,
    tensor,
    text,
    write_legacy,
    write_zip,
)
from tests.reader_trees import contents

_NAMES = """
os.system posix.system nt.system os.popen os.execv os.remove posix.fork subprocess.Popen subprocess.check_output
subprocess.run sys.exit sys.modules builtins.eval builtins.exec builtins.getattr builtins.__import__ builtins.compile
builtins.open builtins.globals builtins.breakpoint builtins.__dict__ __builtin__.eval __builtin__.execfile
__builtin__.apply __builtin__.getattr runpy.run_path runpy._run_code shutil.rmtree socket.socket
socket.create_connection ctypes.CDLL importlib.import_module importlib._bootstrap._load pty.spawn operator.attrgetter operator.methodcaller
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
    """The payload that the reader refuses does touch the canary in Python's own unpickler."""
    pickle.loads(PROTO2 + payload("os.system", canary, "GLOBAL")[1] + STOP)
    assert canary.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"(S'x'\nios\nsystem\n",
        b"(" + name("collections", "OrderedDict") + b"o",
        name("collections", "OrderedDict") + b")}\x92",
        b"\x82\x01",
        b"\x83\x01\x00",
        b"\x84\x01\x00\x00\x00",
        b"I1\n",
        b"V1\n",
        b"P0\n",
        b"]2",
        b"\x97",
        b"\xff",
    ],
    ids=["INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "INT", "UNICODE", "PERSID", "DUP", "NEXT_BUFFER", "FF"],
)
def test_reader_refuses_opcodes_that_no_checkpoint_needs(tmp_path, body):
    """P03, P04, P08."""
    refused(write_zip(tmp_path / "a.pth", body, {}), "opcode", "not allowed")


@pytest.mark.parametrize("key", ["__class__", "__setstate__", "__dict__", "__reduce__", "__globals__"])
@pytest.mark.parametrize("target", [name("mine", "Schedule") + b")\x81", call(name("collections", "OrderedDict"))])
def test_reader_refuses_poisoning_builds(tmp_path, key, target):
    """P04."""
    state = dictionary({key: name("mine", "Evil")})
    refused(write_zip(tmp_path / "a.pth", target + state + b"b", {}), "BUILD", key)
    refused(write_zip(tmp_path / "a.pth", target + sequence(b"N", state) + b"b", {}), "BUILD")


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


@pytest.mark.parametrize(
    ("pid", "word"),
    [
        (text("0"), "no tuple"),
        (b")", "no tuple"),
        (sequence(text("storage"), text("0")), "2 parts"),
        (sequence(text("module"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(6)), "no storage"),
        (sequence(text("storage"), name("mine", "Storage"), text("0"), text("cpu"), integer(6)), "storage type"),
        (sequence(text("storage"), text("FloatStorage"), text("0"), text("cpu"), integer(6)), "storage type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), integer(0), text("cpu"), integer(6)), "wrong type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(-6)), "sign"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"\x88"), "wrong type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("../0"), text("cpu"), integer(6)), "missing"),
    ],
)
def test_reader_refuses_other_persistent_ids(tmp_path, pid, word):
    """P11."""
    refused(write_zip(tmp_path / "a.pth", tensor(source=pid + b"Q")), word)


def test_reader_refuses_trailing_data(tmp_path):
    """P15."""
    refused(write_zip(tmp_path / "a.pth", b"}.}"), "trailing data")
    refused(write_zip(tmp_path / "a.pth", b"}." + payload("os.system", tmp_path / "canary", "GLOBAL")[1]), "trailing")
    refused(write_legacy(tmp_path / "a.pth", b"}.}", {}))


def test_reader_refuses_frames_that_do_not_fit(tmp_path):
    """P16."""

    def framed(length, rest):
        return write_zip(tmp_path / "a.pth", b"\x95" + struct.pack("<Q", length) + rest, {}, protocol=PROTO4)

    assert read_watched(framed(7, text("a"))).tree == "a"
    refused(framed(3, text("a")), "straddles")
    refused(framed(1 << 63, text("a")), "frame")
    refused(framed(40, text("a")), "frame")
    refused(framed(16, b"\x95" + struct.pack("<Q", 7) + text("a")), "frame within a frame")


def test_reader_refuses_expansion(tmp_path):
    """P17: few bytes that would be exponentially many values, and streams of too many opcodes or memo entries."""
    laughs = b"]q\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(40)
    )
    refused(write_zip(tmp_path / "a.pth", laughs, {}), "stack")
    laughs = b"N" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    refused(write_zip(tmp_path / "a.pth", laughs, {}), str(limits.MAX_NODES))
    refused(write_zip(tmp_path / "a.pth", b"N0" * 499_999 + b"N0N", {}), str(limits.MAX_OPS))
    memo = b"N" + b"\x94" * (limits.MAX_MEMO + 1)
    refused(write_zip(tmp_path / "a.pth", memo, {}, protocol=PROTO4), str(limits.MAX_MEMO))


@pytest.mark.parametrize("body", [b")" + b"\x85" * 100_000, b"]" * 100_000 + b"a" * 99_999], ids=["tuples", "lists"])
def test_reader_refuses_deep_nesting(tmp_path, body):
    """P18."""
    refused(write_zip(tmp_path / "a.pth", body, {}), str(limits.MAX_DEPTH))
    # As a dict key, hashing it would recurse.
    refused(write_zip(tmp_path / "a.pth", b"}" + body + b"Ns", {}), "key")


@pytest.mark.parametrize(
    "body",
    [
        b"\x8d" + struct.pack("<Q", 1 << 63),
        b"\x8e" + struct.pack("<Q", (1 << 63) - 1),
        b"\x96" + struct.pack("<Q", 1 << 63),
        b"\x8b" + struct.pack("<i", (1 << 31) - 1),
        b"\x8b" + struct.pack("<i", -1),
        b"X" + struct.pack("<I", (1 << 32) - 1),
        b"B" + struct.pack("<I", 1 << 31),
        b"T" + struct.pack("<i", -5),
    ],
)
def test_reader_refuses_lengths_before_allocating(tmp_path, body):
    """P19."""
    refused(write_zip(tmp_path / "a.pth", body, {}, protocol=PROTO4), "limit")


@pytest.mark.parametrize(
    "body",
    [
        b")" + text("a") + b"Ns",
        text("a") + text("b") + b"Ns",
        name("torch", "FloatStorage") + text("a") + b"Ns",
        storage() + text("a") + b"Ns",
        name("collections", "OrderedDict") + text("a") + b"Ns",
        b")Na",
        b"N(NNe",
        text("a") + b"(NNe",
        b"}Na",
        b"](NNu",
        b"](N\x90",
        b"NNb",
        b"])b",
        storage() + b"}b",
        tensor() + b"}b",
        name("torch", "FloatStorage") + b")R",
        text("os.system") + b")R",
        call(name("collections", "OrderedDict")) + b"]b",
        name("mine", "f") + b"NR",
        name("mine", "f") + b"]R",
    ],
)
def test_reader_refuses_operations_on_wrong_objects(tmp_path, body):
    """P20."""
    refused(write_zip(tmp_path / "a.pth", body), "data.pkl: byte")


@pytest.mark.parametrize("body", [b"]q\x00h\x00a", b"}q\x00" + text("a") + b"h\x00s", b"]q\x00(h\x00te"])
def test_reader_refuses_cycles(tmp_path, body):
    """P21."""
    body = body if not body.endswith(b"te") else b"]q\x00h\x00\x85a"
    refused(write_zip(tmp_path / "a.pth", body, {}), "contains itself")


@pytest.mark.parametrize(
    "body",
    [
        b"h\x07",
        b"j\x07\x00\x00\x00",
        b"0",
        b"\x85",
        b"(\x85",
        b"t",
        b"1",
        b"NN",
        b"(N",
        b"",
        b"a",
        b"s",
        b"R",
        b"b",
        b"Q",
        b"q\x00",
        b"\x93",
        b"N\x93",
        b"NN\x93",
        b"X\x02\x00\x00\x00\xff\xfe",
        b"c\xff\n\xff\n",
        b"cos",
        b"c" + b"a" * 5000,
        b"G\x00",
        b"K",
    ],
)
def test_reader_refuses_broken_streams(tmp_path, body):
    """P22."""
    refused(write_zip(tmp_path / "a.pth", body, {}), "data.pkl: byte")
    refused(write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}) + b"0" + body))


@pytest.mark.parametrize("first", [b"", b"\x80", b"\x80\x01", b"\x80\x06", b"N", b"\x80\x02\x80\x02"])
def test_reader_refuses_other_protocols(tmp_path, first):
    refused(write_zip(tmp_path / "a.pth", b"N", {}, protocol=first))


def test_reader_keys_are_plain_and_escaped(tmp_path):
    """P23."""
    for key in (
        b"]",
        b"}",
        dictionary({"a": b"N"}),
        storage(),
        sequence(b"]"),
        integer(1 << 64),
        sequence(*[b"N"] * 9),
    ):
        refused(write_zip(tmp_path / "a.pth", b"}" + key + b"Ns"), "key")
    refused(write_zip(tmp_path / "a.pth", dictionary({"x" * (1 << 20): b"N"})), "1048576 characters")
    refused(write_zip(tmp_path / "a.pth", dictionary({"\ud800": b"N"})), "UTF-8")
    for key in ("a\nb", "a\0b", "a\u202eb", "a\x1b[2Kb"):
        message = refused(write_zip(tmp_path / "a.pth", dictionary({key: tensor((7, 7))})), "tensor")
        assert message.isprintable() and key not in message
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", b"}(" + integer(1) + b"NC\x01aNu", {}))
    assert checkpoint.tree == {1: None, b"a": None}


def test_reader_refuses_a_weight_that_is_set_twice(tmp_path):
    """The later one would win silently; another program may take the first."""
    twice = b"}(" + (text("w") + tensor()) * 2 + b"u"
    refused(write_zip(tmp_path / "a.pth", twice), "'w' set twice")
    nested = b"}(" + (text("model") + dictionary({"w": tensor()})) * 2 + b"u"
    refused(write_zip(tmp_path / "a.pth", nested), "'model' set twice")


def test_reader_int_keys_can_not_be_made_to_collide(tmp_path):
    """Python hashes an int to its remainder modulo 2**61 - 1: a file of such keys would take hours."""
    keys = b"".join(integer(i * sys.hash_info.modulus) + b"N" for i in range(1, 50_000))
    refused(write_zip(tmp_path / "a.pth", b"}(" + keys + b"u", {}), "64-bit")


def test_reader_refuses_dtypes_without_an_array(tmp_path):
    source = storage(kind="ComplexFloatStorage")
    refused(write_zip(tmp_path / "a.pth", tensor(source=source)), "complex64", "storage '0'")
    parts = [text("storage"), name("torch.storage", "UntypedStorage"), text("0"), text("cpu"), integer(24)]
    arguments = [sequence(*parts) + b"Q", integer(0), sequence(integer(6)), sequence(integer(1)), b"\x89", b"}"]
    body = call(name("torch._utils", "_rebuild_tensor_v3"), *arguments, name("torch", "float4_e2m1fn_x2"))
    refused(write_zip(tmp_path / "a.pth", body), "float4_e2m1fn_x2", error=ModelMismatchError)
    assert UnsafeInputError.exit_code == 3 and ModelMismatchError.exit_code == 4
