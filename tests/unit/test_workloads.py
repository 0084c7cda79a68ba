"""The built-in data sets: real formats, real readers, the same bytes every time."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadtune.describe.workload import Workload
from loadtune.errors import OutputError, TargetError
from loadtune.workloads import cache, cifar10, images, python2_pickle
from loadtune.workloads.textures import fractal_noise


def digest(folder: Path) -> str:
    """Return one hash of all names and bytes under a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder)}:".encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def full_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder with the whole generated CIFAR-10."""
    folder = tmp_path_factory.mktemp("cache")
    cifar10.dataset(cache_root=folder)
    return folder


def small_cifar10(folder: Path) -> Path:
    folder.mkdir()
    cifar10.generate(folder, images_per_batch=100)
    return folder


def test_whole_cifar10_is_generated_in_five_seconds_of_processor_time(tmp_path: Path) -> None:
    """Waiting for the first sweep is short: 60,000 images cost at most five seconds of CPU."""
    start = time.process_time()
    cifar10.generate(tmp_path)
    assert time.process_time() - start < 5.0


def kinds_of(data: object) -> set[str]:
    """Return the full names of its classes: importing torchvision to ask takes as long as importing torch."""
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(data).__mro__}


def test_torchvision_reads_all_of_cifar10(full_cifar10: Path) -> None:
    """The reader of torchvision finds 50,000 + 10,000 images of 32 × 32, every class equally often."""
    for train, count in ((True, 50_000), (False, 10_000)):
        data = cifar10.dataset(train=train, cache_root=full_cifar10)
        assert "torchvision.datasets.cifar.CIFAR10" in kinds_of(data)
        assert data.data.shape == (count, 32, 32, 3)
        assert Counter(data.targets) == dict.fromkeys(range(10), count // 10)
        assert data.classes == list(cifar10.LABELS)


def test_cifar10_workload_gives_normalised_augmented_tensors(full_cifar10: Path) -> None:
    """The target's samples are what a model trains on: float32 3 × 32 × 32, centred, another crop each time."""
    workload = cifar10.workload(cache_root=str(full_cifar10))
    image, label = workload.dataset[0]
    assert isinstance(workload, Workload)
    assert workload.name == "cifar10"
    assert image.shape == (3, 32, 32)
    assert str(image.dtype) == "torch.float32"
    assert 0 <= label < 10
    assert any(not np.array_equal(image, workload.dataset[0][0]) for _ in range(10))


def test_cifar10_is_structured_and_its_classes_differ(full_cifar10: Path) -> None:
    """Neighbouring pixels agree as in pictures, and a nearest-mean guess beats chance: there is a thing to learn."""
    train, test = (cifar10.dataset(train=part, cache_root=full_cifar10) for part in (True, False))
    grey = train.data[:2_000].mean(axis=3)
    left, right = grey[:, :, :-1].ravel(), grey[:, :, 1:].ravel()
    assert np.corrcoef(left, right)[0, 1] > 0.8

    def shapes(data: Any, count: int) -> Any:
        pixels = data.data[:count].astype(np.float32)
        edges = abs(pixels - np.median(pixels, axis=(1, 2), keepdims=True)).mean(axis=3).reshape(count, -1)
        return edges / np.linalg.norm(edges, axis=1, keepdims=True)

    known, labels = shapes(train, 5_000), np.array(train.targets[:5_000])
    means = np.stack([known[labels == label].mean(axis=0) for label in range(10)])
    guesses = ((shapes(test, 1_000)[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == np.array(test.targets[:1_000])).mean() > 0.2


def test_cifar10_files_are_pickles_of_python_2(tmp_path: Path) -> None:
    """A batch read with encoding='bytes', as CIFAR-10's page says, has the original's byte-string keys."""
    folder = small_cifar10(tmp_path / "a") / "cifar-10-batches-py"
    batch = pickle.loads((folder / "data_batch_5").read_bytes(), encoding="bytes")  # noqa: S301 - our own file
    meta = pickle.loads((folder / "batches.meta").read_bytes(), encoding="bytes")  # noqa: S301
    assert list(batch) == [b"batch_label", b"labels", b"data", b"filenames"]
    assert batch[b"batch_label"] == b"training batch 5 of 5"
    assert batch[b"data"].shape == (100, 3072)
    assert batch[b"data"].dtype == np.uint8
    assert batch[b"data"].flags.writeable
    assert meta[b"label_names"][9] == b"truck"


def test_python2_pickles_read_back_equal() -> None:
    """What is written is what is read, strings longer than the short form's 255 bytes included."""
    value = {"text": "x" * 300, "numbers": [0, 255, 70_000], "nested": {"empty": []}}
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    read = pickle.loads(python2_pickle.dumps({**value, "data": data}), encoding="latin1")  # noqa: S301
    assert np.array_equal(read.pop("data"), data)
    assert read == value


@pytest.mark.parametrize(
    "make", [lambda to: cifar10.generate(to, images_per_batch=100), lambda to: images.generate(to, images=12)]
)
def test_generation_is_deterministic(tmp_path: Path, make: Any) -> None:
    """Two generations give the same bytes, threads or not, so that figures of two machines are of the same data."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        make(folder)
    assert digest(folders[0]) == digest(folders[1])


def test_images_have_the_weight_and_sizes_of_photographs(tmp_path: Path) -> None:
    """Bytes a pixel, sizes and both orientations are those of photographs, so that decoding costs what it costs."""
    images.generate(tmp_path, images=80)
    weights, sizes = [], []
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.mode == "RGB"
            sizes.append(image.size)
            weights.append(path.stat().st_size / (image.width * image.height))
    assert 0.15 < np.median(weights) < 0.35
    assert 0.15 < np.mean(weights) < 0.35
    assert all(min(size) >= 0.69 * 375 * 0.9 and max(size) <= 1.31 * 500 for size in sizes)
    assert {width > height for width, height in sizes} == {True, False}
    assert len(set(sizes)) > 60


def test_images_are_read_by_imagefolder_as_ten_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is torchvision's ImageFolder: ten classes alike in number, samples of 3 × 224 × 224."""
    monkeypatch.setattr(images, "generate", lambda folder: generate_images(folder, images=30))
    monkeypatch.setattr(images, "is_complete", lambda folder: images_complete(folder, images=30))
    data = images.workload(cache_root=str(tmp_path)).dataset
    assert "torchvision.datasets.folder.ImageFolder" in kinds_of(data)
    assert Counter(data.targets) == dict.fromkeys(range(10), 3)
    assert data[0][0].shape == (3, 224, 224)


generate_images, images_complete = images.generate, images.is_complete


def test_own_folder_of_images_is_used(tmp_path: Path) -> None:
    """root=DIR loads the user's own images."""
    (tmp_path / "cats").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "cats" / "one.png")
    assert images.dataset(root=tmp_path).classes == ["cats"]


@pytest.mark.parametrize("module", [cifar10, images])
def test_root_without_data_is_a_target_error(tmp_path: Path, module: Any) -> None:
    """A root that holds no data is one sentence that names it, not torchvision's advice to download."""
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TargetError, match=str(root)) as caught:
            module.workload(root=str(root))
        assert "download" not in str(caught.value)


def test_generated_copy_is_no_real_copy(tmp_path: Path) -> None:
    """root= checks the original's checksums: a folder with the right names and other bytes is refused."""
    with pytest.raises(TargetError, match="no valid copy"):
        cifar10.workload(root=str(small_cifar10(tmp_path / "a")))


def generate_slowly(folder: Path) -> None:
    (folder / "one").write_text("1")
    time.sleep(0.3)
    (folder / "two").write_text("2")


def both_there(folder: Path) -> bool:
    return (folder / "one").is_file() and (folder / "two").is_file()


def ensure_in_process(place: str) -> None:
    folder = cache.ensure_generated("data-v1", generate_slowly, is_complete=both_there, folder=Path(place))
    if not both_there(folder):
        raise SystemExit(3)


def test_two_processes_may_generate_at_once(tmp_path: Path) -> None:
    """Both end with whole data, and nothing half-written is left."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=ensure_in_process, args=(str(tmp_path),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["data-v1"]


def test_loser_of_the_race_uses_the_winners_data(tmp_path: Path) -> None:
    """A process that finishes second leaves the first one's folder as it is."""

    def generate(folder: Path) -> None:
        generate_slowly(folder)
        winner = tmp_path / "data-v1"
        winner.mkdir()
        generate_slowly(winner)
        (winner / "mark").touch()

    folder = cache.ensure_generated("data-v1", generate, is_complete=both_there, folder=tmp_path)
    assert (folder / "mark").exists()


def test_incomplete_data_is_made_again(tmp_path: Path) -> None:
    """A cache from which a cleaner took a file is whole again at the next use."""
    cache.ensure_generated("data-v1", generate_slowly, is_complete=both_there, folder=tmp_path)
    (tmp_path / "data-v1" / "two").unlink()
    folder = cache.ensure_generated("data-v1", generate_slowly, is_complete=both_there, folder=tmp_path)
    assert both_there(folder)


def test_leavings_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    """Old half-written folders go, fresh ones (another process at work) stay."""
    old, fresh = tmp_path / ".data-v1.partial-old", tmp_path / ".data-v1.partial-fresh"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (0, 0))
    cache.ensure_generated("data-v1", generate_slowly, is_complete=both_there, folder=tmp_path)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    """No space left: one sentence with the place and the cause, and no half-written data."""

    def generate(folder: Path) -> None:
        (folder / "one").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device") as caught:
        cache.ensure_generated("data-v1", generate, is_complete=both_there, folder=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_cache_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    """A cache folder that is a file: one sentence, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        cifar10.dataset(cache_root=tmp_path / "file")


def test_cache_folder_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME where it is absolute, else ~/.cache, else a sentence."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache.cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/loadtune")
    assert cache.cache_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "loadtune"
    assert cache.cache_folder({}) == tmp_path / ".cache" / "loadtune"
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(OutputError, match="no home directory"):
        cache.cache_folder({})


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_fractal_noise_has_unit_variance_and_the_spectrum_asked_for() -> None:
    """Amplitude falls as 1/f: its logarithm against that of frequency has slope -1."""
    fields = fractal_noise(np.random.default_rng(0), count=20, side=128)
    assert np.allclose(fields.std(axis=(1, 2)), 1, atol=1e-3)
    amplitude = np.sqrt((abs(np.fft.fft2(fields)[:, 0, 1:64]) ** 2).mean(axis=0))
    slope = np.polyfit(np.log(np.arange(1, 64)), np.log(amplitude), 1)[0]
    assert slope == pytest.approx(-1, abs=0.15)
