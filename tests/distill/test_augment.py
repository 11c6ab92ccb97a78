import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.functional import normalize, to_tensor

from pld_edu.distill.augment import MEAN, STD, Views, crop_and_flip, draw_views, normalise


def allowed_views(image):
    """All 9 * 9 * 2 views of an image [C, H, W], cut out one by one."""
    _, height, width = image.shape
    canvas = np.zeros((image.shape[0], height + 8, width + 8), image.dtype)
    canvas[:, 4:-4, 4:-4] = image
    views = {}
    for down in range(9):
        for right in range(9):
            crop = canvas[:, down : down + height, right : right + width]
            views[down, right, False] = crop
            views[down, right, True] = crop[:, :, ::-1]
    return views


def images(samples=60, height=32, width=32):
    pixels = np.random.default_rng(0).integers(256, size=(samples, height, width, 3))
    return torch.from_numpy(pixels.astype(np.uint8))


def test_normalise_is_torchvisions():
    pixels = images(3)
    expected = [normalize(to_tensor(image.numpy()), MEAN, STD) for image in pixels]
    torch.testing.assert_close(normalise(pixels), torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_normalise_gives_float32_channels_last_and_keeps_the_pixels():
    pixels = images(3)
    before = pixels.clone()
    found = normalise(pixels)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 32, 32, 3), torch.zeros(2, 3, 32, 32).byte(), torch.zeros(4, 4).byte()]
)
def test_normalise_wants_bytes_with_channels_last(bad):
    with pytest.raises(ValueError, match=r"images must be uint8 \[N, H, W, 3\].* got torch\."):
        normalise(bad)


def test_each_of_the_162_views_is_what_slicing_gives():
    image = normalise(images(1))
    expected = allowed_views(image[0].numpy())
    offsets = torch.tensor([key[:2] for key in expected])
    flips = torch.tensor([key[2] for key in expected])
    found = crop_and_flip(image.expand(162, -1, -1, -1), Views(offsets, flips)).numpy()
    for view, cut in zip(found, expected.values(), strict=True):
        np.testing.assert_array_equal(view, cut)
    assert len(np.unique(found.reshape(162, -1), axis=0)) == 162


def test_drawn_views_are_allowed_and_are_the_ones_that_were_drawn():
    batch, views = normalise(images()), draw_views(3, 1, 4, 60)
    found = crop_and_flip(batch, views).numpy()
    for image, view, (down, right), flip in zip(
        batch.numpy(), found, views.offsets.tolist(), views.flips.tolist(), strict=True
    ):
        matches = [key for key, cut in allowed_views(image).items() if np.array_equal(cut, view)]
        assert matches == [(down, right, flip)]


def test_the_middle_crop_is_the_image():
    batch = normalise(images(5))
    middle = Views(torch.full((5, 2), 4), torch.zeros(5, dtype=torch.bool))
    assert torch.equal(crop_and_flip(batch, middle), batch)


def test_images_need_not_be_square():
    image = normalise(images(1, height=6, width=10))
    view = crop_and_flip(image, Views(torch.tensor([[1, 7]]), torch.tensor([True])))
    np.testing.assert_array_equal(view[0], allowed_views(image[0].numpy())[1, 7, True])


def test_arguments_stay_and_the_layout_is_channels_last():
    batch, views = normalise(images()), draw_views(0, 0, 0, 60)
    before = batch.clone()
    assert crop_and_flip(batch, views).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, before)


def test_views_depend_on_seed_epoch_and_step_and_on_nothing_else():
    torch.manual_seed(0)
    first = draw_views(1, 2, 3, 50)
    torch.manual_seed(99)
    draw_views(5, 5, 5, 7)
    again = draw_views(1, 2, 3, 50)
    assert torch.equal(first.offsets, again.offsets)
    assert torch.equal(first.flips, again.flips)
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)):
        assert not torch.equal(first.offsets, draw_views(*other, 50).offsets)


def test_drawing_leaves_the_global_generators_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    draw_views(0, 0, 0, 10)
    assert torch.equal(torch.rand(3), expected)


def test_all_81_offsets_and_both_flips_are_equally_likely():
    views = draw_views(0, 0, 0, 81_000)
    assert views.offsets.dtype == torch.int64
    assert views.flips.dtype == torch.bool
    cells = (9 * views.offsets[:, 0] + views.offsets[:, 1]) * 2 + views.flips
    counts = np.bincount(cells.numpy(), minlength=162)
    assert len(counts) == 162
    assert stats.chisquare(counts).pvalue > 0.001


def test_views_of_another_number_of_images():
    with pytest.raises(ValueError, match="60 images need as many views, got 59 offsets and 59"):
        crop_and_flip(normalise(images()), draw_views(0, 0, 0, 59))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_the_same_views():
    batch, views = normalise(images()), draw_views(0, 1, 2, 60)
    on_gpu = crop_and_flip(normalise(images().cuda()), Views(*(part.cuda() for part in views)))
    torch.testing.assert_close(on_gpu.cpu(), crop_and_flip(batch, views), rtol=1e-6, atol=1e-6)
