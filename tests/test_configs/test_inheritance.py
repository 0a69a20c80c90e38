"""Another detector of mmdet is another line of `_base_`; each trains and predicts."""

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor, move_resize

LEAF = ROOT / 'configs' / 'sr4ir' / 'faster-rcnn_edsr_coco.py'
SEGMENTOR = LEAF.with_name('deeplabv3_edsr_cityscapes.py')
# What makes a standard ResNet-50 detector of mmdet small, by name of the config.
FPN = dict(in_channels=[8, 16, 32, 64], out_channels=16)
BACKBONE = dict(depth=18, base_channels=8, init_cfg=None)
HEAD = dict(in_channels=16, feat_channels=16)
ROI = dict(
    bbox_roi_extractor=dict(out_channels=16),
    bbox_head=dict(in_channels=16, fc_out_channels=32),
)
DETECTORS = {
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': dict(rpn_head=HEAD, roi_head=ROI),
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': dict(
        rpn_head=HEAD,
        roi_head=dict(
            ROI,
            mask_roi_extractor=dict(out_channels=16),
            mask_head=dict(in_channels=16, conv_out_channels=16),
        ),
    ),
    'retinanet/retinanet_r50_fpn_1x_coco.py': dict(bbox_head=HEAD),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': dict(
        bbox_head=dict(HEAD, norm_cfg=dict(type='GN', num_groups=4))
    ),
}


def other_first_line(leaf: Path, zoo: str, tmp_path: Path) -> Config:
    """A shipped config with another config of the zoo in its first line."""
    text, count = re.subn(r"'mm(?:det|seg)::[^']+'", f"'{zoo}'", leaf.read_text())
    assert count == 1
    path = tmp_path / 'leaf.py'
    path.write_text(text.replace("'../_base_/", f"'{ROOT}/configs/_base_/"))
    return move_resize(Config.fromfile(path))


@pytest.fixture(params=DETECTORS)
def config(request, tmp_path) -> Config:
    """The shipped config with that one line changed, and then made small."""
    cfg = other_first_line(LEAF, f'mmdet::{request.param}', tmp_path)
    for split in ('train', 'test'):  # not to 800 pixels
        cfg.model.task_resize[split][0].scale = (160, 200)
    cfg.merge_from_dict(
        dict(
            model=dict(
                num_classes=2,
                sr=dict(mid_channels=4, num_blocks=1),
                task=dict(backbone=BACKBONE, neck=FPN, **DETECTORS[request.param]),
            )
        )
    )
    return cfg


def data(with_masks: bool) -> dict:
    """Two images of different sizes with a box each, as mmdet's dataloader gives."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    inputs, samples = [], []
    for height, width in ((96, 128), (90, 70)):
        inputs.append(torch.randint(0, 256, (3, height, width), dtype=torch.uint8))
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(height, width),
                ori_shape=(height, width),
                img_id=0,
                scale_factor=(1.0, 1.0),
                img_path='none',
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8, 60, 70]]), labels=torch.tensor([1])
        )
        if with_masks:
            mask = torch.zeros(1, height, width, dtype=torch.uint8)
            mask[:, 8:70, 8:60] = 1
            sample.gt_instances.masks = BitmapMasks(mask.numpy(), height, width)
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def test_one_train_and_one_val_step(config):
    init_default_scope('mmdet')
    model = MODELS.build(config.model)
    wrapper_cfg = config.optim_wrapper.copy()
    wrapper_cfg.pop('constructor')
    assert wrapper_cfg.type == 'OptimWrapper'  # mmseg's train.py asks for it (--amp)
    wrappers = PerNetworkOptimWrapperConstructor(wrapper_cfg)(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    has_masks = 'mask_head' in config.model.task.get('roi_head', {})
    logs = model.train().train_step(data(has_masks), wrappers)
    assert all(torch.isfinite(v).all() for v in logs.values())
    assert {'sr/loss_pixel', 'sr/loss_tdp'} <= set(logs)
    parts = {k.split('/')[2] for k in logs if k.count('/') == 2}
    for image in ('sr', 'hr', 'mix'):
        keys = [k for k in logs if k.startswith(f'task/{image}/')]
        assert {k.split('/')[2] for k in keys} == parts
    moved = {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}
    frozen = ('task.backbone.conv1', 'task.backbone.layer1', 'task.backbone.bn1')
    assert any(k.startswith('sr.') for k in moved)
    assert any(k.startswith('task.') for k in moved)
    assert not any(k.startswith(frozen) for k in moved)
    model.eval()
    predictions = model.val_step(data(has_masks))
    assert [p.images['sr'].shape[-2:] for p in predictions] == [(96, 128), (90, 70)]
    assert all('bboxes' in p.pred_instances for p in predictions)
    assert has_masks == ('masks' in predictions[0].pred_instances)


def test_a_config_of_the_zoo_may_have_imports_of_its_own(tmp_path):
    zoo = 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'
    cfg = other_first_line(SEGMENTOR, zoo, tmp_path)
    assert cfg.custom_imports.imports == ['mmsr4ir']
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert type(model.task.backbone).__name__ == 'ConvNeXt'


@pytest.mark.parametrize(
    'path',
    sorted(
        (
            *(ROOT / 'configs/sr4ir').glob('*.py'),
            *(ROOT / 'configs/sr4ir/openmmlab').glob('*.py'),
        )
    ),
    ids=lambda path: path.stem,
)
def test_every_shipped_config_builds(path):
    cfg = move_resize(Config.fromfile(path))
    assert cfg.custom_imports.imports == ['mmsr4ir']
    init_default_scope(cfg.default_scope)
    cfg.model.task.backbone.init_cfg = None  # a download otherwise, at init_weights
    model = MODELS.build(cfg.model)
    wrapper_cfg = cfg.optim_wrapper.copy()
    wrapper_cfg.pop('constructor')
    wrappers = PerNetworkOptimWrapperConstructor(wrapper_cfg)(model)
    updated = {name for phase in model.recipe for name in phase.update}
    assert set(wrappers.keys()) == set(cfg.param_scheduler) == updated


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs/sr4ir').glob('*.py')), ids=lambda path: path.stem
)
def test_workers_outlive_an_epoch(path):
    cfg = move_resize(Config.fromfile(path))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.num_workers > 0 and loader.persistent_workers
        assert 'pin_memory' not in loader  # which the Runner sets
    assert not cfg.env_cfg.cudnn_benchmark


def test_the_published_settings_of_detection_on_voc():
    """options/det/014_SR4IR_edsr_x4.yml of the authors' code."""
    cfg = Config.fromfile(ROOT / 'configs/sr4ir/faster-rcnn_edsr_voc.py')
    assert (cfg.train_cfg.max_epochs, cfg.default_hooks.alternate.warmup) == (30, 3)
    assert cfg.train_dataloader.batch_size == 16
    sr, task = (cfg.optim_wrapper[k].optimizer for k in ('sr', 'task'))
    assert (sr.type, sr.lr, sr.weight_decay) == ('AdamW', 1e-4, 0)
    assert (task.type, task.lr, task.momentum, task.weight_decay) == (
        'SGD',
        0.02,
        0.9,
        1e-4,
    )
    assert cfg.model.recipe.sr.losses == dict(
        pixel=1.0, tdp=dict(weight=1.0, during='main')
    )
    assert cfg.model.recipe.task.losses == dict(
        task_sr=0.34, task_hr=0.34, task_mix=0.34
    )
    assert (cfg.model.patch_mix.grid, cfg.model.patch_mix.p) == (8, 0.5)
    assert tuple(cfg.model.tdp.layer) == ('neck', 'backbone')
    assert [s.type for s in cfg.param_scheduler.sr] == ['LinearLR', 'CosineRestartLR']
    assert cfg.model.sr.num_blocks == 16 and cfg.model.sr.mid_channels == 64
