"""The model that the built-in pictures are trained with."""

from __future__ import annotations

from typing import Any

from torchvision import models


def resnet18() -> Any:
    """Return torchvision's ResNet-18, untrained: the weights of a model change neither its speed nor its memory.

    With the stem and the 1,000 outputs that it has for ImageNet, for CIFAR-10 too.
    """
    return models.resnet18(weights=None)
