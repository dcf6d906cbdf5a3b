"""Opens with PyTorch and `transformers`' tokenizers a character LSTM that copla saved, and holds copla's logits and ids against theirs.

    copla inspect --model DIR --text "Tengo una pena" --dump dump.safetensors
    python tests/golden/open_with_torch.py DIR dump.safetensors --text "Tengo una pena"

Exits with 1 when a weight is missing or superfluous, when logits differ by more than 1e-4, or when the tokenizer gives
other ids or does not give the text back.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from char_lstm import CharLSTM
from open_with_transformers import TOLERANCE, difference


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("directory", type=Path, help="a model directory that copla saved")
    arguments.add_argument("dump", type=Path, help="what `copla inspect --dump` wrote")
    arguments.add_argument("--text", required=True, help="the text given to `copla inspect`")
    arguments = arguments.parse_args()

    model = CharLSTM(json.loads((arguments.directory / "config.json").read_text())).eval()
    model.load_state_dict(load_file(arguments.directory / "model.safetensors"))
    dump = load_file(arguments.dump)
    token_ids = dump["token_ids"].long()
    with torch.no_grad():
        largest = difference("logits", dump["logits"], model(token_ids).logits)
        for n, hidden in enumerate(model.hidden_states(token_ids)):
            difference(f"hidden.{n}", dump[f"hidden.{n}"], hidden)
    # Written so that a NaN fails too.
    wrong = [] if largest <= TOLERANCE else [f"logits: expected a difference of at most {TOLERANCE}, found {largest:.3g}"]

    tokenizer = AutoTokenizer.from_pretrained(arguments.directory, local_files_only=True)
    ids = tokenizer.encode(arguments.text)
    print(f"tokenizer: {type(tokenizer).__name__}, {len(tokenizer)} tokens, eos {tokenizer.eos_token_id}; the text is {ids}")
    if ids != token_ids[0].tolist():
        wrong.append(f"ids: expected {token_ids[0].tolist()}, found {ids}")
    decoded = tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False)
    if decoded != arguments.text:
        wrong.append(f"tokenizer: expected {arguments.text!r}, found {decoded!r}")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
