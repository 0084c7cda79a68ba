"""CIFAR-10: the article's data set, generated in the original's layout and read by torchvision's own reader.

The pictures are made up (a shape of its class on a textured ground), the files are laid out as the original's: a model
can learn from them, and loading costs what loading CIFAR-10 costs. Give ``root`` to load a real copy instead.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torchvision import datasets, transforms

from loadtune.describe.workload import Workload
from loadtune.errors import TargetError
from loadtune.workloads import cache, cifar10_pictures, python2_pickle
from loadtune.workloads.classifier import resnet18

GENERATOR_VERSION = 1
"""Part of the folder's name: a change of what is generated makes a new folder."""

IMAGES_PER_BATCH = 10_000
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)
"""Mean of each channel over CIFAR-10's training images."""
STANDARD_DEVIATION = (0.2470, 0.2435, 0.2616)

_BATCHES_FOLDER = "cifar-10-batches-py"
_TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_FILE = "test_batch"
_META_FILE = "batches.meta"


class GeneratedCIFAR10(datasets.CIFAR10):  # type: ignore[misc] # torchvision is untyped
    """torchvision's reader, told not to expect the original's checksums; all else is torchvision's code."""

    train_list: ClassVar[list[list[str | None]]] = [[name, None] for name in _TRAIN_FILES]
    test_list: ClassVar[list[list[str | None]]] = [[_TEST_FILE, None]]
    meta: ClassVar[dict[str, str | None]] = {"filename": _META_FILE, "key": "label_names", "md5": None}


def workload(*, root: str | None = None, cache_root: str | None = None) -> Workload:
    """Return CIFAR-10's training images with the usual augmentation: 50,000 samples of float32 3 × 32 × 32 and a label.

    Args:
        root: Folder that holds a real ``cifar-10-batches-py``; None generates one.
        cache_root: Folder for generated data; None is the user's cache folder.

    Raises:
        TargetError: ``root`` holds no valid copy.
        OutputError: The generated data cannot be written.
    """
    return Workload(dataset=dataset(root=root, cache_root=cache_root), name="cifar10", model=resnet18)


def dataset(
    *,
    train: bool = True,
    root: str | Path | None = None,
    cache_root: str | Path | None = None,
    transform: Any = None,
) -> Any:
    """Return the training or test images as a ``torchvision.datasets.CIFAR10``.

    Args:
        train: The 50,000 training images, else the 10,000 test images.
        root: Folder that holds a real ``cifar-10-batches-py``; None generates one.
        cache_root: Folder for generated data; None is the user's cache folder.
        transform: Applied to each picture; None crops, flips and normalises training images and normalises test images.

    Raises:
        TargetError: ``root`` holds no valid copy.
        OutputError: The generated data cannot be written.
    """
    chosen = (training_transform() if train else test_transform()) if transform is None else transform
    if root is not None:
        return _real_copy(Path(root).expanduser(), train=train, transform=chosen)
    place = cache.ensure_generated(
        f"cifar10-v{GENERATOR_VERSION}",
        generate,
        is_complete=is_complete,
        folder=None if cache_root is None else Path(cache_root),
    )
    return GeneratedCIFAR10(place, train=train, transform=chosen)


def training_transform() -> Any:
    """Return the augmentation that CIFAR-10 is usually trained with."""
    return transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), test_transform()]
    )


def test_transform() -> Any:
    """Return picture to normalised float32 tensor, without augmentation."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STANDARD_DEVIATION)])


def is_complete(folder: Path) -> bool:
    """Return whether all files of a generated copy are there."""
    return all((folder / _BATCHES_FOLDER / name).is_file() for name in (*_TRAIN_FILES, _TEST_FILE, _META_FILE))


def generate(folder: Path, *, images_per_batch: int = IMAGES_PER_BATCH) -> None:
    """Write five training batches, the test batch and the label names under ``folder``, the same bytes at every call.

    Classes are balanced over the training batches together, as in the original, and in the test batch.

    Raises:
        OSError: The disk is full, or ``folder`` cannot be written.
    """
    batches = folder / _BATCHES_FOLDER
    batches.mkdir()
    painter = cifar10_pictures.Painter(seed=GENERATOR_VERSION)
    train_labels = painter.shuffled_labels(len(_TRAIN_FILES) * images_per_batch)
    for number, name in enumerate(_TRAIN_FILES, start=1):
        labels = train_labels[(number - 1) * images_per_batch : number * images_per_batch]
        _write_batch(batches / name, f"training batch {number} of {len(_TRAIN_FILES)}", labels, painter)
    _write_batch(batches / _TEST_FILE, "testing batch 1 of 1", painter.shuffled_labels(images_per_batch), painter)
    meta = {"num_cases_per_batch": images_per_batch, "label_names": LABELS, "num_vis": 3 * 32 * 32}
    (batches / _META_FILE).write_bytes(python2_pickle.dumps(meta))


def _write_batch(path: Path, title: str, labels: npt.NDArray[np.int64], painter: cifar10_pictures.Painter) -> None:
    numbers = labels.tolist()
    content = {
        "batch_label": title,
        "labels": numbers,
        "data": painter.paint(labels),
        "filenames": [f"{LABELS[label]}_s_{index:06d}.png" for index, label in enumerate(numbers)],
    }
    path.write_bytes(python2_pickle.dumps(content))


def _real_copy(root: Path, *, train: bool, transform: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # the original files were written by an old numpy, about which numpy 2.4 and later warn at every load
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            return datasets.CIFAR10(root, train=train, download=False, transform=transform)
    except (RuntimeError, OSError) as error:
        raise TargetError(
            f"{root} holds no valid copy of CIFAR-10: {_BATCHES_FOLDER}/ is missing or not as distributed",
            hint="give the folder in which the archive cifar-10-python.tar.gz was unpacked, or leave root out",
        ) from error
