"""The demo configs with an S that repeats pixels, so that T can be run alone."""

import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmsr4ir.engine.build import build_model

CONFIGS = dict(
    det='faster-rcnn_edsr_tiny', seg='deeplabv3_edsr_tiny', cls='resnet18_edsr_tiny'
)
SCALE = 4


def tiny_config(task: str) -> Config:
    """A demo config with an S that repeats each pixel."""
    cfg = Config.fromfile(f'configs/sr4ir/{CONFIGS[task]}.py')
    cfg.model.sr = dict(
        type='mmsr4ir.InterpolateUpsampler', scale=SCALE, mode='nearest'
    )
    cfg.model.recipe = dict(task=dict(update='task', losses=dict(task_sr=1.0)))
    cfg.model.task_resize = None  # tests of it set one
    return cfg


def tiny_model(task: str, cfg: Config | None = None):
    """Random networks with a seed, which find something in any image."""
    torch.manual_seed(0)
    model = build_model(cfg or tiny_config(task))
    if task == 'seg':  # else one class has the highest logit everywhere
        with torch.no_grad():
            logits = model.task(torch.rand(1, 3, 128, 128), mode='tensor')
            model.task.decode_head.conv_seg.bias -= logits.mean((0, 2, 3))
    return model


def save_run(task: str, folder, /, **changes) -> tuple[str, str]:
    """A work directory as a training leaves it: its config and its checkpoint."""
    cfg = tiny_config(task)
    cfg.model.update(changes)
    model = tiny_model(task, cfg)
    config, checkpoint = folder / f'{CONFIGS[task]}.py', folder / 'epoch_1.pth'
    cfg.dump(config)
    classes = cfg.val_dataloader.dataset.metainfo
    save_checkpoint(
        dict(
            state_dict=model.state_dict(),
            meta=dict(cfg=cfg.pretty_text, dataset_meta=dict(classes)),
        ),
        str(checkpoint),
    )
    (folder / 'last_checkpoint').write_text(str(checkpoint))
    return str(config), str(checkpoint)


def compare(kind: str, one, other, times: float) -> None:
    """Check that two data samples hold the same predictions, up to rounding."""
    if kind == 'det':
        found, want = one.pred_instances, other.pred_instances
        assert len(found) > 3
        torch.testing.assert_close(
            found.bboxes * times, want.bboxes, rtol=1e-4, atol=1e-2
        )
        assert torch.equal(found.labels, want.labels)
        torch.testing.assert_close(found.scores, want.scores, rtol=1e-4, atol=1e-5)
    elif kind == 'seg':
        assert other.seg_logits.data.std((1, 2)).max() > 1e-4
        torch.testing.assert_close(
            one.seg_logits.data, other.seg_logits.data, rtol=1e-3, atol=1e-6
        )
        same = one.pred_sem_seg.data == other.pred_sem_seg.data
        assert same.float().mean() > 0.999
    else:
        torch.testing.assert_close(
            one.pred_score, other.pred_score, rtol=1e-4, atol=1e-5
        )
