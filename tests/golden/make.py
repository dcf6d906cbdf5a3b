"""Makes the golden files of this directory from float64 PyTorch: `python tests/golden/make.py [FAMILY ...]`."""

import sys
from pathlib import Path

import torch

import char_lstm
import fused_ops
import plain_ops
import replicas
import tiny_models
import tokenizer_files
import torch_files

OPERATIONS = {
    maker.__name__: maker
    for maker in (
        plain_ops.elementwise,
        plain_ops.reduce,
        plain_ops.matmul,
        plain_ops.layout,
        fused_ops.layer_norm,
        fused_ops.embedding,
        fused_ops.linear,
        fused_ops.lstm,
        fused_ops.attention,
        fused_ops.cross_entropy,
        fused_ops.adamw,
    )
}
# `torch_files` takes its weights from a model's.
FILES = "torch"
UNTIED = "untied"
TOKENIZERS = "tokenizers"


def main() -> None:
    here = Path(__file__).parent
    # One thread: the order of summation, and with it the bytes, depends on nothing but the code.
    torch.set_num_threads(1)
    known = [
        *OPERATIONS,
        *tiny_models.CONFIGS,
        UNTIED,
        char_lstm.NAME,
        FILES,
        TOKENIZERS,
        *replicas.REPLICAS,
    ]
    for name in sys.argv[1:] or known:
        if name in tiny_models.CONFIGS:
            tiny_models.make(name, here / name)
        elif name == UNTIED:
            tiny_models.untied(here / UNTIED)
        elif name == char_lstm.NAME:
            char_lstm.make(here / name)
        elif name == FILES:
            torch_files.make(here / FILES)
        elif name in replicas.REPLICAS:
            replicas.make(name, here / "replicas")
        elif name == TOKENIZERS:
            tokenizer_files.make(here / TOKENIZERS)
        elif name in OPERATIONS:
            for family in OPERATIONS[name]():
                family.save(here)
        else:
            raise SystemExit(f"family: expected one of {', '.join(known)}, found {name}")


if __name__ == "__main__":
    main()
