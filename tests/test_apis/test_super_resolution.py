"""PNG files that are written piece by piece are those that any reader takes."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from PIL import Image

from mmsr4ir.apis.super_resolution import (
    super_resolve_rows,
    super_resolve_to_png,
    write_png_rows,
)
from mmsr4ir.registry import MODELS
from mmsr4ir.visualization.drawing import write_png
from toys import toy_config

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('cuts', [(), (1,), (5, 6, 30)])
def test_png(cuts):
    image = RNG.integers(0, 256, (33, 20, 3), dtype=np.uint8)
    file = BytesIO()
    write_png_rows(file, 20, 33, iter(np.split(image, cuts)))
    assert (np.asarray(Image.open(BytesIO(file.getvalue()))) == image).all()
    by_opencv = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert (by_opencv[..., ::-1] == image).all()


@pytest.mark.parametrize('colours', [1, 2, 4])
def test_images_of_other_channels(colours, tmp_path):
    networks = dict(
        sr=dict(type='mmsr4ir.ToySR', scale=2, colours=colours),
        task=dict(
            type='mmsr4ir.ToyTask',
            colours=colours,
            data_preprocessor=dict(mean=[9.0] * colours, std=[5.0] * colours),
        ),
    )
    model = MODELS.build(ConfigDict(toy_config(**networks))).eval()
    image = RNG.integers(0, 256, (30, 40, colours), dtype=np.uint8)
    lr = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        want = (model.sr(lr)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    (whole,) = super_resolve_rows(model, image, None, 2)
    assert (whole == want.numpy()).all()
    path = tmp_path / 'a.png'
    if colours == 2:
        with pytest.raises(ValueError, match='of 2 channels cannot be a PNG file'):
            super_resolve_to_png(model, image, path, None, 2)
        return
    super_resolve_to_png(model, image, path, None, 2)
    written = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert (written == whole).all()
    write_png(path, whole)
    assert (np.atleast_3d(cv2.imread(str(path), -1)) == whole).all()


@pytest.fixture(scope='module')
def model():
    return MODELS.build(ConfigDict(toy_config())).eval()


def test_rows_together_are_the_restored_image(model, tmp_path):
    image = RNG.integers(0, 256, (61, 90, 3), dtype=np.uint8)
    (whole,) = super_resolve_rows(model, image, None, 2)
    assert whole.shape == (122, 180, 3)
    pieces = list(super_resolve_rows(model, image, 24, 2))
    assert max(map(len, pieces)) < 60
    assert abs(np.concatenate(pieces).astype(int) - whole).max() <= 1
    super_resolve_to_png(model, image, tmp_path / 'new' / 'a.png', 24, 2)
    written = np.asarray(Image.open(tmp_path / 'new' / 'a.png'))
    assert (written == np.concatenate(pieces)).all()


def test_no_half_file_is_left(model, tmp_path, monkeypatch):
    calls = []

    def refuse(lr):
        calls.append(lr)
        if len(calls) > 3:
            raise RuntimeError('out of memory')
        return lr.repeat_interleave(2, 2).repeat_interleave(2, 3)

    monkeypatch.setattr(model.sr, 'forward', refuse)
    with pytest.raises(RuntimeError, match='out of memory'):
        super_resolve_to_png(
            model, np.zeros((61, 90, 3), np.uint8), tmp_path / 'a.png', 24, 2
        )
    assert list(tmp_path.iterdir()) == []
