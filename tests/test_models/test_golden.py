"""The published trainer, iteration by iteration.

The real model, losses, hook, optimizers and MMEngine's Runner repeat a training that
was recorded from the authors' own code (see tests/golden/recipe.py).
"""

import pytest
import torch
from golden.recipe import RECORD, SEED, draw_batches, draw_masks, draw_weight
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmsr4ir.evaluation import SRQuality
from mmsr4ir.registry import MODELS

pytestmark = pytest.mark.slow  # the training that all look at

# The published name of each of mmagic's tensors in an EDSR of two blocks at x4.
SR_NAMES = {
    'conv_first': 'head.0',
    'body.0.conv1': 'body.0.body.0',
    'body.0.conv2': 'body.0.body.2',
    'body.1.conv1': 'body.1.body.0',
    'body.1.conv2': 'body.1.body.2',
    'conv_after_body': 'body.2',
    'upsample.0.upsample_conv': 'tail.0.0',
    'upsample.1.upsample_conv': 'tail.0.2',
    'conv_last': 'tail.1',
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published_name(part: str, name: str) -> str:
    if part == 'task':
        return name.removeprefix('backbone.').removeprefix('head.')
    module, _, leaf = name.rpartition('.')
    return f'{SR_NAMES[module]}.{leaf}'


@MODELS.register_module()
class Float64Preprocessor(BaseDataPreprocessor):
    """Normalises in float64, as the record was made; mmpretrain's casts to float32."""

    _enable_normalize = True

    def __init__(self, to_rgb: bool, batch_augments: None = None) -> None:
        super().__init__()
        assert to_rgb
        for name, value in (('mean', MEAN), ('std', STD)):
            value = torch.tensor(value, dtype=torch.float64).view(3, 1, 1) * 255
            self.register_buffer(name, value, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        # The record's images were k / 255 in float32 and cast then. A bicubic LR pixel
        # often lies halfway between two 8-bit values, and that error rounds it.
        image = (torch.stack(list(data['inputs'])).flip(1).float() / 255).double()
        inputs = (image * 255 - self.mean) / self.std
        return dict(inputs=inputs, data_samples=data['data_samples'])


class Recorder(Hook):
    """Keeps the losses and learning rates of every iteration."""

    def __init__(self) -> None:
        self.losses, self.lrs = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({k: v.item() for k, v in outputs.items()})
        self.lrs.append(
            [runner.optim_wrapper[k].get_lr()['lr'][0] for k in ('sr', 'task')]
        )


def model_config(files: dict) -> dict:
    return dict(
        type='mmsr4ir.SR4IR',
        sr=dict(
            type='mmagic.EDSRNet',
            in_channels=3,
            out_channels=3,
            mid_channels=16,
            num_blocks=2,
            upscale_factor=4,
            rgb_mean=[255 * mean for mean in (0.4488, 0.4371, 0.4040)],
            init_cfg=dict(type='Pretrained', checkpoint=files['sr']),
        ),
        sr_range=255,
        task=dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmsr4ir.Float64Preprocessor', to_rgb=True),
            backbone=dict(type='mmpretrain.ResNet', depth=18),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(
                type='mmpretrain.LinearClsHead',
                num_classes=10,
                in_channels=512,
                loss=dict(type='mmpretrain.CrossEntropyLoss'),
            ),
            init_cfg=dict(type='Pretrained', checkpoint=files['task']),
        ),
        degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4),
        tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone.layer4'),
        patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4, p=0.5),
        recipe=dict(
            sr=dict(
                update=['sr'],
                losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main')),
            ),
            task=dict(
                update=['task'], losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)
            ),
        ),
    )


def start_files(folder, config=model_config, name_of=published_name) -> dict:
    """Checkpoints of both networks with the recorded start weights."""
    cfg, files = config(dict(sr='-', task='-')), {}
    for part in ('sr', 'task'):
        network = MODELS.build({k: v for k, v in cfg[part].items() if k != 'init_cfg'})
        files[part] = str(folder / f'{part}.pth')
        torch.save(
            {
                name: draw_weight(name_of(part, name), value).to(value.dtype)
                for name, value in network.state_dict().items()
            },
            files[part],
        )
    return files


def samples(count: int, seed: int) -> list[dict]:
    """What a dataset of mmpretrain gives: BGR uint8 images and labels."""
    from mmpretrain.structures import DataSample

    return [
        dict(inputs=image.flip(0), data_samples=DataSample().set_gt_label(int(label)))
        for images, labels in draw_batches(count, seed)
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The model after the twelve iterations, and what the recorder kept."""
    init_default_scope('mmpretrain')
    folder = tmp_path_factory.mktemp('golden')
    model = MODELS.build(model_config(start_files(folder))).double()
    masks = draw_masks(12, SEED)
    model.patch_mix.draw_mask = lambda sr, generator: next(masks).to(sr)
    runner = Runner(
        model=model,
        work_dir=str(folder),
        default_scope='mmpretrain',
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=samples(6, SEED) + samples(6, SEED + 100),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=12, val_interval=100),
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=dict(
                optimizer=dict(
                    type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0
                )
            ),
            task=dict(
                optimizer=dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4)
            ),
        ),
        custom_hooks=[
            dict(type='mmsr4ir.AlternateTrainingHook', warmup=6, by_epoch=False)
        ],
        default_hooks=dict(checkpoint=None),
        experiment_name='golden',
    )
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return model, recorder


def test_every_loss_of_the_twelve_iterations(trained):
    names = dict(
        l_pix='sr/loss_pixel',
        l_tdp='sr/loss_tdp',
        l_ce_sr='task/sr/loss',
        l_ce_hr='task/hr/loss',
        l_ce_cqmix='task/mix/loss',
    )
    assert len(trained[1].losses) == len(RECORD['records']) == 12
    for step, (ours, theirs) in enumerate(
        zip(trained[1].losses, RECORD['records'], strict=True)
    ):
        assert ('sr/loss_tdp' in ours) == ('l_tdp' in theirs) == (step >= 6)
        for name, value in theirs.items():
            assert ours[names[name]] == pytest.approx(
                value, rel=1e-6 if step < 2 else 1e-3
            ), (step, name)


def test_the_learning_rates(trained):
    assert trained[1].lrs == RECORD['lrs']


def test_every_tensor_at_the_end(trained):
    checked = set()
    for part, theirs in (('sr', 'sr'), ('task', 'cls')):
        for name, value in getattr(trained[0], part).state_dict().items():
            key = f'{theirs}.{published_name(part, name)}'
            if name.endswith('num_batches_tracked'):
                continue
            checked.add(key)
            total, absolute = RECORD['checksums'][key]
            assert value.abs().sum().item() == pytest.approx(absolute, rel=1e-3), key
            # Terms of both signs cancel in the sum: its scale is that of the absolute.
            assert value.sum().item() == pytest.approx(total, abs=1e-3 * absolute), key
    rest = {key for key in RECORD['checksums'] if '_mean.' not in key or 'bn' in key}
    assert checked >= {
        k
        for k in rest
        if not k.endswith('num_batches_tracked')
        and 'sub_mean' not in k
        and 'add_mean' not in k
    }


@torch.no_grad()
def test_the_evaluation(trained):
    model, wanted = trained[0].eval(), RECORD['eval']
    batch = samples(1, SEED + 500)
    data = dict(
        inputs=[s['inputs'] for s in batch],
        data_samples=[s['data_samples'] for s in batch],
    )
    data = model.data_preprocessor(data)
    batch = model.prepare(data['inputs'], data['data_samples'])
    assert batch.lr.sum().item() == pytest.approx(wanted['lr_sum'], rel=1e-9)
    sr = model.super_resolve_batch(batch)
    assert sr.sum().item() == pytest.approx(wanted['sr_sum'], rel=1e-3)
    logits = model.task(model.to_input(sr, batch), mode='tensor')
    torch.testing.assert_close(
        logits, torch.tensor(wanted['logits']).double(), rtol=1e-3, atol=1e-3
    )
    predictions = model(data['inputs'], data['data_samples'], mode='predict')
    metric = SRQuality(crop_border=8)
    metric.process({}, [dict(images=p.images) for p in predictions])
    found = metric.compute_metrics(metric.results)
    assert found['PSNR'] == pytest.approx(wanted['psnr'], rel=1e-3)
