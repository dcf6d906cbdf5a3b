"""Opens with `transformers` models that copla saved, and holds copla's logits against those computed there.

    copla inspect --model DIR --token-ids 1,2,3 --dump dump.safetensors
    python tests/golden/open_with_transformers.py DIR dump.safetensors --token-ids 1,2,3

    python tests/golden/open_with_transformers.py --copla target/release/copla

The second form does so for every tiny model and every replica beside this script, as `copla convert` writes it and, where
there is a tokenizer, as `copla train --model` does after three steps.

Exits with 1 when a weight is missing or superfluous, when logits differ by more than 1e-4, or when a Spanish line does
not come back from the tokenizer as it went in.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

TOLERANCE = 1e-4
IDS = "3,5,8,13,21,34,55,89,7,11,2,1"
LINE = "¡Ay, qué pronto amaneció! ¿Quién apagó la farola del balcón, niña?"


def open_model(directory: Path) -> tuple[torch.nn.Module, list[str]]:
    """The model in f32, and what is wrong with its weights."""
    model, loading = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, local_files_only=True
    )
    return model, [f"{what}: expected none, found {sorted(found)}" for what, found in loading.items() if found]


def difference(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest absolute difference; infinite for tensors that cannot be compared."""
    if ours.shape != theirs.shape:
        print(f"{name}: expected shape {list(theirs.shape)}, found {list(ours.shape)}")
        return float("inf")
    largest = (ours.float() - theirs).abs().max().item()
    print(f"{name}: largest difference {largest:.3g}, largest value {theirs.abs().max().item():.3g}")
    return largest


def compare(model: torch.nn.Module, token_ids: list[int], dump: dict[str, torch.Tensor]) -> list[str]:
    if "logits" not in dump:
        return [f"dump: expected a tensor `logits`, found {', '.join(dump) or 'none'}"]
    with torch.no_grad():
        result = model(torch.tensor([token_ids]), output_hidden_states=True, output_attentions=True)
    # The inner tensors say where a difference begins; only the logits decide.
    inner = {f"hidden.{n}": hidden for n, hidden in enumerate(result.hidden_states)}
    inner |= {f"attention.{n}": probs for n, probs in enumerate(result.attentions)}
    for name, theirs in inner.items():
        if name in dump:
            difference(name, dump[name], theirs)
    largest = difference("logits", dump["logits"], result.logits)
    # Written so that a NaN fails too.
    return [] if largest <= TOLERANCE else [f"logits: expected a difference of at most {TOLERANCE}, found {largest:.3g}"]


def round_trip(directory: Path) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ids = tokenizer.encode(LINE, add_special_tokens=False)
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    print(f"tokenizer: {type(tokenizer).__name__}, {len(tokenizer)} tokens; the line took {len(ids)}: {ids}")
    return [] if decoded == LINE else [f"tokenizer: expected {LINE!r}, found {decoded!r}"]


def check(directory: Path, dump: Path, token_ids: list[int]) -> list[str]:
    """What is wrong with the model in `directory`."""
    model, wrong = open_model(directory)
    wrong += compare(model, token_ids, load_file(dump))
    has_tokenizer = any((directory / file).exists() for file in ("tokenizer.json", "vocab.json"))
    return wrong + (round_trip(directory) if has_tokenizer else [])


def check_all(copla: Path) -> list[str]:
    """What is wrong with what copla makes of the models that are here."""
    here, wrong = Path(__file__).parent, []

    def check_saved(name: str, *command: object) -> None:
        with tempfile.TemporaryDirectory() as place:
            saved, dump = Path(place) / "model", Path(place) / "dump.safetensors"
            print(f"{name}:", *command[:1], flush=True)
            for arguments in ((*command, "--output", saved), ("inspect", "--model", saved, "--token-ids", IDS, "--dump", dump)):
                subprocess.run([copla.resolve(), *arguments], check=True, stdout=subprocess.DEVNULL)
            wrong.extend(f"{name}: {line}" for line in check(saved, dump, list(map(int, IDS.split(",")))))

    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "text.txt"
        text.write_text("\n\n".join(f"{LINE} {n}" for n in range(20)))
        for config in sorted(here.glob("*_tiny/config.json")) + sorted(here.glob("replicas/*/config.json")):
            model = config.parent
            if model.name == "char_lstm_tiny":
                continue  # open_with_torch.py opens it
            check_saved(model.name, "convert", model)
            if model.parent.name == "replicas":
                steps = ("--max-steps", 3, "--block-size", 16, "--per-device-train-batch-size", 2)
                check_saved(model.name, "train", "--model", model, "--data", text, *map(str, steps))
    return wrong


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("directory", type=Path, nargs="?", help="a model directory in the Hugging Face layout")
    arguments.add_argument("dump", type=Path, nargs="?", help="what `copla inspect --dump` wrote")
    arguments.add_argument("--token-ids", default=IDS, help=f"the ids given to `copla inspect` [{IDS}]")
    arguments.add_argument("--copla", type=Path, help="the program: make and open every model that is here")
    given = arguments.parse_args()
    disable_progress_bar()

    if given.copla:
        wrong = check_all(given.copla)
    elif given.dump:
        wrong = check(given.directory, given.dump, [int(token) for token in given.token_ids.split(",")])
    else:
        arguments.error("a directory and a dump, or --copla")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
