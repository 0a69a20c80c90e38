"""Test-time augmentation: predictions on an image and its mirror image, merged."""

import copy

from mmengine.config import Config, ConfigDict

from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

# What merges the predictions where a config has no `tta_model`, as in the libraries'
# own test.py.
_MODELS: dict[str, dict] = dict(
    mmdet=dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    mmseg=dict(type='SegTTAModel'),
    mmpretrain=dict(type='AverageClsScoreTTA'),
)
_DETECTION_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)


def use_tta(cfg: Config) -> None:
    """Have a test predict on several versions of each image, each of them restored.

    The config's ``tta_model`` and ``tta_pipeline`` are taken; without them, the image
    and its mirror image, merged by the library's own class. The image itself is the
    first version, so that labels and pictures are those of the image.

    Raises:
        ConfigError: If the library has no such class, or the test is one on LR images.
    """
    library = cfg.get('default_scope')
    if type_name(cfg.get('test_cfg') or {}) == 'LRTestLoop':
        raise ConfigError(
            '--tta is for tests that make their LR images; test_cfg is an LRTestLoop'
        )
    if 'tta_model' not in cfg and library not in _MODELS:
        raise ConfigError(
            f'--tta: give tta_model; {library} has none that is known here'
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_pipeline' not in cfg:
        *before, pack = copy.deepcopy(list(dataset.pipeline))
        if library == 'mmdet':
            inner = pack.get('pack', pack)  # of one that keeps T's size
            inner.meta_keys = tuple(
                dict.fromkeys([*inner.get('meta_keys', ()), *_DETECTION_KEYS])
            )
        flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
        cfg.tta_pipeline = [
            *before,
            dict(type='TestTimeAug', transforms=[flips, [pack]]),
        ]
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(
        **(cfg.get('tta_model') or _MODELS[library]), module=cfg.model
    )
