"""Files of `torch.save` in both of its forms, and files that only look like them: lies and attacks, by hand."""

import struct
import tempfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from recorder import LARGEST_FILE, generator

# What an attack would run: a file by this name in the current directory means that it did.
COMMAND = "touch copla_was_executed"


def mixed() -> dict[str, torch.Tensor]:
    """Every dtype, and every way that a tensor can lie in its storage."""
    random = generator("torch_files/mixed")
    shared = torch.randn(40, generator=random)
    state = torch.nn.LayerNorm(3).state_dict()  # an OrderedDict with `_metadata`
    state["half"] = torch.randn(5, 3, generator=random).half()
    state["brain"] = torch.randn(3, 5, generator=random).bfloat16()
    state["parameter"] = torch.nn.Parameter(torch.randn(2, 2, generator=random))
    state["transposed"] = torch.randn(7, 3, generator=random).t()
    state["permuted"] = torch.randn(2, 3, 4, generator=random).half().permute(2, 0, 1)
    state["shared_front"], state["shared_back"] = shared[:10], shared[7:].view(3, 11)
    state["every_other"] = shared.view(4, 10)[1::2, 1::3]
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.empty(0, 7)
    state["one_row"] = torch.randn(9, generator=random)[2:6].view(1, 4).t()
    state["double"], state["mask"] = torch.ones(2, dtype=torch.float64), torch.tensor([[True, False]])
    state["byte"], state["long"] = torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([-1])
    return state


def gpt2(weights: Path) -> dict[str, torch.Tensor]:
    """As DialoGPT's files are: mask buffers and the head once more; and some weights lie transposed, as
    those do that came from Flax."""
    state = load_file(weights)
    for name in [name for name in state if name.endswith("mlp.c_fc.weight")]:
        state[name] = state[name].t().contiguous().t()
    for layer in range(3):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(40, 40).tril().byte().view(1, 1, 40, 40)
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state


def checkpoint() -> dict:
    """As people save in the middle of training: the weights under a key, beside numbers and the optimiser's tensors."""
    module = torch.nn.Linear(3, 2)
    module.load_state_dict({"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([-1.0, 1.0])})
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3)
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    module.load_state_dict({"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([-1.0, 1.0])})
    return {"epoch": 3, "loss": 0.25, "state_dict": module.state_dict(), "optimizer": optimiser.state_dict(), "args": None}


def beyond_4_gib(path: Path) -> None:
    """A file of `torch.save` in which a tensor lies behind 4 GiB of zeros: all but those zeros."""
    big = torch.zeros(2**31 + 1000, dtype=torch.half)
    with tempfile.TemporaryDirectory() as directory:
        whole = Path(directory) / "zip64.bin"
        torch.save({"big": big, "w": torch.arange(6.0)}, whole)
        bytes_ = np.memmap(whole, dtype=np.uint8, mode="r")
        # The storages begin at multiples of 64 bytes; what precedes the first is small.
        start = zipfile.ZipFile(whole).getinfo("zip64/data/0").header_offset
        name_and_extra = struct.unpack("<HH", bytes_[start + 26 : start + 30].tobytes())
        start += 30 + sum(name_and_extra)
        end = start + big.nbytes
        parts = {"head": bytes_[:start], "tail": bytes_[end:]}
        assert not bytes_[end - 4096 : end].any()
        save_file(
            {name: torch.from_numpy(np.array(part)) for name, part in parts.items()},
            path,
            metadata={"zeros_between": str(big.nbytes)},
        )
    assert path.stat().st_size < LARGEST_FILE, path


def save(state: dict, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(state, directory / "zip.bin")
    torch.save(state, directory / "old.bin", _use_new_zipfile_serialization=False)
    for file in directory.iterdir():
        assert file.stat().st_size < LARGEST_FILE, file


# Pickles by hand. A tensor of `torch.save`, with the parts that a lie changes.

GOOD_STORAGE = (b"FloatStorage", b"0", 6)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(storage=GOOD_STORAGE, offset=0, sizes=(2, 3), strides=(3, 1), hooks=b"ccollections\nOrderedDict\n)R"):
    kind, key, count = storage
    persistent = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key.decode()) + text("cpu") + number(count) + b"tQ"
    arguments = b"(" + persistent + number(offset) + numbers(*sizes) + numbers(*strides) + b"\x89" + hooks + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state_dict(*values: bytes, names=("w", "v", "u")) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in zip(names, values)) + b"u."


def call(module: str, name: str, argument: str = COMMAND) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + text(argument) + b"tR"


# What fickling and picklescan list as dangerous to be spoken of: modules that run, load or send, and names that reach
# others. One of each kind; all are refused for the same reason, that no state dict needs them.
GLOBALS = """
nt.system builtins.exec builtins.__import__ builtins.compile builtins.open builtins.breakpoint builtins.setattr
builtins.globals __builtin__.eval __builtin__.getattr pty.spawn webbrowser.open socket.create_connection socket.socket
ctypes.CDLL importlib.import_module importlib.machinery.SourceFileLoader numpy.testing._private.utils.runstring
numpy.load numpy.f2py.crackfortran.getlincoef torch.jit.load torch.serialization.load torch.storage._load_from_bytes
torch._utils._rebuild_sparse_tensor torch.utils._config_module.load_config torch._dynamo.guards.GuardBuilder.get
runpy.run_path runpy._run_module_code subprocess.check_output commands.getoutput asyncio.create_subprocess_shell
timeit.timeit code.InteractiveInterpreter bdb.Bdb pdb.run cProfile.run trace.Trace doctest.debug_script pydoc.pipepager
pip.main ensurepip._run_pip venv.create idlelib.pyshell.ModifiedInterpreter lib2to3.pgen2.pgen.ParserGenerator
operator.attrgetter operator.methodcaller functools.partial functools.reduce itertools.starmap types.CodeType
types.FunctionType marshal.loads pickle.loads _pickle.Unpickler dill.loads cloudpickle.load joblib.load shelve.open
shutil.rmtree os.popen os.execv os.remove posix.popen sys.modules sys.settrace signal.signal multiprocessing.Process
threading.Thread concurrent.futures.ThreadPoolExecutor urllib.request.urlretrieve http.client.HTTPSConnection
requests.api.get httplib.HTTPConnection smtplib.SMTP ftplib.FTP aiohttp.client.ClientSession linecache.getline
logging.config.listen tempfile.mktemp zipimport.zipimporter platform.popen distutils.file_util.write_file
uuid._get_command_stdout _osx_support._read_output test.support.script_helper.assert_python_ok
transformers.AutoModel.from_pretrained tensorflow.io.read_file keras.models.load_model
""".split()

OS_SYSTEM = text("os") + text("system") + b"\x93"
ARGUMENT = b"(" + text(COMMAND) + b"t"


def short_text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def frame(body: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(body)) + body


ATTACKS = {
    **{f"global_{name}": state_dict(call(*name.rsplit(".", 1))) for name in GLOBALS},
    # The same call in the words of every protocol.
    "protocol_0_text": b"(dp0\nVw\np1\ncos\nsystem\np2\n(V" + COMMAND.encode() + b"\np3\ntp4\nRp5\ns.",
    "protocol_0_inst": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "protocol_1": b"}q\0" + text("w") + b"cos\nsystem\nq\1" + ARGUMENT + b"Rq\2s.",
    "protocol_1_string": b"}(U\1wcos\nsystem\n(U" + bytes([len(COMMAND)]) + COMMAND.encode() + b"tRu.",
    "protocol_3": b"\x80\x03}" + text("w") + call("os", "system") + b"s.",
    "protocol_4_frame": b"\x80\x04" + frame(short_text("os") + b"\x94" + short_text("system") + b"\x94\x93\x94(" + short_text(COMMAND) + b"t\x94R\x94."),
    "protocol_5": b"\x80\x05" + frame(short_text("posix") + short_text("system") + b"\x93" + short_text(COMMAND) + b"\x85R."),
    "protocol_5_out_of_band": b"\x80\x02\x97\x98.",
    "protocol_5_bytearray": b"\x80\x02\x96" + struct.pack("<Q", 2**62) + b".",
    "protocol_255": b"\x80\xff}.",
    "protocol_changed_midway": b"\x80\x02}\x80\x04" + OS_SYSTEM + ARGUMENT + b"R.",
    # Every way to make an object, and to have it act.
    "newobj_of_a_class": b"\x80\x02csubprocess\nPopen\n" + ARGUMENT + b"\x81.",
    "newobj_ex": b"\x80\x02ccollections\nOrderedDict\n)}\x92.",
    "newobj_ex_of_a_class": b"\x80\x02csubprocess\nPopen\n" + ARGUMENT + b"}\x92.",
    "extension_2": b"\x80\x02\x83\1\0" + ARGUMENT + b"R.",
    "extension_4": b"\x80\x02\x84\1\0\0\0" + ARGUMENT + b"R.",
    "inst_in_a_state_dict": b"\x80\x02}" + text("w") + b"(" + text(COMMAND) + b"isubprocess\nPopen\ns.",
    "obj_in_a_state_dict": b"\x80\x02}" + text("w") + b"(csubprocess\nPopen\n" + text(COMMAND) + b"os.",
    "build_of_a_function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + text(COMMAND) + b"sb.",
    "build_of_two_states": b"\x80\x02ccollections\nOrderedDict\n)R}}\x86b.",
    "ordered_dict_of_a_call": b"\x80\x02ccollections\nOrderedDict\n(" + call("os", "system") + b"tR.",
    "parameter_of_a_call": state_dict(b"ctorch._utils\n_rebuild_parameter\n(" + call("os", "system") + b"\x88ccollections\nOrderedDict\n)RtR"),
    "tensor_of_a_call": state_dict(tensor().replace(numbers(2, 3), call("os", "system"))),
    "class_as_a_value": state_dict(b"ctorch\nFloatStorage\n"),
    # Tricks with the stack and the memo, by which a scanner that only reads names sees none, or harmless ones.
    "names_from_the_memo": b"\x80\x02" + text("os") + b"q\0" + text("system") + b"q\1}h\0h\1\x93" + ARGUMENT + b"Rs.",
    "names_swapped_in_the_memo": b"\x80\x02" + text("collections") + b"q\0" + text("os") + b"q\0h\0" + text("system") + b"\x93" + ARGUMENT + b"R.",
    "names_put_late": b"\x80\x02" + text("system") + text("os") + b"p0\n" + b"g0\n\x93.",
    "memoize": b"\x80\x02" + text("os") + b"\x94" + text("system") + b"\x93.",
    "call_and_pop": b"\x80\x02" + call("os", "system") + b"0" + state_dict(tensor())[2:],
    "pop_to_mark": b"\x80\x02(" + call("os", "system") + b"1" + state_dict(tensor())[2:],
    "duplicate": b"\x80\x02}22.",
    "global_from_the_memo": b"\x80\x02cos\nsystem\nq\0" + state_dict(b"h\0" + ARGUMENT + b"R")[2:],
    "global_with_a_return": b"\x80\x02ccollections\r\nOrderedDict\r\n)R.",
    "global_with_a_space": b"\x80\x02c collections\nOrderedDict\n)R.",
    "global_homoglyph": "\x02ccollecti\u043ens\nOrderedDict\n)R.".encode().replace(b"\x02", b"\x80\x02", 1),
    "global_without_a_module": b"\x80\x02c\neval\n" + ARGUMENT + b"R.",
    "global_after_stop": state_dict(tensor()) + call("os", "system") + b".",
    "integer_text": b"\x80\x02I1\n.",
    "long_text_number": b"\x80\x02L9999999999L\n.",
    "set": b"\x80\x02\x8f(" + text("w") + b"\x90.",
    "frozenset": b"\x80\x02(" + text("w") + b"\x91.",
    "text_8": b"\x80\x02\x8d" + struct.pack("<Q", 2**63) + b"w.",
    "two_checkpoints": state_dict(state_dict(tensor())[2:-1], state_dict(tensor())[2:-1], names=["state_dict", "model"]),
    "checkpoint_of_numbers": state_dict(b"G" + struct.pack(">d", 0.5), names=["loss"]),
    "global_os_system": state_dict(call("os", "system")),
    "global_posix_system": state_dict(call("posix", "system")),
    "global_eval": state_dict(call("builtins", "eval")),
    "global_exec_python2": state_dict(call("__builtin__", "exec")),
    "global_getattr": state_dict(b"cbuiltins\ngetattr\n(cos\npath\n" + text("os") + b"tR"),
    "global_popen": state_dict(call("subprocess", "Popen")),
    "global_runpy": state_dict(call("runpy", "_run_code")),
    "global_hub": state_dict(call("torch.hub", "load")),
    "global_torch_load": state_dict(call("torch", "load")),
    "global_dotted": state_dict(call("torch", "serialization.os.system")),
    "global_hidden_in_hooks": state_dict(tensor(hooks=call("os", "system"))),
    "global_hidden_in_metadata": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("_metadata") + call("os", "system") + b"sb.",
    "global_nested": state_dict(call("builtins", "eval").replace(b"tR", call("os", "system") + b"tR")),
    "stack_global": b"\x80\x02" + text("os") + text("system") + b"\x93(" + text(COMMAND) + b"tR.",
    "protocol_4": b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "protocol_0": b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.",
    "inst": b"\x80\x02(" + text(COMMAND) + b"ios\nsystem\n.",
    "obj": b"\x80\x02(cos\nsystem\n" + text(COMMAND) + b"o.",
    "obj_without_global": b"\x80\x02(" + text("os") + text(COMMAND) + b"o.",
    "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "extension": b"\x80\x02\x82\x01(" + text(COMMAND) + b"tR.",
    "persid": b"\x80\x02Pos.system\n.",
    "persistent_id_of_a_module": state_dict(b"(" + text("module") + text("os") + text("import os") + text(COMMAND) + b"tQ"),
    "build_on_a_tensor": state_dict(tensor() + b"}" + text("__setstate__") + text(COMMAND) + b"sb"),
    "call_of_a_storage_class": state_dict(b"ctorch\nFloatStorage\n" + numbers(2**40) + b"R"),
    "call_of_a_text": b"\x80\x02" + text("os.system") + b"(" + text(COMMAND) + b"tR.",
    "second_pickle": state_dict(tensor()) + b"\x80\x02" + call("os", "system") + b".",
    "memo_bomb": b"\x80\x02" + b"]q\x00" + b"".join(b"(" + b"h\x00" * 2 + b"tq\x00" for _ in range(200)) + b".",
    "memo_index": b"\x80\x02}r\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "nesting": b"\x80\x02" + b"(" * 5_000 + b"t" * 5_000 + b".",
    "circle": b"\x80\x02]q\x00h\x00a.",
    "long_text": b"\x80\x02}X\xff\xff\xff\xffw.",
    "long_number": b"\x80\x02\x8a\xff\x01.",
    "longer_number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "bytes": b"\x80\x02B\xff\xff\xff\xff.",
    "not_utf8": b"\x80\x02}X\x02\0\0\0\xff\xfe" + tensor() + b"s.",
    "no_stop": state_dict(tensor())[:-1],
    "no_end_of_name": b"\x80\x02ccollections\nOrdered",
    "two_values": b"\x80\x02}}.",
    "empty_stack": b"\x80\x02.",
    "below_the_mark": b"\x80\x02}(q\x00.",
    "no_mark": b"\x80\x02}u.",
    "odd_items": b"\x80\x02}(" + text("w") + b"u.",
    "items_of_a_tuple": b"\x80\x02)" + text("w") + b"Ns.",
    "append_to_a_dict": b"\x80\x02}Na.",
    "no_state_dict": b"\x80\x02]" + tensor() + b"a.",
    "a_whole_checkpoint": state_dict(b"}", names=["state_dict"]),
    "number_as_name": b"\x80\x02}K\x01" + tensor() + b"s.",
    "twice": state_dict(tensor(), tensor(), names=["w", "w"]),
    "too_few_elements": state_dict(tensor(sizes=(3, 3))),
    "beyond_by_offset": state_dict(tensor(offset=1)),
    "beyond_by_stride": state_dict(tensor(strides=(4, 1))),
    "negative_offset": state_dict(tensor(offset=-1)),
    "negative_size": state_dict(tensor(sizes=(-2, 3))),
    "negative_stride": state_dict(tensor(strides=(-3, 1))),
    "expanded": state_dict(tensor(sizes=(2**40, 6), strides=(0, 1))),
    "overlapping_rows": state_dict(tensor(sizes=(4, 3), strides=(1, 1))),
    "overflowing_shape": state_dict(tensor(sizes=(2**62, 2**62))),
    "overflowing_stride": state_dict(tensor(strides=(2**62, 2**62))),
    "overflowing_offset": state_dict(tensor(offset=2**63 - 1)),
    "too_many_axes": state_dict(tensor(sizes=(1,) * 40, strides=(1,) * 40)),
    "axes_without_strides": state_dict(tensor(strides=(1,))),
    "storage_too_long": state_dict(tensor(storage=(b"FloatStorage", b"0", 7))),
    "storage_without_end": state_dict(tensor(storage=(b"FloatStorage", b"0", 2**62))),
    "storage_of_two_dtypes": state_dict(tensor(), tensor(storage=(b"HalfStorage", b"0", 6))),
    "storage_missing": state_dict(tensor(storage=(b"FloatStorage", b"../../data/0", 6))),
    "storage_of_unknown_dtype": state_dict(tensor(storage=(b"ComplexFloatStorage", b"0", 6))),
    "no_storage": state_dict(tensor().replace(b"tQ", b"t")),
}

ELEMENTS = torch.arange(6.0).numpy().tobytes()


def archive(pickle: bytes, **more: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in {"data.pkl": pickle, "data/0": ELEMENTS, "version": b"3\n", **more}.items():
            out.writestr(zipfile.ZipInfo(f"model/{name}"), data)
    return file.getvalue()


def older(pickle: bytes, keys=("0",), storages=((6, ELEMENTS),), system=b"\x88", view=b"N") -> bytes:
    pickle = pickle.replace(b"tQ", view + b"tQ")  # which part of another storage this one is
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    system = b"\x80\x02}" + text("little_endian") + system + b"s."
    keys = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    return magic + system + pickle + keys + b"".join(struct.pack("<q", count) + data for count, data in storages)


def changed(file: bytes, *changes: tuple[int, bytes]) -> bytes:
    for place, data in changes:
        file = file[:place] + data + file[place + len(data) :]
    return file


def containers() -> dict[str, bytes]:
    """Lies of the file around a good pickle."""
    good = state_dict(tensor())
    plain = archive(good)
    directory = plain.index(b"PK\1\2")
    second = plain.index(b"PK\1\2", directory + 1)
    end = plain.index(b"PK\5\6")
    compressed = BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("model/data.pkl", good)
        out.writestr("model/data/0", b"\0" * 10_000)
    twice = BytesIO()
    with zipfile.ZipFile(twice, "w") as out:
        for name in ["a/data.pkl", "b/data.pkl"]:
            out.writestr(name, good)
    attack = state_dict(call("os", "system"))
    pickle_crc = plain.index(struct.pack("<I", zlib.crc32(good)), directory)
    return {
        "zip/file_compressed": compressed.getvalue(),
        "zip/file_two_pickles": twice.getvalue(),
        "zip/file_appended_to_another": archive(attack) + plain,
        "zip/file_with_a_pickle_behind": plain + attack,
        "zip/file_in_a_zip": archive(plain),
        "zip/file_pickle_with_a_path": plain.replace(b"model/data.pkl", b"./////data.pkl").replace(b"model/data/0", b"../../data/0"),
        "zip/file_damaged_pickle": changed(plain, (pickle_crc, b"\1\2\3\4")),
        "zip/file_big_endian": archive(good, byteorder=b"big"),
        "zip/file_encrypted": changed(plain, (directory + 8, b"\1")),
        "zip/file_other_name": changed(plain, (30, b"m0del")),
        "zip/file_other_method": changed(plain, (8, b"\x08")),
        "zip/file_same_place_twice": changed(plain, (second + 42, plain[directory + 42 : directory + 46])),
        "zip/file_into_the_directory": changed(plain, (second + 20, struct.pack("<II", 200, 200))),
        "zip/file_overlap": changed(plain, (directory + 20, struct.pack("<II", len(good) + 20, len(good) + 20))),
        "zip/file_beyond_the_end": changed(plain, (second + 20, b"\xfe\xff\xff\xff" * 2)),
        "zip/file_count": changed(plain, (end + 8, b"\xff\xff\xff\xff")),
        "zip/file_count_too_small": changed(plain, (end + 8, b"\1\0\1\0")),
        "zip/file_directory_elsewhere": changed(plain, (end + 16, b"\0\0\0\0")),
        "zip/file_name_without_end": changed(plain, (second + 28, b"\xff\xff")),
        "zip/file_comment": plain[:-2] + b"\x04\0PK\5\6",
        "zip/file_with_a_tail": plain + b"\0",
        "zip/file_without_directory": plain[:directory],
        "old/file_pickle_first": attack + older(good),
        "old/file_with_a_pickle_behind": older(good) + attack,
        "old/file_of_one_pickle": good,
        "old/file_big_endian": older(good, system=b"\x89"),
        "old/file_count": older(good, storages=[(7, ELEMENTS)]),
        "old/file_count_negative": older(good, storages=[(-1, ELEMENTS)]),
        "old/file_unknown_key": older(good, keys=["0", "1"], storages=[(6, ELEMENTS)] * 2),
        "old/file_key_missing": older(good, keys=[], storages=[]),
        "old/file_with_a_tail": older(good) + b"\0",
        "old/file_keys_not_a_list": older(good).replace(b"\x80\x02](" + text("0") + b"e.", b"\x80\x02}."),
        "old/file_view_of_a_storage": older(good, view=b"(" + text("0") + number(0) + number(6) + b"t"),
    }


def make(directory: Path) -> None:
    save(mixed(), directory / "mixed")
    plain = {name: values.detach().contiguous().clone() for name, values in mixed().items()}
    save_file(plain, directory / "mixed" / "expected.safetensors")
    save(gpt2(directory.parent / "gpt2_tiny" / "model.safetensors"), directory / "gpt2")

    save(checkpoint(), directory / "checkpoint")
    beyond_4_gib(directory / "zip64.safetensors")

    refused = containers()
    for name, pickle in ATTACKS.items():
        refused |= {f"zip/{name}": archive(pickle), f"old/{name}": older(pickle)}
    # What the lies are told about is a file that PyTorch itself reads, and so must copla.
    for name, write in {"zip": archive, "old": older}.items():
        refused[f"{name}/none"] = write(state_dict(tensor()))
        assert torch.load(BytesIO(refused[f"{name}/none"]), weights_only=True)["w"].sum() == 15
    save_file(
        {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in refused.items()},
        directory / "refused.safetensors",
    )
    print(f"torch: {len(refused)} files that lie")
