"""Train and validate one config of a model zoo under SR4IR, on two small images.

The config is a user's: that of the zoo as a base, with the settings that
configs/_base_/sr4ir_{det,seg,cls}.py share. Data sets are replaced, weights are random,
and sizes are smaller (:func:`shrink`).
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from zoo_families import ANY_SIZE
from zoo_networks import SMALL_SR

import mmsr4ir  # noqa: F401  (prepares mmcv.ops before anything asks for it)
from mmsr4ir.cli.runs import check_before_run
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.utils.configs import as_list, type_name

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_'
BASES = dict(mmdet='sr4ir_det.py', mmseg='sr4ir_seg.py', mmpretrain='sr4ir_cls.py')
#: CPU time in seconds, and memory in bytes, of one trial.
CPU_LIMIT, MEMORY_LIMIT = 180, 8 * 2**30
#: The longest edge in pixels that sizes of pipelines are scaled to.
EDGES = dict(mmdet=160, mmseg=64, mmpretrain=128)
#: At most so many sampled and kept boxes of an image; the heads run on each of them.
LIMITS = dict(num=32, max_per_img=100, nms_pre=200)
# Names of sizes, and the least value in pixels that is scaled.
_SIZES = dict.fromkeys(
    (
        'scale scales img_scale crop_size size pad_size random_size_range image_size '
        'input_size stride img_size'
    ).split(),
    64,
)
_SIZES['size_divisor'] = 512


def zoo_folder(library: str) -> Path:
    """Return the folder of configs that a library is installed with."""
    spec = find_spec(library)
    assert spec and spec.origin, library
    return Path(spec.origin).parent / '.mim' / 'configs'


class Moved(Hook):
    """Remember parameters, to see whether a training changed them."""

    def before_train(self, runner) -> None:
        """Copy the trainable parameters, those of the first 64 layers."""
        self.before = {
            part: {
                name: p.detach().clone()
                for name, p in list(getattr(runner.model, part).named_parameters())
                if p.requires_grad and p.numel() < 1e6
            }
            for part in ('sr', 'task')
        }

    def unmoved(self, runner) -> list[str]:
        """Name the networks that are as they were."""
        return [
            part
            for part, before in self.before.items()
            if all(
                torch.equal(before[name], p)
                for name, p in getattr(runner.model, part).named_parameters()
                if name in before
            )
        ]


def trial(
    library: str, family: str, name: str, settings: dict, data: Path, work: Path
) -> dict:
    """Train for one iteration and validate.

    Args:
        library: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``.
        family: The folder of the config.
        name: The config without ``.py``.
        settings: Extra lines of the config, as of ``--cfg-options``. The key ``edge``
            is that of :func:`shrink`.
        data: What :func:`zoo_data.make_data` wrote.
        work: Work directory of the training.

    Returns:
        dict: ``losses``: pixel, TDP and task; ``edge``: the longest edge of the HR
        images in pixels.

    Raises:
        AssertionError: If a network did not move or was not validated.
    """
    cfg = trial_config(library, f'{family}/{name}.py', settings, data)
    cfg.work_dir = str(work)
    # MMEngine lays out the text of a config three times, most of a trial's time.
    Config.pretty_text = property(
        lambda cfg: '\n'.join(f'{name} = {value!r}' for name, value in cfg.items())
    )
    set_random_seed(0)
    if library == 'mmdet':  # the others' sets lack most classes, which is refused
        check_before_run(cfg, ('train', 'val'))
    runner = SR4IRRunner.from_cfg(cfg)
    moved = Moved()
    runner.register_hook(moved)
    runner.train()
    assert not (parts := moved.unmoved(runner)), f'{parts} did not move'
    scalars = runner.message_hub.log_scalars
    found = [scalar for scalar in scalars if scalar.startswith('val/')]
    assert any('PSNR' in one for one in found), f'validation gave {found}'
    losses = {
        key: scalars[f'train/{key}'].current()
        for key in ('sr/loss_pixel', 'sr/loss_tdp', 'task/loss')
    }
    assert all(np.isfinite(value) for value in losses.values()), losses
    return dict(losses=losses)


def trial_config(library: str, path: str, settings: dict, data: Path) -> Config:
    """Return the whole config of a training of one iteration.

    Args:
        library: As in :func:`trial`.
        path: ``'<family>/<config>.py'``.
        settings: As in :func:`trial`.
        data: As in :func:`trial`.
    """
    settings = dict(settings)
    edge = settings.pop('edge', EDGES[library])
    if library == 'mmpretrain' and Path(path).parts[0] not in ANY_SIZE:
        edge = None
    cfg = Config.fromfile(zoo_folder(library) / path)
    cfg.setdefault('val_cfg', {})  # mmpretrain's ResNeSt has none
    base = Config.fromfile(CONFIGS / BASES[library])
    task = cfg.model.to_dict()
    without_weights(task)
    limit(task)
    if str(task.get('teacher_config')).startswith('configs/'):  # of a checkout
        path = zoo_folder(library).parent / task['teacher_config']
        task['teacher_config'] = str(path)
    shrink((task, cfg.get('data_preprocessor'), *_pipelines(cfg)), edge)
    _replace_data(cfg, library, data, task)
    cfg.model = dict(
        base.sr4ir_model,
        sr=SMALL_SR,
        task=task,
        recipe=Config.fromfile(CONFIGS / 'recipes' / 'sr4ir.py').recipe,
    )
    cfg.model.patch_mix.update(grid=4, p=1.0)
    wrapper = dict(cfg.optim_wrapper)
    if wrapper.get('type') == 'AmpOptimWrapper':  # float16 is slow on a CPU
        wrapper = {k: v for k, v in wrapper.items() if k not in ('dtype', 'loss_scale')}
        wrapper['type'] = 'OptimWrapper'
    cfg.optim_wrapper = dict(base.sr4ir_optim, task=wrapper)
    schedule = dict(type='CosineAnnealingLR', by_epoch=False, end=9, T_max=9)
    schedules = as_list(cfg.get('param_scheduler')) or [schedule]
    for one in schedules:  # by default they end with the training
        one.setdefault('end', one.get('begin', 0) + 9)
    cfg.param_scheduler = dict(task=schedules, sr=[schedule])
    _shorten(cfg, base, library)
    cfg.merge_from_dict(settings)
    return cfg


def _shorten(cfg: Config, base: Config, library: str) -> None:
    """Let the loops of a config run for one iteration, without checkpoints."""
    train = cfg.train_cfg
    if train.get('by_epoch', True) and 'Iter' not in type_name(train):
        train.update(max_epochs=1, val_interval=1, val_begin=1)
        cfg.log_processor = dict(base.sr4ir_log_processor, by_epoch=True)
    else:
        train.update(max_iters=1, val_interval=1, val_begin=1)
        cfg.log_processor = dict(base.sr4ir_log_processor, by_epoch=False)
    train.pop('dynamic_intervals', None)
    hooks = dict(cfg.get('default_hooks') or {}, **base.sr4ir_hooks)
    hooks['alternate'] = dict(hooks['alternate'], warmup=0)
    hooks['picture_grid'] = dict(hooks['picture_grid'], val_images=1)
    hooks['checkpoint'] = dict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.default_hooks = hooks
    cfg.load_from = None
    # An error shows at once; the loaders' processes would hide where it comes from.
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
        # mmseg predicts no batch of images whose sizes differ.
        loader.batch_size = 1 if split == 'val' and library != 'mmpretrain' else 2
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.launcher = 'none'


def without_weights(node: object) -> None:
    """Take every file of weights out of a config, in place."""
    for name, value in list(_items(node)):
        if isinstance(value, dict) and (
            value.get('type') == 'Pretrained'
            or (name == 'init_cfg' and 'checkpoint' in value)
        ):
            node[name] = None
        elif name in ('pretrained', 'teacher_ckpt', 'checkpoint'):
            node[name] = False if value is True else None
        else:
            without_weights(value)


def limit(node: object) -> None:
    """Lower the numbers of boxes in a config to :data:`LIMITS`, in place."""
    for name, value in list(_items(node)):
        if name in LIMITS and isinstance(value, int):
            node[name] = min(value, LIMITS[name])
        else:
            limit(value)


def shrink(parts: Sequence, edge: int | None) -> None:
    """Scale the sizes in parts of a config, in place, if they are larger than an edge.

    Args:
        parts: Pipelines, preprocessors and networks.
        edge: The longest crop in pixels afterwards, or the longest size where nothing
            is cropped; None to leave sizes as they are.
    """
    if edge is None:
        return
    sized = [one for part in parts for one in _sized(part)]
    longest = {name: 0 for _, name, _ in sized}
    for _, name, value in sized:
        longest[name] = max(longest[name], *_numbers(value))
    largest = longest.get('crop_size') or max(longest.values(), default=0)
    if largest > edge:
        for owner, name, value in sized:
            owner[name] = _scaled(value, edge / largest)


def _sized(node: object) -> Iterator[tuple]:
    for name, value in _items(node):
        numbers = _numbers(value)
        # A divisor is a size if SAN pads to a square with it, and else a stride.
        smallest = _SIZES.get(name)
        if smallest and numbers and max(numbers) >= smallest:
            yield node, name, value
        else:
            yield from _sized(value)


def _numbers(value: object) -> list[int]:
    """Return the whole numbers of a size, or of a list of sizes; else none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, list | tuple):
        parts = [_numbers(one) for one in value]
        return sum(parts, []) if all(parts) else []
    return []


def _scaled(value: object, factor: float) -> object:
    if isinstance(value, int):
        return max(32, round(value * factor / 32) * 32) if value >= 64 else value
    return type(value)(_scaled(one, factor) for one in value)


def _items(node: object) -> Iterator[tuple]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _datasets(node: object) -> Iterator[ConfigDict]:
    """Yield the innermost data sets of a dataloader, and those with a pipeline."""
    if isinstance(node, dict):
        if str(node.get('type')).endswith('RepeatDataset'):
            node['times'] = 1
        inner = [*(node.get('datasets') or ()), node.get('dataset')]
        for one in filter(None, inner):
            yield from _datasets(one)
        if not any(inner):
            yield node


def _pipelines(cfg: Config) -> Iterator[list]:
    def walk(node: object) -> Iterator[list]:
        for name, value in _items(node):
            if name == 'pipeline':
                yield value
            else:
                yield from walk(value)

    for split in ('train', 'val'):
        yield from walk(cfg[f'{split}_dataloader'])


def _replace_data(cfg: Config, library: str, data: Path, task: dict) -> None:
    """Put the small data sets into a config's loaders and metrics."""
    init_default_scope(library)
    for split in ('train', 'val'):
        for dataset in list(_datasets(cfg[f'{split}_dataloader'].dataset)):
            kept = {
                key: dataset[key]
                for key in ('pipeline', '_scope_', 'filter_cfg', 'return_classes')
                if key in dataset
            }
            new = dict(
                mmdet=_detection_set, mmseg=_segmentation_set, mmpretrain=_class_set
            )[library](dataset, data, task)
            dataset.clear()
            dataset.update(kept | new)
            if not any('Load' in type_name(one) for one in dataset.pipeline):  # MNIST
                load = dict(type='LoadImageFromFile', color_type='grayscale')
                dataset.pipeline.insert(0, load)
    metrics = as_list(cfg.val_evaluator)
    if library == 'mmdet':
        metrics = [_detection_metric(one, cfg, data) for one in metrics]
    sr_metric = dict(type='mmsr4ir.SRQuality', crop_border=8)
    cfg.val_evaluator = [*metrics, sr_metric]


def _detection_set(dataset: dict, data: Path, task: dict) -> dict:
    root = data / 'det'
    prefix = dict(img='img')
    kind = type_name(dataset)
    new = dict(type='CocoDataset', ann_file='boxes.json')
    if kind == 'CocoPanopticDataset':
        prefix['seg'] = 'parts'
        new = dict(type=kind, ann_file='segments.json')
    elif 'seg' in (dataset.get('data_prefix') or {}):
        prefix['seg'] = 'stuff'
    if kind == 'CrowdHumanDataset':
        new.update(ann_file='person.json', metainfo=dict(classes=('person',)))
    if dataset.get('proposal_file'):
        new['proposal_file'] = 'proposals.pkl'
    return dict(new, data_root=f'{root}/', data_prefix=prefix)


def _segmentation_set(dataset: dict, data: Path, task: dict) -> dict:
    classes = tuple(str(i) for i in range(_num_classes(task)))
    palette = [[i, 255 - i, i] for i in range(len(classes))]
    reduce_zero = any(one.get('reduce_zero_label') for one in dataset['pipeline'])
    return dict(
        type='BaseSegDataset',
        reduce_zero_label=reduce_zero,
        data_root=f'{data / "seg"}/',
        data_prefix=dict(img_path='img', seg_map_path='labels'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=dict(classes=classes, palette=palette),
    )


def _num_classes(task: dict) -> int:
    """Return the classes of the last head that names them; K-Net's are nested."""
    found = []

    def walk(node: object) -> None:
        for name, value in _items(node):
            if name == 'num_classes':
                found.append(value)
            walk(value)

    walk(as_list(task['decode_head']))
    return found[-1]


def _class_set(dataset: dict, data: Path, task: dict) -> dict:
    root = f'{data / "cls"}/'
    if type_name(dataset) == 'VOC':
        return dict(
            type='MultiLabelDataset', data_root=root, ann_file='several_labels.json'
        )
    return dict(type='CustomDataset', data_root=root)


def _detection_metric(metric: dict, cfg: Config, data: Path) -> dict:
    root = data / 'det'
    kind = type_name(metric)
    if kind == 'CocoPanopticMetric':
        return dict(
            metric, ann_file=f'{root}/segments.json', seg_prefix=f'{root}/parts'
        )
    if kind == 'CrowdHumanMetric':
        return dict(metric, ann_file=f'{root}/person.odgt', metric=['AP', 'MR'])
    if kind != 'CocoMetric':
        metric = dict(type='CocoMetric', metric='bbox')
    return dict(metric, ann_file=f'{root}/boxes.json')
