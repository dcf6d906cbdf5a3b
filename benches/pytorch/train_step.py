"""A whole training step of GPT-2 124M or of a character LSTM: zero_grad, forward, loss, backward, clip_grad_norm_, AdamW."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from common import Work, main


def train_step(batch: int, time: int, fused: bool) -> Work:
    # The defaults of GPT2Config are GPT-2 124M; attention is `transformers`' own choice, SDPA.
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
    model = GPT2LMHeadModel(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)
    token_ids = torch.randint(config.vocab_size, (batch, time))

    def run():
        optimiser.zero_grad()
        model(input_ids=token_ids, labels=token_ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return Work(run, tokens=batch * time)


class CharLstm(torch.nn.Module):
    """The preset char-lstm."""

    def __init__(self, vocab: int = 76, embedding: int = 64, hidden: int = 256, layers: int = 2):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, embedding)
        self.lstm = torch.nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = torch.nn.Linear(hidden, vocab, bias=False)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(token_ids))[0])


def char_lstm_step(batch: int, time: int) -> Work:
    model = CharLstm().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    token_ids, targets = torch.randint(76, (2, batch, time))

    def run():
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(token_ids).flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return Work(run, tokens=batch * time)


CASES = {
    ("train_step", "char-lstm 16x64"): lambda: char_lstm_step(16, 64),
    ("train_step", "gpt2 4x64"): lambda: train_step(4, 64, fused=False),
    ("train_step", "gpt2 1x1024"): lambda: train_step(1, 1024, fused=False),
    # Not PyTorch's default on a CPU, but what it can do.
    ("train_step", "gpt2 4x64 fused AdamW"): lambda: train_step(4, 64, fused=True),
    ("train_step", "gpt2 1x1024 fused AdamW"): lambda: train_step(1, 1024, fused=True),
}

if __name__ == "__main__":
    main(__doc__, CASES)
