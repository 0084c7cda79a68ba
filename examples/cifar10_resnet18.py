"""Tune a loader, then train with it: CIFAR-10 and ResNet-18, as in the article that loadtune started from (section 5).

    python examples/cifar10_resnet18.py

`loadtune.sweep` measures the article's loader and finds a better one, a bare loop over both checks the gain, and
ResNet-18 is trained with what was found, or with the article's loader where no gain shows. The images are generated
once, in CIFAR-10's own format; `--root DIR` uses a real copy. On two cores it takes a few minutes, most of them for
training.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import models

import loadtune
from loadtune.workloads import cifar10


def main() -> None:
    """Tune, check the gain in a bare loop, train, test."""
    options = parse_arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_dataset = cifar10.dataset(train=True, root=options.root)
    article_loader = DataLoader(train_dataset, batch_size=64, shuffle=True, num_workers=4, drop_last=True)

    run = loadtune.sweep(
        article_loader,
        batch_size=options.batch_size,
        num_workers=range(5),
        time_budget=options.time_budget,
        output=None,
    )
    print(f"Chosen: {run.best.reason}")
    tuned_loader = run.best.loader(train_dataset, shuffle=True)
    print(f"To paste: DataLoader(dataset, shuffle=True, **{run.best.loader_kwargs()})")
    rounds = rates_in_turns(article_loader, tuned_loader)
    before, after = (statistics.mean(rates) for rates in zip(*rounds, strict=True))
    print(f"Before tuning (batch 64, 4 workers): {before:,.0f} samples/s")
    print(f"After tuning: {after:,.0f} samples/s")
    train_loader = tuned_loader if is_faster(rounds) else article_loader
    if train_loader is article_loader:
        print("The bare loop does not tell a gain from noise: training keeps the loader that it had.", flush=True)

    model = models.resnet18(weights=None, num_classes=10).to(device)
    train(model, train_loader, steps=options.steps, device=device)
    test_dataset = Subset(cifar10.dataset(train=False, root=options.root), range(2_000))
    accuracy = test(model, DataLoader(test_dataset, batch_size=200), device=device)
    print(f"Finished Training: {accuracy:.1%} of {len(test_dataset):,} test images right")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--time-budget", default="30s", help="time for tuning (default: 30s)")
    parser.add_argument("--batch-size", default="32..128:x2", help="batch sizes to try (default: 32..128:x2)")
    parser.add_argument("--root", help="folder with a real cifar-10-batches-py (default: generated images)")
    return parser.parse_args()


def rates_in_turns(*loaders: DataLoader[Any], rounds: int = 5) -> list[list[float]]:
    """Return the samples/s of each loader in each round, in turns, so that a drift of the machine is in all."""
    return [[loading_rate(loader) for loader in loaders] for _ in range(rounds)]


def is_faster(rounds: list[list[float]]) -> bool:
    """Whether the second loader won every round: of two that are the same, it does so in one of 32 runs of five."""
    return all(after > before for before, after in rounds)


def loading_rate(loader: DataLoader[Any], seconds: float = 2.0) -> float:
    """Return the samples/s of a bare loop over a loader, with nothing to train.

    The loop first takes what the workers had loaded ahead, and it stops after a whole round of the workers: a clock
    started or stopped inside a round counts batches whose loading it did not see.
    """
    ahead = 2 * loader.num_workers * (loader.prefetch_factor or 0)
    batches = (len(inputs) for _ in itertools.count() for inputs, _ in loader)
    for _ in itertools.islice(batches, max(ahead, 1)):
        pass
    samples, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        samples += sum(itertools.islice(batches, max(loader.num_workers, 1)))
    rate = samples / (time.perf_counter() - start)
    batches.close()
    return rate


def train(model: nn.Module, loader: DataLoader[Any], *, steps: int, device: torch.device, log_every: int = 50) -> None:
    """Train for `steps` batches and print the loss and how far each epoch is."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    model.train()
    samples, start = 0, time.perf_counter()
    for epoch, batch_idx, seen, (inputs, targets) in itertools.islice(epochs(loader), steps):
        optimizer.zero_grad()
        outputs = model(inputs.to(device, non_blocking=True))
        loss = criterion(outputs, targets.to(device, non_blocking=True))
        loss.backward()
        optimizer.step()
        samples += len(inputs)
        if (batch_idx + 1) % log_every == 0:
            progress = 100.0 * (batch_idx + 1) / len(loader)
            print(
                f"Train Epoch: {epoch} [{seen}/{len(loader.dataset)} ({progress:.0f}%)]\tLoss: {loss.item():.6f}",
                flush=True,
            )
    print(f"Training: {samples / (time.perf_counter() - start):,.0f} samples/s on {device}")


def epochs(loader: DataLoader[Any]) -> Iterator[tuple[int, int, int, Any]]:
    """Yield epoch, index of the batch, samples of this epoch up to and with this batch, and the batch; for ever.

    The article counted `batch_idx * len(inputs)`: one batch behind, and wrong once a last batch is smaller.
    """
    for epoch in itertools.count():
        seen = 0
        for batch_idx, batch in enumerate(loader):
            seen += len(batch[0])
            yield epoch, batch_idx, seen, batch


@torch.no_grad()
def test(model: nn.Module, loader: DataLoader[Any], *, device: torch.device) -> float:
    """Return the share of images whose class the model names."""
    model.eval()
    right = sum(int((model(inputs.to(device)).argmax(1).cpu() == targets).sum()) for inputs, targets in loader)
    return right / len(loader.dataset)


if __name__ == "__main__":
    main()
