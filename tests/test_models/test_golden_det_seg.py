"""The published detection and segmentation trainers, iteration by iteration.

As test_golden.py, with torchvision's networks, which are the paper's.
"""

from functools import partial

import pytest
import test_golden
import torch
from golden.recipe import (
    DETECTOR,
    RECORDS,
    SEED,
    draw_detection,
    draw_masks,
    draw_segmentation,
)
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from mmsr4ir.registry import MODELS

pytestmark = pytest.mark.slow  # the trainings that all look at

LIBRARIES = dict(det='mmdet', seg='mmseg')
TASKS = dict(
    det=dict(
        type='mmsr4ir.TorchvisionDetector',
        num_classes=4,
        arch='fasterrcnn_mobilenet_v3_large_fpn',
        **DETECTOR,
    ),
    seg=dict(
        type='mmsr4ir.TorchvisionSegmentor',
        num_classes=5,
        aux_loss=True,
        arch='deeplabv3_mobilenet_v3_large',
    ),
)
LEVELS = dict(det=(0, 1), seg=(-1,))  # of FPN: '0' and '1'; of the backbone: 'out'


def published_name(part: str, name: str) -> str:
    return name if part == 'task' else test_golden.published_name('sr', name)


def model_config(task: str, files: dict) -> dict:
    cfg = test_golden.model_config(files)
    return dict(
        cfg,
        task=dict(
            TASKS[task],
            data_preprocessor=cfg['task']['data_preprocessor'],
            init_cfg=dict(type='Pretrained', checkpoint=files['task']),
        ),
        tdp=dict(type='mmsr4ir.TDPLoss', layer='network.backbone', levels=LEVELS[task]),
    )


def samples(task: str, count: int, seed: int) -> list[dict]:
    """What a dataset of the task library gives, boxes in float64."""
    found = []
    if task == 'det':
        for image, boxes, labels in draw_detection(count, seed):
            sample = DetDataSample(metainfo=dict(img_shape=image.shape[-2:]))
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels - 1)
            found.append(dict(inputs=image.flip(0), data_samples=sample))
    else:
        for image, labels in draw_segmentation(count, seed):
            sample = SegDataSample(metainfo=dict(img_shape=image.shape[-2:]))
            sample.gt_sem_seg = PixelData(data=labels[None])
            found.append(dict(inputs=image.flip(0), data_samples=sample))
    return found


class Recorder(Hook):
    """Keeps the losses and the learning rates of every group."""

    def __init__(self) -> None:
        self.losses, self.lrs = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lrs.append(
            [
                [
                    group['lr']
                    for group in runner.optim_wrapper[part].optimizer.param_groups
                ]
                for part in ('sr', 'task')
            ]
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({k: v.item() for k, v in outputs.items()})


def schedules(task: str) -> tuple[dict, list[dict]]:
    """The optimizer of T, and the schedules of both networks."""
    sgd = dict(optimizer=dict(type='SGD', lr=1e-4, momentum=0.9, weight_decay=1e-4))
    schedule = dict(type='mmsr4ir.RampCosineRestartLR', by_epoch=False, eta_min=1e-4)
    if task == 'det':
        return sgd, [dict(schedule, ramp=4, periods=[4])]
    sgd['paramwise_cfg'] = dict(custom_keys={'aux_classifier': dict(lr_mult=10)})
    return sgd, [dict(schedule, periods=[4, 4])]


@pytest.fixture(scope='module', params=['det', 'seg'])
def trained(request, tmp_path_factory):
    """The task, the model after the eight iterations, and what the recorder kept."""
    task = request.param
    init_default_scope(LIBRARIES[task])
    folder = tmp_path_factory.mktemp(f'golden_{task}')
    files = test_golden.start_files(folder, partial(model_config, task), published_name)
    model = MODELS.build(model_config(task, files)).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    masks = draw_masks(8, SEED, task)
    model.patch_mix.draw_mask = lambda sr, generator: next(masks).to(sr)
    sgd, schedule = schedules(task)
    runner = Runner(
        model=model,
        work_dir=str(folder),
        default_scope=LIBRARIES[task],
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=samples(task, 4, SEED) + samples(task, 4, SEED + 100),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=8, val_interval=100),
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=dict(
                optimizer=dict(
                    type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0
                )
            ),
            task=sgd,
        ),
        param_scheduler=dict(task=schedule, sr=schedule),
        custom_hooks=[
            dict(type='mmsr4ir.AlternateTrainingHook', warmup=4, by_epoch=False)
        ],
        default_hooks=dict(checkpoint=None),
        experiment_name=f'golden_{task}',
    )
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return task, model, recorder


def test_every_loss_of_the_eight_iterations(trained):
    task, _, recorder = trained
    record = RECORDS[task]['records']
    kind = dict(det='det', seg='auxce')[task]
    names = dict(
        l_pix='sr/loss_pixel',
        l_tdp='sr/loss_tdp',
        **{
            f'l_{kind}_{theirs}': f'task/{ours}/'
            for theirs, ours in (('sr', 'sr'), ('hr', 'hr'), ('cqmix', 'mix'))
        },
    )
    assert len(recorder.losses) == len(record) == 8
    for step, (ours, theirs) in enumerate(zip(recorder.losses, record, strict=True)):
        assert ('sr/loss_tdp' in ours) == ('l_tdp' in theirs) == (step >= 4)
        for name, value in theirs.items():
            found = sum(
                loss for key, loss in ours.items() if key.startswith(names[name])
            )
            assert found == pytest.approx(value, rel=1e-5 if step < 2 else 1e-3), (
                step,
                name,
            )


@torch.no_grad()
def test_images_of_unequal_sizes():
    """The published value with count_padding; else that of the images alone."""
    init_default_scope('mmdet')
    cfg = model_config('det', dict(sr='-', task='-'))
    del cfg['sr']['init_cfg'], cfg['task']['init_cfg']
    cfg['task']['data_preprocessor'] = dict(
        type='mmdet.DetDataPreprocessor',
        bgr_to_rgb=True,
        pad_size_divisor=32,
        mean=[255 * one for one in test_golden.MEAN],
        std=[255 * one for one in test_golden.STD],
    )
    values, sizes = {}, ((70, 93), (50, 121), (64, 6))
    images = [torch.rand(3, *size).mul(255).round().byte() for size in sizes]
    for counts in (True, False):
        torch.manual_seed(3)
        model = MODELS.build(dict(cfg, count_padding=counts)).train()
        given = [DetDataSample(metainfo=dict(img_shape=size)) for size in sizes]
        for sample in given:
            sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4))
        data = model.data_preprocessor(
            dict(inputs=[image.flip(0) for image in images], data_samples=given), True
        )
        batch = model.prepare(data['inputs'], data['data_samples'])
        batch.sr = model.super_resolve_batch(batch)
        values[counts] = {
            name: value.detach()
            for term in model.recipe[0].losses
            for name, value in model.term_losses(term, batch).items()
        }
    # As the authors' code does it, written independently: mirrored to the largest
    # size, a multiple of 4; repeated where an image is too small to be mirrored.
    full = (72, 124)
    hr = torch.cat(
        [
            nn.functional.pad(
                image[None] / 255,
                (0, full[1] - w, 0, full[0] - h),
                'replicate' if w < 62 else 'reflect',
            )
            for image, (h, w) in zip(images, sizes, strict=True)
        ]
    )
    lr = nn.functional.interpolate(hr, scale_factor=1 / 4, mode='bicubic')
    lr = (lr * 255).round().clamp(0, 255) / 255
    assert (batch.lr != lr).any()  # this one's edges are repeated
    sr = model.sr(lr * 255).detach() / 255
    detector = fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None, num_classes=5, **DETECTOR
    ).eval()
    detector.load_state_dict(model.task.state_dict())

    def levels(pictures):
        parts = [one[:, :h, :w] for one, (h, w) in zip(pictures, sizes, strict=True)]
        found = detector.backbone(detector.transform(parts)[0].tensors)
        return found['0'], found['1']

    tdp = sum(
        0.5 * (a - b).abs().mean() for a, b in zip(levels(sr), levels(hr), strict=True)
    )
    torch.testing.assert_close(values[True]['loss_pixel'], (sr - hr).abs().mean())
    torch.testing.assert_close(values[True]['loss_tdp'], tdp, rtol=1e-4, atol=1e-7)
    for name in ('loss_pixel', 'loss_tdp'):
        assert values[False][name] != pytest.approx(values[True][name].item(), rel=1e-3)


def test_the_learning_rates(trained):
    task, _, recorder = trained
    for ours, theirs in zip(recorder.lrs, RECORDS[task]['lrs'], strict=True):
        for part, wanted in zip(ours, theirs, strict=True):
            assert sorted(set(part)) == pytest.approx(sorted(set(wanted)), rel=1e-9)


def test_every_tensor_at_the_end(trained):
    task, model, _ = trained
    checksums, checked = RECORDS[task]['checksums'], set()
    for part, theirs in (('sr', 'sr'), ('task', task)):
        for name, value in getattr(model, part).state_dict().items():
            if name.endswith('num_batches_tracked'):
                continue
            key = f'{theirs}.{published_name(part, name)}'
            checked.add(key)
            total, absolute = checksums[key]
            assert value.abs().sum().item() == pytest.approx(absolute, rel=1e-3), key
            # Terms of both signs cancel in the sum: its scale is that of the absolute.
            assert value.sum().item() == pytest.approx(total, abs=1e-3 * absolute), key
    assert checked == {
        key
        for key in checksums
        if not key.endswith('num_batches_tracked')
        and 'sub_mean' not in key
        and 'add_mean' not in key
    }
