"""Random Unicode strings and the ids that the `tokenizers` package gives them: more than belong in a repository.

    python tests/golden/random_texts.py TOKENIZER OUT [COUNT]
    COPLA_RANDOM_TEXTS=OUT cargo test --test tokenizers -- --ignored

TOKENIZER is a directory with `tokenizer.json`, or with GPT-2's `vocab.json` and `merges.txt`. OUT gets the tokenizer's files
and `texts.jsonl`, a line `[text, ids]` for each of COUNT strings (a million unless told), the same in every run. Ids are those
of a document: special tokens are read as text, and none is added.
"""

import json
import random
import shutil
import sys
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
LETTERS = "abcdefghijklmnopqrstuvwxyz" + "áéíóúüñ" * 3 + "ABCDEFÁÉÑ"
PIECES = [
    *("'s", "'t", "'re", "'LL", "\u2019s", "''", "¿", "¡", "...", "…", "—", "«", "»", "<|endoftext|>", "<|", "|>", "</s>"),
    *("\n", "\r\n", "\r", "\n\n\n", "\t", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\xad", "\0", "\x7f"),
    *("\u1680", "\u180e", "\u2003", "\u2028", "\u2029", "\u200b", "\u200d", "\u2060", "\u202f", "\u205f", "\u3000", "\ufeff"),
    *("\u0301", "n\u0303", "e\u0301\u0328", "\ufb01", "ª", "º", "½", "²", "Ⅻ", "٣", "५", "௧", "𝟙", "߁", "①", "〇", "三"),
    *("👩‍👩‍👧", "🇪🇸", "👍🏽", "🌙\ufe0f", "ص\u0640", "שָׁ", "한", "\u1100\u1161", "क्ष", "ǅ", "ß", "ſ", "İ", "ı", "ʼ", "\U000e0041"),
]


def character(rng: random.Random) -> str:
    """Any scalar value: of the first plane in two thirds of the cases, of all planes else."""
    while True:
        code = rng.randrange(0x10000 if rng.random() < 2 / 3 else 0x110000)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def text(rng: random.Random) -> str:
    kinds = rng.choices(["word", "space", "digits", "piece", "any"], weights=[5, 5, 1, 3, rng.choice([0, 1, 10])], k=rng.randrange(24))
    draw = {
        "word": lambda: "".join(rng.choices(LETTERS, k=rng.randint(1, 9))),
        "space": lambda: " " * rng.choice([1, 1, 1, 1, 2, 3, 8]),
        "digits": lambda: str(rng.randrange(10 ** rng.randint(1, 9))),
        "piece": lambda: rng.choice(PIECES),
        "any": lambda: character(rng),
    }
    return "".join(draw[kind]() for kind in kinds)


def load(directory: Path) -> Tokenizer:
    whole = directory / "tokenizer.json"
    if whole.exists():
        tokenizer = Tokenizer.from_file(str(whole))
    else:
        tokenizer = Tokenizer(models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt")))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.encode_special_tokens = True
    return tokenizer


def main(source: Path, out: Path, count: int) -> None:
    tokenizer = load(source)
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)
    rng = random.Random(20)
    ids = characters = 0
    with open(out / "texts.jsonl", "w", encoding="utf-8") as file:
        for start in range(0, count, 10_000):
            texts = [text(rng) for _ in range(min(10_000, count - start))]
            for one, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False)):
                file.write(json.dumps([one, encoding.ids], ensure_ascii=False) + "\n")
                ids += len(encoding.ids)
                characters += len(one)
    print(f"tokenizers {tokenizers.__version__}: {count} strings, {characters} characters, {ids} ids")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000)
