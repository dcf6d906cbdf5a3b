"""The repositories of the models that copla is for, replicated small: their files, config keys, tensor names, dtypes and
special tokens are theirs, widths and vocabularies are not, and weights are random. replicas/README.md says of every
quirk whether it is known or supposed."""

import csv
import json
import pickle
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, decoders, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

import recorder
from tiny_models import InFloat64, random_model  # noqa: F401 (float64 in the attention of GPT-Neo and BLOOM)

CORPUS = Path(__file__).parents[2] / "src/text/corpus/coplas.csv"
TEXTS = ["¿Quién canta en la orilla, niña?", "  Ay, corazón:\nla luna baja… ¡y el río se la lleva!"]
IDS, NEW_TOKENS = 12, 8
SPECIAL = ["bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id"]
# Below this gap between the best two logits, greedy text would hang on f32 rounding.
LEAST_MARGIN = 1e-3

VOCAB, CONTEXT, WIDTH, LAYERS, HEADS = 300, 48, 16, 2, 2
END = "<|endoftext|>"
# Placeholders for what copla must pass by.
OTHER = b"not for copla\n"
CARD = [".gitattributes", "README.md"]
HUGE = int(1e30)


# Tokenizers


def learnt(vocab: int, special: list[str]) -> ByteLevelBPETokenizer:
    """A byte-level BPE of `vocab` tokens, the `special` ones first."""
    with CORPUS.open(newline="") as file:
        texts = [row["content"] for row in csv.DictReader(file)][:40]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab, min_frequency=2, special_tokens=special, show_progress=False)
    assert tokenizer.get_vocab_size() == vocab
    return tokenizer


def end_last(vocab: int) -> ByteLevelBPETokenizer:
    """OpenAI's order: bytes, merges, and the end of text as the last of all."""
    tokenizer = learnt(vocab - 1, [])
    tokenizer.add_special_tokens([END])
    return tokenizer


def two_files(tokenizer: ByteLevelBPETokenizer) -> dict:
    """`vocab.json` and `merges.txt`; a special token stands among the others."""
    model = json.loads(tokenizer.to_str())["model"]
    vocab = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    merges = [" ".join(merge) for merge in model["merges"]]
    return {
        "vocab.json": json.dumps(vocab, ensure_ascii=False).encode(),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]).encode(),
    }


def one_file(tokenizer: ByteLevelBPETokenizer) -> dict:
    return {"tokenizer.json": tokenizer.to_str().encode()}


def bloom_tokenizer() -> Tokenizer:
    """As BLOOM's: its own pattern splits the text, and then it is bytes."""
    vocab = json.loads(learnt(VOCAB, ["<unk>", "<s>", "</s>", "<pad>"]).to_str())
    tokenizer = Tokenizer.from_str(json.dumps(vocab))
    pattern = Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=False)
    return tokenizer


def as_object(token: str, **more: object) -> dict:
    return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} | more


def ends(token: object, *names: str) -> dict:
    return {f"{name}_token": token for name in names or ("bos", "eos", "unk")}


# Weights


class Legacy(pickle._Pickler):
    """`torch.save` as it was before 1.6, but for the storages' names: there they are addresses, here they are counted."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages: dict[int, tuple[str, torch.TypedStorage]] = {}

    def persistent_id(self, found):
        if not isinstance(found, torch.storage.TypedStorage):
            return None
        name = str(94_000_000_000_000 + 64 * len(self.storages))
        name, _ = self.storages.setdefault(found._data_ptr(), (name, found))
        kind = getattr(torch, found._pickle_storage_type())
        return ("storage", kind, name, "cpu", found._size(), None)


def save_legacy(state: dict, path: Path) -> None:
    with path.open("wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))):
            pickle.dump(header, file, protocol=2)
        pickler = Legacy(file)
        pickler.dump(state)
        storages = dict(pickler.storages.values())
        pickle.dump(list(storages), file, protocol=2)
        for storage in storages.values():
            file.write(struct.pack("<q", storage._size()) + bytes(storage._untyped_storage.tolist()))


def causal_mask(dtype: torch.dtype) -> torch.Tensor:
    return torch.ones(CONTEXT, CONTEXT).tril().to(dtype).view(1, 1, CONTEXT, CONTEXT)


def state_dict(model: PreTrainedModel, body: str = "transformer.", mask=None, masked_bias=None, head=False) -> dict:
    """The weights by the names of the file: with or without `body`, with the buffers that `transformers` registered when
    the file was written, and with the head although it is tied."""
    attention = "attn.attention" if model.config.model_type == "gpt_neo" else "attn"
    state = {}
    for name, values in model.transformer.state_dict().items():
        if mask is not None and name.endswith("ln_1.bias"):
            state[f"{body}{name}"] = values
            block = body + name.removesuffix("ln_1.bias")
            state[f"{block}{attention}.bias"] = causal_mask(mask)
            if masked_bias is not None:
                state[f"{block}{attention}.masked_bias"] = torch.tensor(masked_bias)
        else:
            state[f"{body}{name}"] = values
    return state | ({"lm_head.weight": state[f"{body}wte.weight"]} if head else {})


def safetensors(state: dict, path: Path) -> None:
    save_file({name: values.clone().contiguous() for name, values in state.items()}, path, {"format": "pt"})


# The replicas: each function gives the JSON and the text of a repository; `weights` writes the rest.


def gpt2_config(**more: object) -> dict:
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": VOCAB - 1,
        "embd_pdrop": 0.1,
        "eos_token_id": VOCAB - 1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-5,
        "model_type": "gpt2",
        "n_ctx": CONTEXT,
        "n_embd": WIDTH,
        "n_head": HEADS,
        "n_layer": LAYERS,
        "n_positions": CONTEXT,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "vocab_size": VOCAB,
    } | more


WRITES = {"task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}}
GENERATION = {"_from_model_config": True, "bos_token_id": VOCAB - 1, "eos_token_id": VOCAB - 1}
# What a config of 2020 says besides.
LABELS = {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
SINCE_2020 = {"gradient_checkpointing": False, "n_inner": None}
SINCE_2021 = {"reorder_and_upcast_attn": False, "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "use_cache": True}
CHAT = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"


def distilgpt2() -> dict:
    tokenizer = end_last(VOCAB)
    return two_files(tokenizer) | one_file(tokenizer) | {
        "config.json": gpt2_config(**WRITES, **LABELS),
        "generation_config.json": GENERATION | {"transformers_version": "4.26.0.dev0"},
        "tokenizer_config.json": {"model_max_length": CONTEXT},
    }


def distilgpt2_weights(model: PreTrainedModel, to: Path) -> None:
    state = state_dict(model, mask=torch.float32)
    safetensors(state, to / "model.safetensors")
    save_legacy(state_dict(model, mask=torch.float32, head=True), to / "pytorch_model.bin")


def gpt2() -> dict:
    return distilgpt2() | {"config.json": gpt2_config(**WRITES)}


def gpt2_weights(model: PreTrainedModel, to: Path) -> None:
    state = state_dict(model, body="", mask=torch.float32)
    safetensors(state, to / "model.safetensors")
    save_legacy(state, to / "pytorch_model.bin")


def datificate() -> dict:
    tokenizer = learnt(VOCAB, [END])
    return two_files(tokenizer) | {
        "config.json": gpt2_config(**WRITES, **SINCE_2020),
        "special_tokens_map.json": ends(END),
        "tokenizer_config.json": {"add_prefix_space": False, "model_max_length": CONTEXT} | ends(END),
    }


def deepesp() -> dict:
    # The tokens for prompts of the model's card, special only by the map.
    prompts = ["<|talk|>", *(f"<|ax{n}|>" for n in range(1, 10))]
    return two_files(learnt(VOCAB, [END, *prompts])) | {
        "config.json": gpt2_config(**SINCE_2020, _name_or_path="./output/checkpoint-1000"),
        "special_tokens_map.json": ends(as_object(END)) | {"additional_special_tokens": prompts},
        "tokenizer_config.json": ends(as_object(END, __type="AddedToken"))
        | {"add_prefix_space": False, "model_max_length": CONTEXT, "name_or_path": "./tokenizer", "special_tokens_map_file": None},
    }


def legacy_with_buffers(model: PreTrainedModel, to: Path) -> None:
    state = state_dict(model, mask=torch.uint8, masked_bias=-1e4, head=True)
    save_legacy(state, to / "pytorch_model.bin")


# The five tokens of the recipe for training with Flax; the end of text is not among them.
FLAX = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def flax_community() -> dict:
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    config = gpt2_config(**no_dropout, **SINCE_2020, **WRITES, scale_attn_weights=True, use_cache=True, transformers_version="4.9.0.dev0")
    return one_file(learnt(VOCAB, FLAX)) | {"config.json": config}


def flax_community_weights(model: PreTrainedModel, to: Path) -> None:
    # What came from Flax lies transposed in its storage.
    state = state_dict(model, mask=torch.uint8, masked_bias=-1e4, head=True)
    for name in [name for name in state if name.endswith("mlp.c_fc.weight")]:
        state[name] = state[name].t().contiguous().t()
    torch.save(state, to / "pytorch_model.bin")


def mrm8488() -> dict:
    return two_files(learnt(VOCAB, FLAX)) | {
        "added_tokens.json": {END: VOCAB},
        "config.json": flax_community()["config.json"] | {"_name_or_path": ".", "torch_dtype": "float32"},
        "special_tokens_map.json": ends(END),
        "tokenizer_config.json": ends(END)
        | {"add_prefix_space": False, "model_max_length": HUGE, "name_or_path": ".", "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer"},
    }


def itg() -> dict:
    tokenizer = end_last(VOCAB)
    config = gpt2_config(**SINCE_2020, **SINCE_2021, n_head=4, n_embd=24)
    conversational = {"task_specific_params": {"conversational": {"max_length": 1000}}, "torch_dtype": "float32"}
    return two_files(tokenizer) | one_file(tokenizer) | {
        "config.json": config | conversational | {"_name_or_path": "microsoft/DialoGPT-medium", "transformers_version": "4.16.2"},
        "special_tokens_map.json": ends(END),
        "tokenizer_config.json": ends(END)
        | {"add_prefix_space": False, "errors": "replace", "model_max_length": CONTEXT, "name_or_path": "microsoft/DialoGPT-medium", "tokenizer_class": None},
    }


def itg_weights(model: PreTrainedModel, to: Path) -> None:
    torch.save(state_dict(model, mask=torch.uint8, masked_bias=-1e4, head=True), to / "pytorch_model.bin")


def ostorc() -> dict:
    tokenizer = end_last(VOCAB)
    added = {str(VOCAB - 1): as_object(END, special=True)}
    return two_files(tokenizer) | one_file(tokenizer) | {
        "config.json": gpt2_config(**SINCE_2021, n_inner=None, torch_dtype="float32", _name_or_path="microsoft/DialoGPT-small", transformers_version="4.31.0"),
        "generation_config.json": GENERATION | {"transformers_version": "4.31.0"},
        "special_tokens_map.json": ends(as_object(END)) | ends(END, "pad"),
        "tokenizer_config.json": ends(END)
        | {"add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added, "chat_template": CHAT, "clean_up_tokenization_spaces": True}
        | {"errors": "replace", "model_max_length": CONTEXT, "pad_token": None, "tokenizer_class": "GPT2Tokenizer"},
    }


def ostorc_weights(model: PreTrainedModel, to: Path) -> None:
    torch.save(state_dict(model, mask=torch.bool, head=True), to / "pytorch_model.bin")


def gpt_neo() -> dict:
    tokenizer = end_last(VOCAB)
    token = as_object(END, __type="AddedToken")
    return two_files(tokenizer) | one_file(tokenizer) | {
        "config.json": {
            "activation_function": "gelu_new",
            "architectures": ["GPTNeoForCausalLM"],
            "attention_dropout": 0,
            "attention_layers": ["global", "local"],
            "attention_types": [[["global", "local"], 1]],
            "bos_token_id": VOCAB - 1,
            "embed_dropout": 0,
            "eos_token_id": VOCAB - 1,
            "gradient_checkpointing": False,
            "hidden_size": WIDTH,
            "initializer_range": 0.02,
            "intermediate_size": None,
            "layer_norm_epsilon": 1e-5,
            "max_position_embeddings": CONTEXT,
            "model_type": "gpt_neo",
            "num_heads": HEADS,
            "num_layers": LAYERS,
            "resid_dropout": 0,
            "summary_activation": None,
            "summary_first_dropout": 0.1,
            "summary_proj_to_labels": True,
            "summary_type": "cls_index",
            "summary_use_proj": True,
            "torch_dtype": "float32",
            "transformers_version": "4.10.0.dev0",
            "use_cache": True,
            "vocab_size": VOCAB,
            "window_size": 5,
        },
        "generation_config.json": GENERATION | {"transformers_version": "4.27.0.dev0"},
        "special_tokens_map.json": ends(as_object(END)),
        "tokenizer_config.json": ends(token)
        | {"add_prefix_space": False, "errors": "replace", "model_max_length": CONTEXT, "name_or_path": "gpt2", "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer"},
    }


def gpt_neo_weights(model: PreTrainedModel, to: Path) -> None:
    state = state_dict(model, mask=torch.uint8, masked_bias=-1e9, head=True)
    # The class of local layers had no such buffer.
    del state["transformer.h.1.attn.attention.bias"]
    torch.save(state, to / "pytorch_model.bin")
    safetensors({name: values for name, values in state.items() if name != "lm_head.weight"}, to / "model.safetensors")


def bloom() -> dict:
    return {
        "config.json": {
            "apply_residual_connection_post_layernorm": False,
            "architectures": ["BloomForCausalLM"],
            "attention_dropout": 0.0,
            "attention_softmax_in_fp32": True,
            "bias_dropout_fusion": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_dropout": 0.0,
            "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05,
            "masked_softmax_fusion": True,
            "model_type": "bloom",
            "n_embed": WIDTH,
            "n_inner": None,
            "n_layer": LAYERS,
            "num_attention_heads": HEADS,
            "offset_alibi": 100,
            "pad_token_id": 3,
            "pretraining_tp": 1,
            "skip_bias_add": True,
            "skip_bias_add_qkv": False,
            "slow_but_exact": False,
            "transformers_version": "4.20.0",
            "unk_token_id": 0,
            "use_cache": True,
            "vocab_size": VOCAB + 20,
        },
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        "tokenizer.json": bloom_tokenizer().to_str().encode(),
        "tokenizer_config.json": {
            "unk_token": "<unk>",
            "eos_token": "</s>",
            "bos_token": "<s>",
            "pad_token": "<pad>",
            "name_or_path": "bigscience/tokenizer",
            "special_tokens_map_file": None,
            "tokenizer_class": "BloomTokenizerFast",
            "padding_side": "left",
        },
    }


def bloom_weights(model: PreTrainedModel, to: Path) -> None:
    state = {name: values.half() for name, values in state_dict(model, body="").items()}
    safetensors(state, to / "model.safetensors")
    torch.save(state, to / "pytorch_model.bin")


MANY = ["flax_model.msgpack", "rust_model.ot", "tf_model.h5"]
TRAINED = ["training_args.bin", "runs/Mar01_12-00-00_host/events.out.tfevents.1646136000.host"]

# What a repository holds: its texts, its weights, and what copla is to pass by.
REPLICAS = {
    "distilgpt2": (distilgpt2, distilgpt2_weights, [*MANY, "64.tflite"]),
    "gpt2": (gpt2, gpt2_weights, [*MANY, "64.tflite", "64-8bits.tflite", "64-fp16.tflite", "onnx/config.json"]),
    "datificate--gpt2-small-spanish": (datificate, legacy_with_buffers, ["flax_model.msgpack", "tf_model.h5"]),
    "DeepESP--gpt2-spanish": (deepesp, legacy_with_buffers, ["flax_model.msgpack", "tf_model.h5"]),
    "flax-community--gpt-2-spanish": (flax_community, flax_community_weights, ["flax_model.msgpack", "run_clm_flax.py", "events.out.tfevents.1626000000.host"]),
    "mrm8488--spanish-gpt2": (mrm8488, flax_community_weights, ["flax_model.msgpack", "optimizer.pt", "scheduler.pt", "trainer_state.json"]),
    "ITG--DialoGPT-medium-spanish-chitchat": (itg, itg_weights, TRAINED),
    "ostorc--Conversational_Spanish_GPT": (ostorc, ostorc_weights, TRAINED),
    "EleutherAI--gpt-neo-125M": (gpt_neo, gpt_neo_weights, ["flax_model.msgpack", "rust_model.ot"]),
    "bigscience--bloom-560m": (bloom, bloom_weights, ["flax_model.msgpack", "LICENSE", "onnx/decoder_model.onnx"]),
}


def write(path: Path, contents: bytes | dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(contents, dict):
        contents = (json.dumps(contents, indent=2, ensure_ascii=False) + "\n").encode()
    path.write_bytes(contents)


def greedy(model: PreTrainedModel, ids: list[int]) -> list[int]:
    """Without a stop: the most likely ids, sure enough at every step that f32 arrives at them too."""
    ids = list(ids)
    for _ in range(NEW_TOKENS):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        margin = (best.values[0] - best.values[1]).item()
        assert margin > LEAST_MARGIN, f"greedy text hangs on a gap of {margin} between two logits"
        ids.append(best.indices[0].item())
    return ids[-NEW_TOKENS:]


def make(name: str, directory: Path) -> None:
    disable_progress_bar()
    texts, weights, others = REPLICAS[name]
    here, expected = directory / name, directory / "expected"
    for file in [*CARD, *others]:
        write(here / file, OTHER)
    for file, contents in texts().items():
        write(here / file, contents)
    weights(random_model(name, AutoConfig.from_pretrained(here)), here)

    model = AutoModelForCausalLM.from_pretrained(here, dtype=torch.float64, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(here)
    below = min(len(tokenizer), model.config.vocab_size)
    ids = torch.randint(below, (1, IDS), generator=recorder.generator(f"{name}/token_ids"))
    with torch.no_grad():
        logits = model(ids).logits
        new = greedy(model, ids[0].tolist())
    texts = [torch.tensor([tokenizer(text).input_ids]) for text in TEXTS]
    computed = {"token_ids": ids, "logits": logits, "greedy": torch.tensor([new])}
    recorder.save(computed | {f"text.{n}": ids for n, ids in enumerate(texts)}, expected / f"{name}.safetensors")
    special = {key: getattr(tokenizer, key) for key in SPECIAL}
    of_config = {key: getattr(model.config, key) for key in SPECIAL if hasattr(model.config, key)}
    write(expected / f"{name}.json", {"texts": TEXTS, "tokenizer": special, "config": of_config})
    size = sum(file.stat().st_size for file in here.rglob("*") if file.is_file())
    print(f"{name}: {size} bytes, {special}")
    assert size < recorder.LARGEST_FILE, name
