"""The checkpoint of an SR4IR, split into those of its two networks."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmsr4ir.datasets.move_resize import return_resize
from mmsr4ir.models.networks import set_num_classes
from mmsr4ir.utils.configs import config_values
from mmsr4ir.utils.files import write_whole

from .convert import (
    ConvertError,
    as_text,
    check_out,
    find_weights,
    plain_values,
    read_checkpoint,
    save_checkpoint,
    select,
)

# What testing and inference with the task library alone need of a config.
_KEPT = (
    'default_scope',
    'data_preprocessor',
    'env_cfg',
    'default_hooks',
    'log_processor',
    'log_level',
    'vis_backends',
    'visualizer',
    'val_dataloader',
    'val_evaluator',
    'val_cfg',
    'test_dataloader',
    'test_evaluator',
    'test_cfg',
    'test_pipeline',
    'tta_model',
    'tta_pipeline',
)
_TORCHVISION = 'mmsr4ir.Torchvision'


def split(
    source: Path,
    sr: Path | None = None,
    task: Path | None = None,
    task_config: Path | None = None,
    sr_prefix: str = '',
    weights: str | None = None,
) -> list[str]:
    """Write each output that has a name, once everything is known to be there.

    Args:
        source: Checkpoint of an SR4IR.
        sr: File to write the SR network to.
        task: File to write the task network to.
        task_config: File to write the config of the task network alone to.
        sr_prefix: What to put before every name of the SR network.
        weights: ``'average'``, ``'last'`` or None, see :func:`.find_weights`.

    Returns:
        list[str]: What was written, in lines, with a warning if the checkpoint has no
        config.

    Raises:
        ConvertError: If the checkpoint cannot be read or lacks something, or if an
            output would overwrite the checkpoint or another output.
        OSError: If a file cannot be written.
    """
    checkpoint = read_checkpoint(source)
    outputs = [path for path in (sr, task, task_config) if path]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ConvertError('two outputs have one name: give each its own')
    for path in outputs:
        check_out(path, source)
    state_dict = find_weights(checkpoint, weights)
    if not any(name.startswith('task.') for name in state_dict):
        raise ConvertError(
            'no checkpoint of an SR4IR, whose names begin with "sr." and "task."; its '
            f'names are {", ".join(list(state_dict)[:3])}, ...'
        )
    sr_weights, task_weights = (
        select(state_dict, 'sr.', sr_prefix),
        select(state_dict, 'task.'),
    )
    if sr and not sr_weights:
        raise ConvertError(
            '--sr: its SR network has no parameters (as '
            'InterpolateUpsampler): there is nothing to write'
        )
    meta = checkpoint.get('meta') or {}
    config, report = None, []
    try:
        config = find_config(meta)
    except ValueError as error:
        if task_config:
            raise ConvertError(f'--task-config: {error}') from error
        report.append(f'warning: {error}; the task checkpoint gets none')
    text = None
    if config and str(config['model']['task']['type']).startswith(_TORCHVISION):
        if task_config:
            raise ConvertError(
                '--task-config: the task network is one of torchvision, which reads no '
                'config: build it there, and load the file of --task into it'
            )
    elif config:
        text = Config(config_of_task(config)).pretty_text
    meta = plain_values(
        {k: v for k, v in meta.items() if k not in ('cfg', 'hook_msgs')}
    )
    if sr:
        save_checkpoint(dict(meta=meta, state_dict=sr_weights), sr)
        report.append(f'{sr}: {len(sr_weights)} tensors of the SR network')
        if config:
            report.append(sr_text(config['model'], sr))
    if task:
        cfg = dict(cfg=text) if text else {}
        save_checkpoint(dict(meta=meta | cfg, state_dict=task_weights), task)
        report.append(f'{task}: {len(task_weights)} tensors of the task network')
    if task_config:
        assert text is not None  # else an error above
        write_whole(task_config, text)
        report.append(f'{task_config}: config of the task network')
    return report


def find_config(meta: Mapping) -> dict:
    """Return the config of the SR4IR, read as data.

    Raises:
        ConvertError: If the checkpoint has no config of an SR4IR.
        ConfigError: If its config holds more than values.
    """
    config = config_values(meta.get('cfg') or '')
    model = config.get('model') or {}
    if 'sr' not in model or 'task' not in model:
        raise ConvertError('it holds no config of an SR4IR')
    return config


def config_of_task(config: dict) -> dict:
    """Return the config of the task network alone; its pipelines resize again."""
    config = return_resize(config)
    model = config['model']
    task = set_num_classes(model['task'], model.get('num_classes'))
    if 'data_preprocessor' in model:  # where the Runner puts mmpretrain's
        task.setdefault('data_preprocessor', model['data_preprocessor'])
    if (task.get('init_cfg') or {}).get('type') == 'Pretrained':
        del task['init_cfg']  # the checkpoint is in its place
    plain = {key: config[key] for key in _KEPT if key in config}
    imports = config.get('custom_imports') or {}
    others = [
        name for name in imports.get('imports', ()) if name.split('.')[0] != 'mmsr4ir'
    ]
    if others:
        plain['custom_imports'] = dict(imports, imports=others)
    if str((plain.get('test_cfg') or {}).get('type')).startswith('mmsr4ir.'):
        plain['test_cfg'] = dict(type='TestLoop')  # of a test on LR images
    plain = without_mmsr4ir(plain)
    for split in ('val', 'test'):
        parts = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        if not all(plain.get(part) is not None for part in parts):
            for part in parts:  # MMEngine takes all three or none
                plain.pop(part, None)
    return dict(plain, model=task)


def without_mmsr4ir(node):
    """Leave out every part (hook, metric) that is of this package."""

    def stays(value) -> bool:
        return not (
            isinstance(value, dict) and str(value.get('type')).startswith('mmsr4ir.')
        )

    if isinstance(node, dict):
        return {k: without_mmsr4ir(v) for k, v in node.items() if stays(v)}
    if isinstance(node, list | tuple):
        return type(node)(without_mmsr4ir(v) for v in node if stays(v))
    return node


def sr_text(model: dict, path: Path) -> str:
    """Return the SR network's config as text, with the range of its images.

    Args:
        model: Config of the SR4IR.
        path: The file that was written; ``mmsr4ir.Spandrel`` can be built from it.
    """
    network = {k: v for k, v in model['sr'].items() if k not in ('init_cfg', '_scope_')}
    if 'checkpoint' in network:
        network['checkpoint'] = str(path)
    return (
        f'sr = {as_text(network)}\nIt works on images in [0, '
        f'{model.get("sr_range", 1):g}].'
    )
