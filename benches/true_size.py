"""Loading, one training step and greedy text at true size, copla beside `transformers`: time and memory, and whether
both compute the same.

    cargo build --release --bench true_size
    python benches/true_size.py [--scratch DIR] [--reps N] [--only NAME]

Makes model directories of random weights in the published shapes, dtypes and files (3.3 GB in DIR), then measures the two
in turn, each in a process of its own. Needs the versions that `benches/pytorch/README.md` names. Exits with 1 where the
losses or the logits differ by more than 1e-3 of their size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-3
TOKENS, PROMPT, NEW = 256, 32, 32

# name: family, what differs from its defaults, dtype in the file, safetensors or pytorch_model.bin
MODELS = {
    "gpt2": ("gpt2", {}, "float32", True),
    "gpt-neo-125M": (
        "gpt_neo",
        {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "attention_types": [[["global", "local"], 6]]},
        "float32",
        True,
    ),
    "bloom-560m": ("bloom", {"hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250_880}, "float16", True),
    "DialoGPT-medium": ("gpt2", {"n_embd": 1024, "n_layer": 24, "n_head": 16}, "float32", False),
}


def make(name: str, directory: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    family, sizes, dtype, safe = MODELS[name]
    dropouts = ["resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout"]
    dropouts += ["embed_dropout", "resid_dropout"]
    config = AutoConfig.for_model(family, **sizes)
    for key in dropouts:
        if hasattr(config, key):
            setattr(config, key, 0.0)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(getattr(torch, dtype))
    if safe:
        model.save_pretrained(directory)
    else:
        # `transformers` writes safetensors only; the published files are a plain state dict, the head in it.
        model.config.save_pretrained(directory)
        torch.save(model.state_dict(), directory / "pytorch_model.bin")


def token_ids(vocabulary: int) -> list[int]:
    return [i * 7919 % vocabulary for i in range(TOKENS)]


def status(key: str) -> float:
    """One number of /proc/self/status, in GiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 2**20


def theirs(directory: Path) -> dict:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(os.cpu_count())
    found = {"base_gib": status("VmHWM")}
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
    found |= {"load_s": time.perf_counter() - start, "load_gib": status("VmHWM")}
    ids = torch.tensor([token_ids(model.config.vocab_size)])

    model.eval()
    prompt = ids[:, :PROMPT]
    options = {"do_sample": False, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0}
    start = time.perf_counter()
    text = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    found["generate_s"] = time.perf_counter() - start
    assert text.shape == (1, PROMPT + NEW)
    with torch.inference_mode():
        last = model(prompt, logits_to_keep=1).logits[0, -1].double()
    found["logits"] = last.tolist()
    found["generate_gib"] = status("VmHWM")

    # Gradients clipped and AdamW, as in benches/pytorch/train_step.py; the first step makes the optimiser's state.
    model.train()
    model.config.use_cache = False
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return found | {"step_s": time.perf_counter() - start, "loss": loss.item(), "step_gib": status("VmHWM")}


def ours(bench: Path, directory: Path) -> dict:
    command = [bench, "--bench"]
    output = subprocess.run(command, env={**os.environ, "COPLA_MODEL": str(directory)}, check=True, capture_output=True)
    return json.loads(output.stdout.splitlines()[-1])


def bench_binary() -> Path:
    command = ["cargo", "build", "--release", "--bench", "true_size", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    messages = [json.loads(line) for line in output.stdout.splitlines()]
    return next(
        Path(message["executable"])
        for message in messages
        if message.get("target", {}).get("name") == "true_size" and message.get("executable")
    )


def difference(ours: dict, theirs: dict) -> float:
    """The largest difference of the losses and of the logits after the prompt, in parts of the largest."""
    scale = max(map(abs, theirs["logits"]))
    logits = max(abs(a - b) for a, b in zip(ours["logits"], theirs["logits"], strict=True)) / scale
    return max(logits, abs(ours["loss"] - theirs["loss"]) / theirs["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/copla_true_size"), help="where the models are made")
    parser.add_argument("--reps", type=int, default=3, help="times that each side runs, in turn (default: 3)")
    parser.add_argument("--only", default="", help="only the models whose name contains this")
    parser.add_argument("--make", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--theirs", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.make, arguments.scratch / arguments.make)
    if arguments.theirs:
        print(json.dumps(theirs(arguments.scratch / arguments.theirs)))
        return

    bench = bench_binary()
    again = [sys.executable, __file__, "--scratch", arguments.scratch]
    worst = 0.0
    keys = ["load_s", "load_gib", "generate_s", "generate_gib", "step_s", "step_gib"]
    print("| model | side |", " | ".join(keys), "| loss | base_gib | counted_gib |")
    print("|---" * (len(keys) + 5) + "|")
    for name in (name for name in MODELS if arguments.only in name):
        directory = arguments.scratch / name
        if not (directory / "config.json").exists():
            directory.mkdir(parents=True, exist_ok=True)
            subprocess.run([*again, "--make", name], check=True)
        runs = []
        for _ in range(arguments.reps):
            one = subprocess.run([*again, "--theirs", name], check=True, capture_output=True)
            runs.append((ours(bench, directory), json.loads(one.stdout.splitlines()[-1])))
        for side, of_side in zip(["copla", "transformers"], zip(*runs)):
            figures = [f"{statistics.median(run[key] for run in of_side):.3g}" for key in keys]
            counted = f"{of_side[0].get('counted_gib', 0):.3g}"
            print(f"| {name} | {side} |", " | ".join(figures), f"| {of_side[0]['loss']:.5f} | {of_side[0]['base_gib']:.2g} | {counted} |")
        found = max(difference(*run) for run in runs)
        print(f"{name}: largest difference {found:.2g}", file=sys.stderr, flush=True)
        worst = max(worst, found)
    if not worst <= TOLERANCE:
        sys.exit(f"expected a difference of at most {TOLERANCE}, found {worst:.3g}")


if __name__ == "__main__":
    main()
