"""Train a tiny language model on what pack.yaml packs; ended and started again, it goes on with the very next batch.

    gristmill run configs/pack.yaml
    python configs/pretrain.py --steps 200

It needs PyTorch (the extra `lm`). Each line has the step, the loss and a digest of the batch. A checkpoint holds the
state of the feed beside the model's, so that batches after a resume are those of a run that was never ended.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import gristmill

HERE = Path(__file__).parent
WIDTH, HEADS, LAYERS = 64, 4, 2


class TinyModel(nn.Module):
    """A transformer whose tokens see those before them in the same document."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(length, WIDTH)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.register_buffer("later", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, tokens: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
        """Return scores of the next token (b, length, vocabulary)."""
        hidden = self.tokens(tokens) + self.places.weight
        unseen = self.later | (pieces[:, :, None] != pieces[:, None, :])
        hidden = self.layers(hidden, mask=unseen.repeat_interleave(HEADS, dim=0))
        return hidden @ self.tokens.weight.T


def loss_of(model: TinyModel, tokens: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of the tokens that have one before them in their document."""
    scores = model(tokens, pieces)[:, :-1]
    follows = (pieces[:, 1:] == pieces[:, :-1]) & (pieces[:, 1:] >= 0)
    return functional.cross_entropy(scores[follows], tokens[:, 1:][follows])


def train(dataset: Path, checkpoint: Path, steps: int, size: int, every: int) -> Iterator[str]:
    """Train up to a number of steps, from the checkpoint on if there is one; yield a line for each step."""
    packed = gristmill.open_packed(dataset)
    torch.manual_seed(0)
    model = TinyModel(packed.described["vocabulary"], packed.length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    step, state = 0, None
    if checkpoint.exists():
        held = torch.load(checkpoint)
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        step, state = held["step"], held["state"]
    feed = packed.feed(seed=1, epochs=None, state=state)
    for batch in DataLoader(feed.torch(size), batch_size=None, num_workers=1):
        if step == steps:
            return
        loss = loss_of(model, batch["tokens"], batch["pieces"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % every == 0:
            held = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**held, "step": step, "state": batch["state"]}, f"{checkpoint}.unfinished")
            os.replace(f"{checkpoint}.unfinished", checkpoint)
        yield f"step {step} loss {loss.item():.4f} batch {zlib.crc32(batch['tokens'].numpy().tobytes()):08x}"


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, default=HERE / "store" / "datasets" / "pack")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "store" / "pretrain.pt")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    arguments = parser.parse_args()
    options = (arguments.dataset, arguments.checkpoint, arguments.steps, arguments.batch, arguments.every)
    for line in train(*options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
