"""tools/test.py on LR images and their labels, against the test on HR images."""

import json
import re
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from lr_models import SCALE, save_run
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmsr4ir.compat.checkpoint import load_predictions
from mmsr4ir.engine.lr_test_loop import check_pipeline
from mmsr4ir.models import BicubicDownsample
from mmsr4ir.visualization.drawing import write_png

COUNT = 3


@pytest.fixture
def tool(monkeypatch, capsys, tmp_path):
    """Run tools/test.py with a config in this process: output and predictions."""

    def call(cfg, checkpoint, *args):
        cfg.dump(tmp_path / 'config.py')
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'test.py',
                str(tmp_path / 'config.py'),
                checkpoint,
                '--work-dir',
                str(tmp_path / 'work'),
                '--out',
                str(tmp_path / 'out.pkl'),
                *map(str, args),
            ],
        )
        runpy.run_path('tools/test.py', run_name='__main__')
        return capsys.readouterr().out, load_predictions(tmp_path / 'out.pkl')

    yield call
    MMLogger._instance_dict.clear()  # its handlers write to this test's output


def degrade(image: np.ndarray) -> np.ndarray:
    hr = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    lr = BicubicDownsample(scale=SCALE)(hr)[0].permute(1, 2, 0)
    return (lr * 255).round().numpy().astype(np.uint8)


@pytest.fixture(scope='module')
def det(tmp_path_factory, coco_root):
    """A config for HR images, its checkpoint, and a folder of LR images."""
    root = tmp_path_factory.mktemp('det')
    config, checkpoint = save_run('det', root, num_classes=2)
    for path in (coco_root / 'val').iterdir():
        # As PNG, under the names of the JPEGs too: the content counts.
        png = degrade(cv2.imread(str(path)))
        (root / 'lr').mkdir(exist_ok=True)
        (root / 'lr' / path.name).write_bytes(cv2.imencode('.png', png)[1].tobytes())
    labels = json.loads((coco_root / 'val.json').read_text())
    for image in labels['images']:
        image.update(width=image['width'] // SCALE, height=image['height'] // SCALE)
    for one in labels['annotations']:
        one['bbox'] = [value / SCALE for value in one['bbox']]
        one['area'] /= SCALE**2
        one['segmentation'] = [[v / SCALE for v in one['segmentation'][0]]]
    (root / 'lr.json').write_text(json.dumps(labels))
    cfg = Config.fromfile(config)
    dataset = cfg.test_dataloader.dataset
    dataset.update(
        data_root='',
        ann_file=f'{coco_root}/val.json',
        data_prefix=dict(img=f'{coco_root}/val/'),
    )
    dataset.metainfo = dict(classes=('green', 'blue'))
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
    for step in dataset.pipeline:
        if step['type'] == 'Resize':  # which mmdet cannot do without
            step.update(scale=(64, 64))
    cfg.test_evaluator[0].ann_file = f'{coco_root}/val.json'
    return root, cfg, checkpoint


def on_lr(cfg: Config, folder, labels, coordinates: str) -> Config:
    """What a config for LR images changes."""
    cfg = Config(cfg.to_dict())
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop', coordinates=coordinates)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [s for s in dataset.pipeline if s['type'] != 'Resize']
    dataset.update(ann_file=str(labels), data_prefix=dict(img=f'{folder}/'))
    cfg.test_evaluator = [dict(cfg.test_evaluator[0], ann_file=str(labels))]
    return cfg


def test_detection(det, coco_root, tool, tmp_path):
    root, cfg, checkpoint = det
    _, wanted = tool(cfg, checkpoint, '--no-data-check')
    text, found = tool(
        on_lr(cfg, root / 'lr', coco_root / 'val.json', 'sr'),
        checkpoint,
        '--no-data-check',
        '--show-dir',
        tmp_path / 'show',
    )
    assert re.search(r'coco/bbox_mAP: \d', text) and 'PSNR' not in text
    assert len(list((tmp_path / 'show').glob('*.png'))) == COUNT
    _, low = tool(
        on_lr(cfg, root / 'lr', root / 'lr.json', 'lr'), checkpoint, '--no-data-check'
    )
    for one, other, small in zip(found, wanted, low, strict=True):
        boxes, want, tiny = (
            result['pred_instances']['bboxes'] for result in (one, other, small)
        )
        assert len(want) > 3 and one['ori_shape'] == other['ori_shape']
        # PNGs hold the very LR images that the model makes of the HR ones.
        torch.testing.assert_close(boxes, want, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(tiny * SCALE, want, rtol=1e-4, atol=1e-2)
        assert small['ori_shape'] == tuple(side // SCALE for side in one['ori_shape'])


@pytest.fixture(scope='module')
def seg(tmp_path_factory):
    root = tmp_path_factory.mktemp('seg')
    config, checkpoint = save_run('seg', root)
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        hr = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (96, 64))
        labels = rng.integers(0, 5, (16, 24), dtype=np.uint8)
        write_png(root / 'hr' / f'{i}.png', hr)
        write_png(root / 'lr' / f'{i}.png', degrade(hr[..., ::-1])[..., ::-1])
        for name, zoom in (('low', 1), ('high', 4)):
            (root / name).mkdir(exist_ok=True)
            cv2.imwrite(
                str(root / name / f'{i}.png'), labels.repeat(zoom, 0).repeat(zoom, 1)
            )
    cfg = Config.fromfile(config)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    cfg.test_dataloader.dataset.update(
        data_root=str(root), data_prefix=dict(img_path='hr', seg_map_path='high')
    )
    return root, cfg, checkpoint


@pytest.mark.parametrize(
    'coordinates, maps, size', [('sr', 'high', (64, 96)), ('lr', 'low', (16, 24))]
)
def test_segmentation(coordinates, maps, size, seg, tool, tmp_path):
    root, cfg, checkpoint = seg
    wanted = tool(cfg, checkpoint)[1] if coordinates == 'sr' else []
    cfg = Config(cfg.to_dict())
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop', coordinates=coordinates)
    cfg.test_dataloader.dataset.data_prefix = dict(img_path='lr', seg_map_path=maps)
    cfg.test_evaluator = cfg.test_evaluator[0]
    text, found = tool(cfg, checkpoint, '--show-dir', tmp_path / 'show')
    assert re.search(r'mIoU: \d+', text) and 'PSNR' not in text
    assert len(list((tmp_path / 'show').glob('*.png'))) == COUNT
    assert [one['pred_sem_seg']['data'].shape for one in found] == [(1, *size)] * COUNT
    for one, other in zip(found, wanted):  # noqa: B905
        got, want = (r['pred_sem_seg']['data'] for r in (one, other))
        assert (got == want).float().mean() > 0.995


def test_maps_of_another_size_are_refused_before_the_test(seg, tool):
    root, cfg, checkpoint = seg
    cfg = Config(cfg.to_dict())
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop', coordinates='sr')
    cfg.test_dataloader.dataset.data_prefix = dict(img_path='lr', seg_map_path='low')
    with pytest.raises(
        SystemExit, match='0.png has 24 x 16 pixels, its image 24 x 16 at 1/4'
    ):
        tool(cfg, checkpoint)


def test_sr_quality_needs_hr_images(seg, tool):
    root, cfg, checkpoint = seg
    cfg = Config(cfg.to_dict())
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop')
    cfg.test_dataloader.dataset.data_prefix = dict(img_path='lr', seg_map_path='low')
    with pytest.raises(SystemExit, match=r"no HR image to compare with for \['PSNR'"):
        tool(cfg, checkpoint)


def test_niqe_without_hr_images():
    from mmsr4ir.evaluation import SRQuality

    metric = SRQuality(metrics=['NIQE'])
    image = np.random.default_rng(0).integers(0, 256, (3, 192, 192), dtype=np.uint8)
    metric.process({}, [dict(images=dict(sr=torch.from_numpy(image)))])
    assert metric.evaluate(1)['sr/NIQE'] > 0


def test_an_unknown_setting_is_refused(seg, tool):
    _, cfg, checkpoint = seg
    cfg = Config(cfg.to_dict())
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop', lr_input=True)
    with pytest.raises(SystemExit, match="unexpected keyword argument 'lr_input'"):
        tool(cfg, checkpoint, '--no-data-check')


def test_a_pipeline_that_resizes_is_refused():
    class Resize:
        pass

    class Pipeline:
        transforms = [object(), Resize()]

    with pytest.raises(ValueError, match=r"test_dataloader has \['Resize'\]"):
        check_pipeline(Pipeline())
    check_pipeline(None)
