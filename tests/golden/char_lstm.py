"""A character LSTM, small and random, and what PyTorch computes with it in float64; the files are named as those of `tiny_models.py`."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from recorder import generator, save
from tiny_models import LEAST_MARGIN, NEW_TOKENS, PROMPT, next_token_loss, train

NAME = "char_lstm_tiny"
CONFIG = {
    "model_type": "char_lstm",
    "vocab_size": 97,
    "embedding_dim": 13,
    "hidden_size": 21,
    "num_layers": 3,
    "dropout": 0.0,
    "bos_token_id": None,
    "eos_token_id": None,
}
# Lengths of the documents that follow one another in each row, and the length of the pieces they are read in.
STREAMS, PIECE = [[24], [11, 1, 12]], 8


class CharLSTM(torch.nn.Module):
    """The modules whose names are those of the file, fed with ids (batch, time)."""

    def __init__(self, config: dict):
        super().__init__()
        vocab, hidden = config["vocab_size"], config["hidden_size"]
        self.embedding = torch.nn.Embedding(vocab, config["embedding_dim"])
        self.lstm = torch.nn.LSTM(
            config["embedding_dim"], hidden, config["num_layers"], dropout=config["dropout"], batch_first=True
        )
        self.head = torch.nn.Linear(hidden, vocab, bias=False)

    def forward(self, token_ids: torch.Tensor, state: tuple | None = None) -> SimpleNamespace:
        hidden, state = self.lstm(self.embedding(token_ids), state)
        return SimpleNamespace(logits=self.head(hidden), state=state)

    def hidden_states(self, token_ids: torch.Tensor) -> list[torch.Tensor]:
        """The embedding, then the outputs of each layer, which are those of an LSTM that ends there."""
        embedded = self.embedding(token_ids)
        states = [embedded]
        for layers in range(1, self.lstm.num_layers + 1):
            lower = torch.nn.LSTM(self.lstm.input_size, self.lstm.hidden_size, layers, batch_first=True).to(embedded.dtype)
            weights = {name: values for name, values in self.lstm.named_parameters() if name in lower.state_dict()}
            states.append(torch.func.functional_call(lower, weights, embedded)[0])
        return states


def write_random_model(directory: Path) -> None:
    """Weights large enough that gates open and close and logits are not flat."""
    model = CharLSTM(CONFIG)
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator(f"{NAME}/{name}"))
            if values.dim() == 1:
                values.copy_(noise * 0.3)
            elif name == "embedding.weight":
                values.copy_(noise)
            else:
                values.copy_(noise * (3.0 if name == "head.weight" else 1.2) / values.shape[1] ** 0.5)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def greedy(model: CharLSTM, prompt: torch.Tensor) -> torch.Tensor:
    """The most likely continuation, sure enough at every step that f32 arrives at it too."""
    result, ids = model(prompt), []
    for _ in range(NEW_TOKENS):
        best, second = result.logits[:, -1].topk(2).values.unbind(-1)
        margin = (best - second).min().item()
        assert margin > LEAST_MARGIN, f"greedy text hangs on a gap of {margin} between two logits"
        ids.append(result.logits[:, -1:].argmax(-1))
        result = model(ids[-1], result.state)
    return torch.cat(ids, 1)


def read_in_pieces(model: CharLSTM) -> dict[str, torch.Tensor]:
    """Truncated back-propagation through time: rows of documents read piece by piece, the state carried and detached; each
    document begins from zeros. Of every piece the logits and the loss; of the second, which goes on with one document,
    ends it, holds another and begins a third, every gradient."""
    time = sum(STREAMS[0])
    random = generator(f"{NAME}/streams")
    token_ids, targets = (torch.randint(CONFIG["vocab_size"], (len(STREAMS), time), generator=random) for _ in range(2))
    positions = torch.tensor([[place for length in row for place in range(length)] for row in STREAMS])
    states: list[tuple | None] = [None] * len(STREAMS)
    expected: dict[str, list[torch.Tensor]] = {"logits": [], "loss": []}
    gradients = {}
    for piece in range(0, time, PIECE):
        rows = []
        for row in range(len(STREAMS)):
            outputs = []
            for place in range(piece, piece + PIECE):
                if positions[row, place] == 0:
                    states[row] = None
                result = model(token_ids[row : row + 1, place : place + 1], states[row])
                states[row] = result.state
                outputs.append(result.logits)
            states[row] = tuple(part.detach() for part in states[row])
            rows.append(torch.cat(outputs, 1))
        logits = torch.cat(rows)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, piece : piece + PIECE].flatten())
        expected["logits"].append(logits)
        expected["loss"].append(loss)
        if piece == PIECE:
            loss.backward()
            gradients = {f"grad.{name}": values.grad.clone() for name, values in model.named_parameters()}
            model.zero_grad()
    stored = {"logits": torch.cat(expected["logits"], 1), "loss": torch.stack(expected["loss"])}
    return {"token_ids": token_ids, "targets": targets, "positions": positions} | stored | gradients


def make(directory: Path) -> None:
    write_random_model(directory)
    model = CharLSTM(CONFIG).double()
    model.load_state_dict(load_file(directory / "model.safetensors"))
    token_ids = torch.randint(CONFIG["vocab_size"], (2, 23), generator=generator(f"{NAME}/token_ids"))

    logits = model(token_ids).logits
    loss = next_token_loss(logits, token_ids)
    loss.backward()
    expected = {"token_ids": token_ids, "logits": logits, "loss": loss}
    expected |= {f"hidden.{n}": hidden for n, hidden in enumerate(model.hidden_states(token_ids))}
    with torch.no_grad():
        expected["greedy"] = greedy(model, token_ids[:, :PROMPT])
    save(expected, directory / "expected.safetensors")
    save({f"grad.{name}": p.grad for name, p in model.named_parameters()}, directory / "expected_gradients.safetensors")
    model.zero_grad()
    save(read_in_pieces(model), directory / "expected_pieces.safetensors")
    save(train(model, token_ids), directory / "expected_adamw.safetensors")
