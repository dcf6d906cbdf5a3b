"""Greedy text from GPT-2 124M with its KV cache, batch 1: a prompt of 32 tokens, 128 new ones."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from common import Work, main

PROMPT, NEW = 32, 128


def model_and_prompt() -> tuple[GPT2LMHeadModel, torch.Tensor]:
    # Without an end of text every run has the same length.
    config = GPT2Config(eos_token_id=None, pad_token_id=0)
    return GPT2LMHeadModel(config).eval(), torch.randint(config.vocab_size, (1, PROMPT))


def generate() -> Work:
    model, prompt = model_and_prompt()
    mask = torch.ones_like(prompt)

    def run():
        text = model.generate(prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
        assert text.shape == (1, PROMPT + NEW)

    return Work(run, tokens=NEW)


def loop() -> Work:
    """The same without what `generate` does between two forward passes."""
    model, prompt = model_and_prompt()

    @torch.inference_mode()
    def run():
        token, cache = prompt, None
        for _ in range(NEW):
            result = model(token, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token, cache = result.logits.argmax(-1), result.past_key_values

    return Work(run, tokens=NEW)


CASES = {
    ("generate", "gpt2 32+128 generate"): generate,
    ("generate", "gpt2 32+128 plain loop"): loop,
}

if __name__ == "__main__":
    main(__doc__, CASES)
