"""LR images from files: the same as computed ones, flipped with the HR image."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from PIL import Image

from mmsr4ir.analysis.lr_dataset import folder_images
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models import PairedLR
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import DataError
from mmsr4ir.visualization.drawing import write_png
from toys import toy_config, toy_data

# Bicubic at an odd scale takes the pixel in the middle, so that there is no rounding
# which a flip or the normalisation of the input could change.
SCALE = 3
BICUBIC = dict(type='mmsr4ir.BicubicDownsample', scale=SCALE)
# The same for one image; in a batch, LR images are padded by their own edge pixels.
ONE_BY_ONE = dict(type='mmsr4ir.Degradation', scale=SCALE, kernel='bicubic')
EDGES = dict(horizontal=[-1], vertical=[-2], diagonal=[-2, -1])


def write_pairs(root, sizes) -> dict:
    """HR images of `toy_data` and their LR images as make_lr_dataset.py writes them."""
    for i, image in enumerate(toy_data(sizes)['inputs']):
        write_png(root / f'hr/part/{i}.png', image.flip(0).permute(1, 2, 0).numpy())
    names, images, _ = folder_images(Config(dict(degradation=BICUBIC)), root / 'hr')
    for name, image in zip(names, images, strict=True):
        write_png(root / 'lr' / name, image)
    return dict(
        type='mmsr4ir.PairedLR',
        hr_root=str(root / 'hr'),
        lr_root=str(root / 'lr'),
        scale=SCALE,
    )


def load(root, sizes, flips) -> dict:
    """A batch as a dataloader gives it, with the images flipped."""
    data = toy_data(sizes)
    for i, (sample, flip) in enumerate(zip(data['data_samples'], flips, strict=True)):
        sample.set_metainfo(
            dict(
                img_path=str(root / f'hr/part/{i}.png'),
                ori_shape=sizes[i],
                flip=flip is not None,
                flip_direction=flip,
            )
        )
        data['inputs'][i] = data['inputs'][i].flip(EDGES.get(flip, []))
    return data


def train_once(degradation: dict, data: dict):
    """The LR images, and the losses, of one iteration."""
    torch.manual_seed(1)
    model = MODELS.build(
        toy_config(degradation=degradation, sr=dict(type='mmsr4ir.ToySR', scale=SCALE))
    )
    wrappers = PerNetworkOptimWrapperConstructor(
        dict(
            sr=dict(optimizer=dict(type='SGD', lr=0.1)),
            task=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    )(model)
    ready = model.data_preprocessor(data, True)
    lr = model.prepare(ready['inputs'], ready['data_samples']).lr
    return lr, model.train().train_step(data, wrappers)


@pytest.mark.parametrize(
    'computed, sizes, flips',
    [
        (BICUBIC, ((18, 18), (18, 18)), (None, None)),
        (BICUBIC, ((18, 24), (18, 24)), ('horizontal', None)),
        (BICUBIC, ((18, 16),), ('vertical',)),  # the scale divides the flipped edge
        (
            ONE_BY_ONE,
            ((18, 18), (13, 20)),
            (None, None),
        ),  # padded; the scale divides not
        (ONE_BY_ONE, ((18, 24), (12, 18)), ('vertical', 'diagonal')),
    ],
)
def test_files_give_the_same_as_computed_images(computed, sizes, flips, tmp_path):
    paired = write_pairs(tmp_path, sizes)
    want, want_logs = train_once(computed, load(tmp_path, sizes, flips))
    lr, logs = train_once(paired, load(tmp_path, sizes, flips))
    assert torch.equal(lr, want)
    assert logs.keys() == want_logs.keys() and 'sr/loss_tdp' in logs
    assert all(torch.equal(logs[name], value) for name, value in want_logs.items())


def test_padding_changes_no_image(tmp_path):
    sizes = ((18, 24), (13, 18))
    paired = write_pairs(tmp_path, sizes)
    data = load(tmp_path, sizes, (None, 'horizontal'))
    want, lr = (train_once(how, data)[0] for how in (BICUBIC, paired))
    assert torch.equal(lr[0], want[0])
    assert torch.equal(lr[1, :, :5, :6], want[1, :, :5, :6])
    assert torch.equal(lr[1, :, :, 6:], lr[1, :, :, 5:6].expand(3, 6, 2))


def test_a_flip_that_is_not_told_gives_other_images(tmp_path):
    sizes = ((18, 18),)
    paired = write_pairs(tmp_path, sizes)
    data = load(tmp_path, sizes, ('horizontal',))
    want, _ = train_once(BICUBIC, data)
    data['data_samples'][0].set_metainfo(dict(flip=False))
    assert torch.equal(train_once(paired, data)[0], want.flip(-1))


def test_predictions_are_made_on_the_files(tmp_path):
    sizes = ((18, 18), (13, 20))
    model = MODELS.build(
        toy_config(
            degradation=write_pairs(tmp_path, sizes),
            test_on='lr',
            sr=dict(type='mmsr4ir.ToySR', scale=SCALE),
        )
    ).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / 'lr/part/1.png', pixels)  # what no degradation would make
    found = model.val_step(load(tmp_path, sizes, (None, None)))
    np.testing.assert_array_equal(found[1].images['lr'].permute(1, 2, 0), pixels)


def test_lr_images_have_the_channels_of_hr(tmp_path):
    pairs = PairedLR(str(tmp_path / 'hr'), str(tmp_path / 'lr'), scale=2)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    sample = BaseDataElement(
        metainfo=dict(img_path=str(tmp_path / 'hr/a.png'), img_shape=(8, 12))
    )
    for channels in (1, 4):
        write_png(tmp_path / 'lr/a.png', pixels[..., :channels])
        lr = pairs(torch.zeros(1, channels, 8, 12), samples=[sample])
        want = torch.from_numpy(pixels[..., :channels]).permute(2, 0, 1)
        assert torch.equal((lr[0] * 255).round().byte(), want)
    with pytest.raises(
        DataError, match='a.png has 4 channels, and the networks take 2'
    ):
        pairs(torch.zeros(1, 2, 8, 12), samples=[sample])


@pytest.mark.parametrize('kind', ['gray', 'alpha', '16 bits', 'palette', 'turned'])
def test_any_kind_of_file_becomes_rgb(kind, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = tmp_path / 'a.png'
    if kind == 'gray':
        cv2.imwrite(str(path), pixels[..., 0])
        pixels = pixels[..., :1].repeat(3, 2)
    elif kind == 'alpha':
        Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(path)
    elif kind == '16 bits':
        cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint16) * 256)
    elif kind == 'palette':
        image = Image.fromarray(pixels).quantize(8)
        image.save(path)
        pixels = np.asarray(image.convert('RGB'))
    else:
        path = tmp_path / 'a.jpg'
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned to the right
        Image.new('RGB', (4, 6), 'red').save(path, exif=exif, quality=100)
        pixels = cv2.imread(str(path))[..., ::-1]
        assert pixels.shape == (4, 6, 3)
    lr = PairedLR('hr', str(tmp_path), 2).read('hr/a.jpg', (8, 12))
    np.testing.assert_array_equal(lr.permute(1, 2, 0).numpy(), pixels)


# Bad input


@pytest.fixture
def pairs(tmp_path) -> PairedLR:
    for name in ('one', 'two', 'small', 'cut', 'none'):
        write_png(tmp_path / f'lr/{name}.png', np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'lr/two.jpg'), np.zeros((4, 6, 3), np.uint8))
    write_png(tmp_path / 'lr/small.png', np.zeros((3, 6, 3), np.uint8))
    whole = (tmp_path / 'lr/cut.png').read_bytes()
    (tmp_path / 'lr/cut.png').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'lr/none.png').write_bytes(b'')
    (tmp_path / 'lr/text.txt').write_text('one')
    return PairedLR(str(tmp_path / 'hr'), str(tmp_path / 'lr'), 2)


@pytest.mark.parametrize(
    'name, message',
    [
        ('hr/absent.png', r'absent.png has no LR image .*lr/absent\.\*'),
        ('hr/text.png', 'text.png has no LR image'),
        ('hr/sub/one.png', 'has no LR image .*lr/sub/one'),
        ('hr/two.png', r'has 2 LR images \(.*two.jpg, .*two.png\): keep one'),
        (
            'hr/small.png',
            'small.png has 6 x 3 pixels, but .* has 12 x 7, a 2th .* 6 x 4',
        ),
        ('hr/cut.png', 'lr/cut.png is truncated'),
        ('hr/none.png', 'lr/none.png is empty'),
        (
            'other/one.png',
            r'other/one.png is not in model.degradation.hr_root=.*hr.: set',
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name, message, pairs, tmp_path):
    assert pairs.read(str(tmp_path / 'hr/one.tif'), (7, 12)).shape == (3, 4, 6)
    with pytest.raises(DataError, match=message):
        pairs.read(str(tmp_path / name), (7, 12))


def test_an_edge_that_the_scale_does_not_divide_is_not_flipped(pairs, tmp_path):
    path = str(tmp_path / 'hr/one.png')
    assert pairs.read(path, (7, 12), 'horizontal').shape == (3, 4, 6)
    for flip in ('vertical', 'diagonal'):
        with pytest.raises(DataError, match='12 x 7 pixels, which 2 does not divide'):
            pairs.read(path, (7, 12), flip)


@pytest.mark.parametrize(
    'meta, message',
    [
        (dict(img_shape=(8, 12)), 'needs img_path and img_shape'),
        (dict(img_path='hr/one.png'), 'needs img_path and img_shape'),
        (
            dict(img_path='hr/one.png', img_shape=(8, 12), ori_shape=(16, 24)),
            'one.png was changed from 24 x 16 to 12 x 8 pixels, but its LR image was '
            'not',
        ),
        (None, 'needs img_path and img_shape'),
    ],
)
def test_a_sample_whose_lr_image_is_not_known(meta, message, pairs):
    samples = [BaseDataElement(metainfo=meta)] if meta else ()
    with pytest.raises(DataError, match=message):
        pairs(torch.zeros(1, 3, 8, 12), [(8, 12)], samples)


def test_folders_and_scale(tmp_path):
    with pytest.raises(DataError, match='lr_root=.*absent. is no folder'):
        PairedLR('hr', str(tmp_path / 'absent')).find('hr/one.png')
    with pytest.raises(ValueError, match='degradation.scale must be a positive'):
        PairedLR('hr', 'lr', 0)
    with pytest.raises(TypeError, match='seed'):
        MODELS.build(dict(type='mmsr4ir.PairedLR', hr_root='', lr_root='', seed=1))
