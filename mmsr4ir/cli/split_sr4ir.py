"""Split the checkpoint of an SR4IR into those of its two networks."""
import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from mmsr4ir.deployment.convert import (
    ConvertError,
    as_text,
    check_out,
    find_weights,
    plain,
    read_checkpoint,
    read_config,
    save_checkpoint,
    select,
)
from mmsr4ir.engine.runner import return_resize
from mmsr4ir.models.networks import set_num_classes
from mmsr4ir.utils.files import write_whole

from .arguments import add_weights_argument

# What testing and inference with the task library alone need of a config.
_KEPT = (
    'default_scope', 'data_preprocessor', 'env_cfg', 'default_hooks', 'log_processor',
    'log_level', 'vis_backends', 'visualizer', 'val_dataloader', 'val_evaluator',
    'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg', 'test_pipeline',
    'tta_model', 'tta_pipeline')
_TORCHVISION = 'mmsr4ir.Torchvision'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Split the checkpoint of an SR4IR into a plain checkpoint of its '
        'SR network and one of its task network, which mmagic and mmdet, mmseg or '
        'mmpretrain load alone. Give at least one of the outputs.',
        epilog='The task checkpoint keeps the class names, and its config where the '
        'checkpoint has one, so that DetInferencer(weights=FILE) needs no config file. '
        'Config and checkpoint are read without running code in them.')
    parser.add_argument('checkpoint', type=Path, help='checkpoint of an SR4IR')
    parser.add_argument('--sr', type=Path, metavar='OUT',
                        help='write the SR network here (.pth)')
    parser.add_argument('--task', type=Path, metavar='OUT',
                        help='write the task network here (.pth)')
    parser.add_argument(
        '--task-config', type=Path, metavar='OUT',
        help='write a config of the task network alone here, for testing and '
        'inference (.py)')
    parser.add_argument(
        '--sr-prefix', default='', metavar='PREFIX',
        help='put this before every name of the SR network: "generator." for the '
        'models of mmagic\'s own configs (default: the network alone)')
    add_weights_argument(parser)
    args = parser.parse_args(argv)
    if not (args.sr or args.task or args.task_config):
        parser.error('nothing to write: give --sr, --task or --task-config')
    return args


def task_config(config: dict) -> dict:
    """The config of the task network alone; its pipelines resize again."""
    config = return_resize(config)
    model = config['model']
    task = set_num_classes(model['task'], model.get('num_classes'))
    if 'data_preprocessor' in model:  # where the Runner puts mmpretrain's
        task.setdefault('data_preprocessor', model['data_preprocessor'])
    if (task.get('init_cfg') or {}).get('type') == 'Pretrained':
        del task['init_cfg']  # the checkpoint is in its place
    plain = {key: config[key] for key in _KEPT if key in config}
    imports = config.get('custom_imports') or {}
    others = [name for name in imports.get('imports', ())
              if name.split('.')[0] != 'mmsr4ir']
    if others:
        plain['custom_imports'] = dict(imports, imports=others)
    return dict(without_mmsr4ir(plain), model=task)


def without_mmsr4ir(node):
    """Leave out every part (hook, metric) that is of this package."""

    def stays(value) -> bool:
        return not (isinstance(value, dict)
                    and str(value.get('type')).startswith('mmsr4ir.'))

    if isinstance(node, dict):
        return {k: without_mmsr4ir(v) for k, v in node.items() if stays(v)}
    if isinstance(node, list | tuple):
        return type(node)(without_mmsr4ir(v) for v in node if stays(v))
    return node


def split(args: argparse.Namespace) -> None:
    """Write what the command line asks for, once it is known to be there.

    Raises:
        ConvertError: The checkpoint does not have it.
    """
    checkpoint = read_checkpoint(args.checkpoint)
    outputs = [path for path in (args.sr, args.task, args.task_config) if path]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ConvertError('two outputs have one name: give each its own')
    for path in outputs:
        check_out(path, args.checkpoint)
    state_dict = find_weights(checkpoint, args.weights)
    if not any(name.startswith('task.') for name in state_dict):
        raise ConvertError(
            'no checkpoint of an SR4IR, whose names begin with "sr." and "task."; its '
            f'names are {", ".join(list(state_dict)[:3])}, ...')
    sr, task = select(state_dict, 'sr.', args.sr_prefix), select(state_dict, 'task.')
    if args.sr and not sr:
        raise ConvertError('--sr: its SR network has no parameters (as '
                           'InterpolateUpsampler): there is nothing to write')
    meta = checkpoint.get('meta') or {}
    config = find_config(meta, needed=bool(args.task_config))
    meta = plain({k: v for k, v in meta.items() if k not in ('cfg', 'hook_msgs')})
    if config and str(config['model']['task']['type']).startswith(_TORCHVISION):
        if args.task_config:
            raise ConvertError(
                '--task-config: the task network is one of torchvision, which reads no '
                'config: build it there, and load the file of --task into it')
        text = None
    else:
        text = Config(task_config(config)).pretty_text if config else None
    if args.sr:
        save_checkpoint(dict(meta=meta, state_dict=sr), args.sr)
        print(f'{args.sr}: {len(sr)} tensors of the SR network')
        if config:
            print_sr(config['model'], args.sr)
    if args.task:
        cfg = dict(cfg=text) if text else {}
        save_checkpoint(dict(meta=meta | cfg, state_dict=task), args.task)
        print(f'{args.task}: {len(task)} tensors of the task network')
    if args.task_config:
        write_whole(args.task_config, text)
        print(f'{args.task_config}: config of the task network')


def find_config(meta: Mapping, needed: bool) -> dict | None:
    """The config of the SR4IR; None, with a warning, where there is none to read.

    Raises:
        ConvertError: There is none, and it is needed.
    """
    try:
        config = read_config(meta.get('cfg') or '')
        model = config.get('model') or {}
        if 'sr' not in model or 'task' not in model:
            raise ConvertError('it holds no config of an SR4IR')
    except ConvertError as error:
        if needed:
            raise ConvertError(f'--task-config: {error}') from error
        print(f'warning: {error}; the task checkpoint gets none', file=sys.stderr)
        return None
    return config


def print_sr(model: dict, path: Path) -> None:
    """Print the SR network's config, and the range of its images.

    Args:
        model: Config of the SR4IR.
        path: The file that was written; ``mmsr4ir.Spandrel`` can be built from it.
    """
    network = {k: v for k, v in model['sr'].items() if k not in ('init_cfg', '_scope_')}
    if 'checkpoint' in network:
        network['checkpoint'] = str(path)
    print(f'sr = {as_text(network)}\nIt works on images in [0, '
          f'{model.get("sr_range", 1):g}].')


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        split(args)
    except (ConvertError, OSError) as error:
        sys.exit(f'error: {args.checkpoint}: {error}')
