"""Whole models, small and random: saved as `transformers` saves them, and what `transformers` computes with them in float64."""

from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, GPTNeoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.bloom import modeling_bloom
from transformers.models.gpt_neo import modeling_gpt_neo
from transformers.utils.logging import disable_progress_bar

from recorder import generator, save

STEPS = 10
PROMPT, NEW_TOKENS, TELLING = 7, 16, 4
# Below this gap between the best two logits, greedy text would hang on f32 rounding.
LEAST_MARGIN = 0.01



class InFloat64:
    """`torch`, but for a module that casts to float32 by name: BLOOM its softmax and slopes, GPT-Neo queries and keys."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


modeling_bloom.torch = modeling_gpt_neo.torch = InFloat64()

EMBEDDINGS = {"transformer.wte.weight", "transformer.wpe.weight", "transformer.word_embeddings.weight"}
NO_END = {"bos_token_id": None, "eos_token_id": None}

CONFIGS = {
    "gpt2_tiny": GPT2Config(
        vocab_size=97,
        n_positions=40,
        n_embd=36,
        n_layer=3,
        n_head=3,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **NO_END,
    ),
    # A window shorter than the text and than the prompt.
    "gpt_neo_tiny": GPTNeoConfig(
        vocab_size=97,
        max_position_embeddings=40,
        hidden_size=36,
        num_layers=3,
        num_heads=3,
        attention_types=[[["global", "local"], 1], [["local"], 1]],
        window_size=5,
        **NO_END,
    ),
    # Six heads: slopes of four, and every other one of eight.
    "bloom_tiny": BloomConfig(vocab_size=97, seq_length=40, hidden_size=36, n_layer=3, n_head=6, **NO_END),
}

# A head of its own, which none of the published models has.
UNTIED = {
    "gpt2": GPT2Config(vocab_size=31, n_positions=12, n_embd=12, n_layer=2, n_head=2, tie_word_embeddings=False, **NO_END),
    "gpt_neo": GPTNeoConfig(
        vocab_size=31,
        max_position_embeddings=12,
        hidden_size=12,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=5,
        tie_word_embeddings=False,
        **NO_END,
    ),
    "bloom": BloomConfig(vocab_size=31, seq_length=12, hidden_size=12, n_layer=2, n_head=2, tie_word_embeddings=False, **NO_END),
}


def random_model(name: str, config: PreTrainedConfig) -> PreTrainedModel:
    """Weights large enough that attention is peaked and logits are not flat; no bias is 0 and no norm's weight is 1."""
    model = AutoModelForCausalLM.from_config(config)
    # Conv1D: rows are the inputs.
    inputs_axis = 0 if config.model_type == "gpt2" else 1
    with torch.no_grad():
        for weight, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator(f"{name}/{weight}"))
            if values.dim() == 1 and weight.endswith("weight"):
                values.copy_(noise * 0.2 + 1.0)
            elif values.dim() == 1:
                values.copy_(noise * (0.2 if ".ln_" in weight else 0.1))
            elif weight in EMBEDDINGS:
                values.copy_(noise * 0.4)
            else:
                # GPT-Neo does not divide its scores by the root of the head's size.
                size = 0.8 if "q_proj" in weight or "k_proj" in weight else 1.5
                values.copy_(noise * size / values.shape[inputs_axis] ** 0.5)
    return model


def next_token_loss(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """The model's own `labels=` would round the logits to f32 first."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten())


def forward_and_backward(model: PreTrainedModel, token_ids: torch.Tensor) -> tuple[dict, dict]:
    result = model(token_ids, output_hidden_states=True, output_attentions=True)
    loss = next_token_loss(result.logits, token_ids)
    loss.backward()
    expected = {"token_ids": token_ids, "logits": result.logits, "loss": loss}
    expected |= {f"hidden.{n}": hidden for n, hidden in enumerate(result.hidden_states)}
    expected |= {f"attention.{n}": probs for n, probs in enumerate(result.attentions)}
    gradients = {f"grad.{name}": values.grad for name, values in model.named_parameters()}
    model.zero_grad()
    return expected, gradients


def greedy(model: PreTrainedModel, prompt: torch.Tensor) -> torch.Tensor:
    """The most likely continuation, sure enough at every step that f32 arrives at it too."""
    result = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best, second = torch.stack(result.logits).topk(2).values.unbind(-1)
    margin = (best - second).min().item()
    assert margin > LEAST_MARGIN, f"greedy text hangs on a gap of {margin} between two logits"
    return result.sequences[:, prompt.shape[1] :]


def decode(reader: PreTrainedModel, writer: PreTrainedModel, prompt: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Greedy text until the context is full, the prompt read by one model and the rest written, token by token over its
    cache, by the other; and the least gap between the best two logits."""
    result = reader(prompt, use_cache=True)
    text, margin = [], float("inf")
    for _ in range(writer.config.max_position_embeddings - prompt.shape[1]):
        best, second = result.logits[0, -1].topk(2).values.tolist()
        margin = min(margin, best - second)
        text.append(result.logits[0, -1].argmax())
        result = writer(text[-1].view(1, 1), past_key_values=result.past_key_values, use_cache=True)
    return torch.stack(text), margin


def telling_texts(name: str, directory: Path) -> dict[str, torch.Tensor]:
    """Prompts whose greedy text any mistake of the dialect changes, even one made after the prompt only: a window one key
    too narrow or too wide, none at all, scaled scores."""

    def load(scale: float = 1.0, **wrong: int) -> PreTrainedModel:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager", **wrong)
        with torch.no_grad():
            for block in model.transformer.h:
                block.attn.attention.q_proj.weight *= scale
        return model

    right, head_dim = load(), CONFIGS[name].hidden_size // CONFIGS[name].num_heads
    window, context = CONFIGS[name].window_size, CONFIGS[name].max_position_embeddings
    wrong = [load(window_size=keys) for keys in (window - 1, window + 1, context)] + [load(scale=head_dim**-0.5)]
    prompts, texts, random = [], [], generator(f"{name}/prompts")
    with torch.no_grad():
        while len(texts) < TELLING:
            prompt = torch.randint(right.config.vocab_size, (1, PROMPT), generator=random)
            text, margin = decode(right, right, prompt)
            tells = all((decode(right, writer, prompt)[0] != text).any() for writer in wrong)
            if tells and margin > LEAST_MARGIN:
                prompts.append(prompt[0])
                texts.append(text)
    return {"prompts": torch.stack(prompts), "greedy": torch.stack(texts)}


def train(model: PreTrainedModel, token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Ten AdamW steps on one batch: losses before the first step and after each, norms before clipping, weights at the end."""
    matrices = [values for values in model.parameters() if values.dim() == 2]
    vectors = [values for values in model.parameters() if values.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    losses, norms = [], []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = next_token_loss(model(token_ids).logits, token_ids)
        loss.backward()
        losses.append(loss.detach())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimiser.step()
    with torch.no_grad():
        losses.append(next_token_loss(model(token_ids).logits, token_ids))
    trained = {f"adamw.params.{name}": values for name, values in model.named_parameters()}
    return {"adamw.losses": torch.stack(losses), "grad_norms": torch.stack(norms)} | trained


def make(name: str, directory: Path) -> None:
    disable_progress_bar()
    random_model(name, CONFIGS[name]).save_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager")
    token_ids = torch.randint(model.config.vocab_size, (2, 23), generator=generator(f"{name}/token_ids"))

    expected, gradients = forward_and_backward(model, token_ids)
    expected["greedy"] = greedy(model, token_ids[:, :PROMPT])
    save(expected, directory / "expected.safetensors")
    save(gradients, directory / "expected_gradients.safetensors")
    save(train(model, token_ids), directory / "expected_adamw.safetensors")
    if model.config.model_type == "gpt_neo":
        save(telling_texts(name, directory), directory / "expected_greedy.safetensors")


def untied(directory: Path) -> None:
    """Models that differ from the others by their head: logits only."""
    disable_progress_bar()
    for family, config in UNTIED.items():
        name = f"untied/{family}"
        random_model(name, config).save_pretrained(directory / family)
        model = AutoModelForCausalLM.from_pretrained(directory / family, dtype=torch.float64, attn_implementation="eager")
        token_ids = torch.randint(config.vocab_size, (1, 11), generator=generator(f"{name}/token_ids"))
        with torch.no_grad():
            logits = model(token_ids).logits
        save({"token_ids": token_ids, "logits": logits}, directory / family / "expected.safetensors")
