"""Opens with `transformers` a model that copla saved, and holds copla's logits against those computed there.

    copla inspect --model DIR --token-ids 1,2,3 --dump dump.safetensors
    python tests/golden/open_with_transformers.py DIR dump.safetensors --token-ids 1,2,3

Exits with 1 when a weight is missing or superfluous, when logits differ by more than 1e-4, or when a Spanish line does
not come back from the tokenizer as it went in.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

TOLERANCE = 1e-4
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("directory", type=Path, help="a model directory in the Hugging Face layout")
    arguments.add_argument("dump", type=Path, help="what `copla inspect --dump` wrote")
    arguments.add_argument("--token-ids", required=True, help="the ids given to `copla inspect`: 1,2,3")
    arguments = arguments.parse_args()
    disable_progress_bar()

    token_ids = [int(token) for token in arguments.token_ids.split(",")]
    model, wrong = open_model(arguments.directory)
    wrong += compare(model, token_ids, load_file(arguments.dump))
    wrong += round_trip(arguments.directory)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
