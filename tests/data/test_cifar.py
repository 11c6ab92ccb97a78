import hashlib
import pickle
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR100

from pld_edu import data
from pld_edu.data import cifar
from tests.support.make_slice import write_slice

NAMES = [f"class{number:02d}" for number in range(100)]


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def pixels(seed, samples):
    """Rows of 3072 bytes, as in the original files: all red ones, then green, then blue."""
    return np.random.default_rng(seed).integers(256, size=(samples, 3072), dtype=np.uint8)


def as_images(rows):
    red, green, blue = rows[:, :1024], rows[:, 1024:2048], rows[:, 2048:]
    return np.stack([red, green, blue], axis=-1).reshape(-1, 32, 32, 3)


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A tiny CIFAR-100 in the files that torchvision would have downloaded, and no network."""
    folder = tmp_path / "cache"
    unpacked = folder / CIFAR100.base_folder
    unpacked.mkdir(parents=True)
    contents = {
        "train": {"data": pixels(0, 1200), "fine_labels": [n % 100 for n in range(1200)]},
        "test": {"data": pixels(1, 200), "fine_labels": [n // 2 for n in range(200)]},
        "meta": {"fine_label_names": NAMES},
    }
    for name, content in contents.items():
        (unpacked / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(unpacked / "train")]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(unpacked / "test")]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(unpacked / "meta")})

    def no_network(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(cifar, "TRAIN", 1200)
    monkeypatch.setattr(cifar, "TEST", 200)
    monkeypatch.setenv("PLD_EDU_DATA", str(folder))
    return folder


def forget_download(folder):
    for file in (folder / CIFAR100.base_folder).iterdir():
        file.unlink()


def same(first, second):
    """Whether two splits, or two tuples of splits, hold the same arrays."""
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return all(same(a, b) for a, b in zip(first, second, strict=True))


def test_the_cache_holds_what_was_downloaded(downloaded):
    train, test = cifar.load()
    originals = {image.tobytes(): n % 100 for n, image in enumerate(as_images(pixels(0, 1200)))}
    assert len(originals) == len(train.inputs) == 1200
    for image, label in zip(*train, strict=True):
        assert originals.pop(image.tobytes()) == label
    assert test.inputs.shape == (200, 32, 32, 3)
    assert train.inputs.dtype == test.inputs.dtype == np.uint8
    assert train.labels.dtype == test.labels.dtype == np.int64
    assert np.load(cifar.cache_file())["class_names"].tolist() == NAMES


def test_with_a_cache_nothing_is_downloaded(downloaded):
    first = cifar.load()
    forget_download(downloaded)
    assert same(cifar.load(), first)


def test_who_wrote_the_cache_does_not_matter(downloaded):
    first = cifar.load()
    shuffle = np.random.default_rng(5).permutation(1200)
    stored = dict(np.load(downloaded / "cifar100.npz"))
    stored["train_images"] = stored["train_images"][shuffle]
    stored["train_labels"] = stored["train_labels"][shuffle].astype(np.uint8)
    np.savez(downloaded / "cifar100.npz", **stored)
    assert same(cifar.load(), first)
    assert cifar.load()[0].labels.dtype == np.int64


def test_the_order_is_that_of_sha1(downloaded):
    digests = [hashlib.sha1(image.tobytes()).hexdigest() for image in cifar.load()[0].inputs]
    assert digests == sorted(digests)


def truncate(path):
    path.write_bytes(path.read_bytes()[:100_000])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(content)


def change(**values):
    def damage(path):
        np.savez(path, **{**np.load(path), **values})

    return damage


def drop_labels(path):
    np.savez(path, **{k: v for k, v in np.load(path).items() if k != "test_labels"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: path.write_text("<html>not found</html>"), ""),
        (truncate, ""),
        (flip_one_bit, "CRC"),
        (drop_labels, "test_labels"),
        (change(train_images=np.zeros((1200, 3, 32, 32), np.uint8)), r"\[1200, 3, 32, 32\]"),
        (change(train_labels=np.zeros(1199, np.uint8)), r"is \[1199\] instead of \[1200\]"),
        (change(test_images=np.zeros((200, 32, 32, 3))), "is float64 instead of uint8"),
        (change(test_labels=np.arange(200)), "values other than 0..99"),
        (change(class_names=np.array([object()] * 100)), "pickle"),
    ],
)
def test_a_damaged_cache_is_reported_and_written_anew(downloaded, damage, reason):
    first = cifar.load()
    path = downloaded / "cifar100.npz"
    sound = np.load(path)["train_images"]
    damage(path)
    with pytest.warns(UserWarning, match=rf"cifar100\.npz is damaged \(.*{reason}.*writing it"):
        assert same(cifar.load(), first)
    np.testing.assert_array_equal(np.load(path)["train_images"], sound)


def test_an_interrupted_write_leaves_no_cache_behind(downloaded, monkeypatch):
    def interrupted(path, **_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cifar.load()
    assert not cifar.cache_file().exists()
    assert len(cifar.load()[0].inputs) == 1200
    assert cifar.cache_file().exists()


def test_a_failed_download_says_what_to_do(downloaded):
    forget_download(downloaded)
    with pytest.raises(OSError, match=r"could not be downloaded .*no network") as caught:
        cifar.load()
    message = str(caught.value)
    for wanted in (CIFAR100.url, str(downloaded), "PLD_EDU_DATA", "cifar100_slice", "mnist1d"):
        assert wanted in message
    assert not cifar.cache_file().exists()


def test_an_archive_that_is_not_the_data_set_says_what_to_do(downloaded, monkeypatch):
    forget_download(downloaded)
    (downloaded / CIFAR100.filename).write_bytes(b"a login page of some hotel")
    with pytest.raises(OSError, match="could not be downloaded"):
        cifar.load()


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("PLD_EDU_DATA", "~/elsewhere")
    assert cifar.cache_file() == Path.home() / "elsewhere" / "cifar100.npz"
    monkeypatch.delenv("PLD_EDU_DATA")
    assert cifar.cache_file() == Path.home() / ".cache" / "pld-edu" / "cifar100.npz"


def test_splits_have_the_sizes_asked_for_and_share_no_image(downloaded):
    splits = data.cifar100(900, 300, 200)
    assert [len(split.labels) for split in splits] == [900, 300, 200]
    assert len(np.unique(np.concatenate([s.inputs.reshape(-1, 3072) for s in splits]), axis=0)) == (
        1400
    )
    assert data.DATASETS["cifar100"] is data.cifar100


def test_held_out_and_test_images_do_not_depend_on_how_many_are_trained_on(downloaded):
    few, many = data.cifar100(10, 300, 200), data.cifar100(900, 300, 200)
    assert same(few.held_out, many.held_out)
    assert same(few.test, many.test)
    assert np.array_equal(few.train.inputs, many.train.inputs[:10])
    fewer = data.cifar100(900, 100, 50)
    assert np.array_equal(fewer.held_out.inputs, many.held_out.inputs[-100:])
    assert np.array_equal(fewer.test.labels, many.test.labels[:50])


@pytest.mark.parametrize(
    "sizes", [(0, 5, 5), (5, -1, 5), (5, 5, 0), (45_001, 5_000, 10), (10, 10, 10_001)]
)
def test_sizes_that_cifar100_cannot_give(sizes):
    wanted = (
        r"at least 1, train \+ held_out at most 50000 and test at most 10000, got {}, {} and {}"
    )
    with pytest.raises(ValueError, match=wanted.format(*sizes)):
        data.cifar100(*sizes)


def test_slice_has_ten_of_each_class_and_each_hundred_one():
    images, labels = data.cifar100_slice()
    assert images.shape == (1000, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    for hundred in labels.reshape(10, 100):
        assert hundred.tolist() == list(range(100))
    assert len(np.unique(images.reshape(1000, -1), axis=0)) == 1000


def test_slice_is_the_one_that_was_cut_from_the_full_set():
    # Taken from the images of the full set before they were written.
    digest = hashlib.sha256(data.cifar100_slice().inputs.tobytes()).hexdigest()
    assert digest == "8ad6f11034704dcea7cecfc194de77131d76a34d08a707c71ae985dc42eb2aa3"


def test_slice_has_the_published_colours_of_cifar100():
    by_channel = data.cifar100_slice().inputs.reshape(-1, 3) / 255
    np.testing.assert_allclose(by_channel.mean(axis=0), [0.5071, 0.4865, 0.4409], atol=0.02)
    np.testing.assert_allclose(by_channel.std(axis=0), [0.2673, 0.2564, 0.2762], atol=0.02)


def test_slice_is_small_enough_to_ship():
    shipped = Path(cifar.__file__).parent
    assert (shipped / "cifar100_slice.webp").stat().st_size < 3_000_000


def test_class_names_are_alphabetical():
    names = data.class_names()
    assert len(set(names)) == 100
    assert list(names) == sorted(names)
    assert (names[0], names[3], names[97], names[99]) == ("apple", "bear", "wolf", "worm")


def test_slice_can_be_made_again_without_loss(downloaded, tmp_path, monkeypatch):
    write_slice(tmp_path)
    train, _ = cifar.load()
    with Image.open(tmp_path / "cifar100_slice.webp") as file:
        mosaic = np.asarray(file.convert("RGB"))
    for label in (0, 42, 99):
        first = np.flatnonzero(train.labels == label)[:10]
        for column, number in enumerate(first):
            tile = mosaic[32 * label : 32 * label + 32, 32 * column : 32 * column + 32]
            np.testing.assert_array_equal(tile, train.inputs[number])
    monkeypatch.setattr(cifar, "files", lambda _: tmp_path)
    images, labels = data.cifar100_slice()
    fourth = np.flatnonzero(train.labels == 42)[3]
    np.testing.assert_array_equal(images[342], train.inputs[fourth])
    assert labels[342] == 42
    assert (tmp_path / "cifar100_classes.txt").read_text().split() == NAMES


@pytest.mark.parametrize(
    ("package", "use"),
    [("PIL", data.cifar100_slice), ("torchvision.datasets", lambda: data.cifar100(1, 1, 1))],
)
def test_without_the_package_the_extra_is_named(downloaded, monkeypatch, package, use):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package}.*; pip install "pld_edu\[distill\]" brings'):
        use()


def test_the_slice_in_three_parts_has_each_image_once():
    images, labels = data.cifar100_slice()
    parts = data.split_slice(500, 300, 200)
    for place, joined in ((0, images), (1, labels)):
        np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), joined)
    assert [len(part.labels) for part in parts] == [500, 300, 200]
    assert [len(part.labels) for part in data.split_slice(3, 2, 1)] == [3, 2, 1]


@pytest.mark.parametrize("sizes", [(0, 1, 1), (800, 100, 101)])
def test_the_slice_has_a_thousand_images(sizes):
    with pytest.raises(data.DataError, match="has 1000 images for three parts, got "):
        data.split_slice(*sizes)
