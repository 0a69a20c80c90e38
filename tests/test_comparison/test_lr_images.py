"""Every method is tested on the same LR images, also where they are made at random."""

import copy

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config

from mmsr4ir.comparison.methods import METHODS, plan_parts
from mmsr4ir.engine.build import build_model
from mmsr4ir.engine.hooks.run_record_hook import digest

CONFIG = """
_base_ = ['{root}/configs/sr4ir/resnet18_edsr_tiny.py',
          '{root}/configs/_base_/degradations/{preset}.py']
model = dict(degradation=dict(_base_.degradation, _delete_=True),
             sr=dict(upscale_factor={scale}))
"""


@pytest.mark.parametrize('preset, scale', [('mix_a', 8), ('real_esrgan', 4)])
def test_lr_images_are_the_same_in_all_methods(preset, scale, tmp_path):
    from mmpretrain.structures import DataSample

    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(root=ROOT, preset=preset, scale=scale))
    parts = plan_parts(Config.fromfile(path), list(METHODS), [0, 1], tmp_path)
    inputs = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    found = {}
    for part in parts:
        if not part.is_tested:
            continue
        cfg = copy.deepcopy(part.cfg)
        for network in ('sr', 'task'):
            cfg.model[network].pop('init_cfg', None)
        torch.manual_seed(part.seed)
        samples = [DataSample(metainfo=dict(img_shape=(64, 64))) for _ in inputs]
        outputs = build_model(cfg).val_step(dict(inputs=inputs, data_samples=samples))
        lrs = [sample.images['lr'] for sample in outputs]
        assert {tuple(lr.shape) for lr in lrs} == {(3, 64 // scale, 64 // scale)}
        found[part.title] = digest(lrs)
    assert len(found) == 20 and len(set(found.values())) == 1, found
