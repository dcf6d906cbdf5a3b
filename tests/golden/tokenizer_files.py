"""Tokenizers in every form that files have had, and the ids that `transformers` gives for them: one JSON file each.

    {"files": {name: text}, "class": ..., "special": {bos, eos, unk, pad: id or null},
     "texts": [{"text", "document": ids, "prompt": ids, "decoded": text}]}

`document` reads special tokens as text (`split_special_tokens`) and adds none; `prompt` is `tokenizer(text)`, and `decoded` its text.
"""

import json
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

CORPUS = [
    "La niña pequeña soñaba con la mañana; la mañana no soñaba con la niña.",
    "¿Quién canta? ¡El corazón canta! —El corazón, la canción y el cantor.",
    "La luna baja a la orilla del río, y a la orilla del río canta la niña.",
]
END = "<|endoftext|>"
TEXTS = [
    "La niña canta en la orilla.",
    " la mañana,  con dos espacios\n\ny «comillas» — ¡ay!",
    "",
    " ",
    "corazo\u0301n descompuesto y \ufb01n",
    "🌙 luna\u200d, \u00a0\t\r\n\u0000 12345 'tis it's",
    f"Hola.{END}¿Qué tal?",
    f"  {END}  y <|talk|> —dijo— <|talk|>fin<|ax1|> sol<mask> <mask>",
    "antes <s>dentro</s><unk><pad> después </s>",
    "palabra rara y palabrarara, palabra",
    "uno </s>  dos  <mask>  tres [EOS]  cuatro [PAD][MASK][X]  cinco",
    # What counts as a space, a letter or a number is Unicode's to say: here are those that engines disagree on.
    "a\x1cb\x1fc\x85d\u1680e\u180ef\u2003g\u2028h\u2029i\u200bj\u202fk\u205fl\u2060m\u3000n\ufeff",
    "12½ x² Ⅻ ٣٤ ५௧ 𝟙𝟚 ①〇 1.ª 2.º n.º \u07c1",
    "ǅ ß ſ İ ı ʼn \u1e9e \ua7f7 \U00010d50 \U0001e4d0 \u0560\u1c90",
    "👩\u200d👩\u200d👧 🇪🇸 👍🏽 🌙\ufe0f 1\ufe0f\u20e3",
    "שָׁלוֹם العَرَبِيَّة हिन्दी क्ष 한국어 \u1112\u1161\u11ab 日本語、中文。ไทย",
    "e\u0301\u0328 n\u0303\u0303 \u0301 \u0301a a\u0488",
    "d'l'm's'S'Re'VE'LL ''s '\u017f \u2019s ' s",
    "\ue000\ufdd0\ufffe\uffff\U0010ffff\U000e0041\x7f\x80\x9f\xad",
    "     \n   \n\t \t x    y \r\n\r\n  ",
    "¡¡¡¿¿¿!!!???… — –«»“”‘’<|endoftext|",
]
PLAIN = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def learnt(first: list[str], size: int = 290) -> tuple[dict[str, int], list[str]]:
    """A byte-level BPE: its vocabulary, with `first` as its lowest ids, and its merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    by_id = dict(sorted(model["vocab"].items(), key=lambda item: item[1]))
    return by_id, [" ".join(merge) for merge in model["merges"]]


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def pair(first: list[str], version: bool = True, newline: str = "\n") -> dict[str, str]:
    """`vocab.json` and `merges.txt`."""
    vocab, merges = learnt(first)
    lines = ["#version: 0.2"] * version + merges
    return {"vocab.json": dump(vocab), "merges.txt": newline.join(lines) + newline, "config.json": dump({"model_type": "gpt2"})}


def whole(first: list[str], **parts: object) -> dict[str, str]:
    """`tokenizer.json`."""
    vocab, merges = learnt(first)
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = parts.pop("added", first)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.add_special_tokens(added)
    return {"tokenizer.json": tokenizer.to_str()}


def with_json(files: dict[str, str], **more: object) -> dict[str, str]:
    return files | {f"{name}.json": dump(value) for name, value in more.items()}


def cases() -> dict[str, dict[str, str]]:
    """What each is like among the models of the hub stands beside it; of those files, only what is publicly told is known."""
    bloom = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" ?[^(\\s|[.,!?…。，、।۔،])]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    around = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    described = {"__type": "AddedToken", "content": END} | PLAIN
    markers = ["<|talk|>", "<|ax1|>"]
    # So long is every vocabulary here; an added token counts on from it.
    count = len(learnt([])[0])
    return {
        # gpt2 of 2019: two files and nothing else. datificate/gpt2-small-spanish: the end of text is id 0.
        "two_files": pair([END]),
        "two_files_crlf_without_version": pair([END], version=False, newline="\r\n"),
        # mrm8488/spanish-gpt2: the end of text stands in added_tokens.json alone.
        "end_is_added": with_json(
            pair([]), added_tokens={END: count}, special_tokens_map={f"{name}_token": END for name in ("bos", "eos", "unk")}
        ),
        # DeepESP/gpt2-spanish: further tokens, named as special and not; tokens as objects; a prefix space.
        "objects_and_prefix_space": with_json(
            pair([END]),
            added_tokens={token: count + i for i, token in enumerate([*markers, "<mask>"])},
            special_tokens_map={"eos_token": {"content": END} | PLAIN},
            # transformers 5 passes over this list in the map; here every version heeds it.
            tokenizer_config={
                "add_prefix_space": True,
                "bos_token": described,
                "pad_token": None,
                "unk_token": described,
                "additional_special_tokens": markers[:1],
            },
        ),
        # Named by the config, and in no vocabulary: they count on from its end.
        "tokens_that_the_vocabulary_lacks": with_json(
            pair([]),
            tokenizer_config={
                "mask_token": {"content": "[MASK]", "__type": "AddedToken"} | PLAIN | {"lstrip": True},
                "pad_token": "[PAD]",
                "eos_token": "[EOS]",
                "unk_token": "[EOS]",
                "bos_token": "[BOS]",
                "additional_special_tokens": ["[X]"],
                "add_eos_token": True,
            },
        ),
        # Newer: the added tokens in the config, of which some take the spaces beside them; the map is not looked at.
        "added_tokens_decoder": with_json(
            pair([END]),
            tokenizer_config={
                "tokenizer_class": "GPT2Tokenizer",
                "eos_token": "</s>",
                "add_bos_token": True,
                "additional_special_tokens": ["<|talk|>"],
                "added_tokens_decoder": {
                    "0": {"content": END, "special": True} | PLAIN,
                    str(count): {"content": "<mask>", "special": False} | PLAIN | {"lstrip": True},
                    str(count + 1): {"content": "</s>", "special": True} | PLAIN | {"rstrip": True},
                    str(count + 2): {"content": "<|talk|>", "special": True} | PLAIN,
                    str(count + 3): {"content": "palabra", "special": False} | PLAIN | {"single_word": True},
                },
            },
            special_tokens_map={"eos_token": END},
        ),
        # flax-community/gpt-2-spanish: tokenizer.json alone.
        "tokenizer_json_alone": with_json(whole([END]), config={"model_type": "gpt2"}),
        # GPT-2's class says no prefix space, whatever the file says.
        "gpt2_class_over_prefix_space": with_json(
            whole([END], pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
            tokenizer_config={"tokenizer_class": "GPT2TokenizerFast"},
        ),
        # No class of its own: all is in the file.
        "fast_with_template": with_json(
            whole(
                ["<pad>", "<s>", "</s>", "<unk>"],
                normalizer=normalizers.NFKC(),
                pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
                post_processor=around,
                added=["<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True)],
            ),
            tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": described | {"content": "</s>"}},
        ),
        # bigscience/bloom-560m: its own split, four special tokens first.
        "bloom": with_json(
            whole(["<unk>", "<s>", "</s>", "<pad>"], pre_tokenizer=bloom),
            config={"model_type": "bloom"},
            tokenizer_config={
                "tokenizer_class": "BloomTokenizerFast",
                "unk_token": "<unk>",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "pad_token": "<pad>",
                "add_prefix_space": False,
            },
        ),
    }


def make(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name, files in cases().items():
        with tempfile.TemporaryDirectory() as model:
            for file, text in files.items():
                (Path(model) / file).write_bytes(text.encode())
            tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        texts = []
        for text in TEXTS:
            prompt = tokenizer(text)["input_ids"]
            texts.append(
                {
                    "text": text,
                    "document": tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"],
                    "prompt": prompt,
                    "decoded": tokenizer.decode(prompt, clean_up_tokenization_spaces=False),
                }
            )
        special = {token: getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "unk", "pad")}
        case = {"class": type(tokenizer).__name__, "files": files, "special": special, "texts": texts}
        (directory / f"{name}.json").write_text(json.dumps(case, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, case["class"], special, len(tokenizer))
