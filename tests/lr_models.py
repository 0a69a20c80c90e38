"""The demo configs with an S that repeats pixels, so that T can be run alone."""
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmsr4ir.apis.build import build_model

CONFIGS = dict(det='faster-rcnn_edsr_tiny', seg='deeplabv3_edsr_tiny',
               cls='resnet18_edsr_tiny')
SCALE = 4


def tiny_config(task: str) -> Config:
    """A demo config with an S that repeats each pixel."""
    cfg = Config.fromfile(f'configs/sr4ir/{CONFIGS[task]}.py')
    cfg.model.sr = dict(
        type='mmsr4ir.InterpolateUpsampler', scale=SCALE, mode='nearest')
    cfg.model.recipe = dict(task=dict(update='task', losses=dict(task_sr=1.0)))
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
    save_checkpoint(dict(state_dict=model.state_dict(), meta=dict(
        cfg=cfg.pretty_text, dataset_meta=dict(classes))), str(checkpoint))
    (folder / 'last_checkpoint').write_text(str(checkpoint))
    return str(config), str(checkpoint)
