"""A thousand JPEG files of mixed sizes in an ImageFolder: the loading of ImageNet on a small scale."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torchvision import datasets, transforms

from loadtune.describe.workload import Workload
from loadtune.errors import TargetError
from loadtune.workloads import cache
from loadtune.workloads.classifier import resnet18
from loadtune.workloads.photographs import CLASSES, Photographer

GENERATOR_VERSION = 1
"""Part of the folder's name: a change of what is generated makes a new folder."""

IMAGES = 1_000
MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel over ImageNet's training images."""
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def workload(*, root: str | None = None, cache_root: str | None = None) -> Workload:
    """Return JPEG images with ImageNet's training augmentation: samples of float32 3 × 224 × 224 and a label.

    Args:
        root: An own folder with one sub-folder of images for each class; None generates 1,000 images.
        cache_root: Folder for generated data; None is the user's cache folder.

    Raises:
        TargetError: ``root`` is no such folder.
        OutputError: The generated data cannot be written.
    """
    return Workload(dataset=dataset(root=root, cache_root=cache_root), name="images", model=resnet18)


def dataset(*, root: str | Path | None = None, cache_root: str | Path | None = None, transform: Any = None) -> Any:
    """Return the images as a ``torchvision.datasets.ImageFolder``.

    Args:
        root: An own folder with one sub-folder of images for each class; None generates 1,000 images.
        cache_root: Folder for generated data; None is the user's cache folder.
        transform: Applied to each picture; None is `training_transform()`.

    Raises:
        TargetError: ``root`` is no such folder.
        OutputError: The generated data cannot be written.
    """
    chosen = training_transform() if transform is None else transform
    if root is not None:
        return _own_folder(Path(root).expanduser(), chosen)
    place = cache.ensure_generated(
        f"images-v{GENERATOR_VERSION}",
        generate,
        is_complete=is_complete,
        folder=None if cache_root is None else Path(cache_root),
    )
    return datasets.ImageFolder(place, transform=chosen)


def training_transform() -> Any:
    """Return the augmentation that ImageNet is usually trained with."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STANDARD_DEVIATION),
        ]
    )


def is_complete(folder: Path, *, images: int = IMAGES) -> bool:
    """Return whether all files of a generated copy are there."""
    return sum(1 for _ in folder.glob("class_*/*.jpg")) == images


def generate(folder: Path, *, images: int = IMAGES) -> None:
    """Write ``images`` JPEG files in ten class folders under ``folder``, the same bytes at every call.

    Raises:
        OSError: The disk is full, or ``folder`` cannot be written.
    """
    for label in range(CLASSES):
        _class_folder(folder, label).mkdir()
    photographer = Photographer(GENERATOR_VERSION)
    # numpy and the JPEG encoder work without the interpreter's lock, so threads share the work; they end with the block
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda number: _write_image(folder, photographer, number), range(images)):
            pass


def _write_image(folder: Path, photographer: Photographer, number: int) -> None:
    rng, label = photographer.rng(number), number % CLASSES
    quality = int(rng.integers(70, 96))
    picture = photographer.paint(rng, label)
    picture.save(_class_folder(folder, label) / f"{number:05d}.jpg", quality=quality)


def _class_folder(folder: Path, label: int) -> Path:
    return folder / f"class_{label}"


def _own_folder(root: Path, transform: Any) -> Any:
    try:
        return datasets.ImageFolder(root, transform=transform)
    except (RuntimeError, OSError) as error:
        raise TargetError(
            f"{root} is no folder of images: it must hold one sub-folder of image files for each class"
        ) from error
