"""Files of `torch.save` in both of its forms, and files that only look like them: lies and attacks, by hand."""

import struct
import zipfile
from io import BytesIO
from pathlib import Path

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


ATTACKS = {
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
    return {
        "zip/file_compressed": compressed.getvalue(),
        "zip/file_two_pickles": twice.getvalue(),
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
