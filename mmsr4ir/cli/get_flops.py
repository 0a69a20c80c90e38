"""Count parameters and FLOPs of the SR network, the task network and both."""
import argparse
import json
import math
import sys
from pathlib import Path

from mmsr4ir.analysis.complexity import count, network_inputs, sample_image
from mmsr4ir.engine.build import build_model
from mmsr4ir.utils.files import write_whole

from .arguments import ConfigOptions, merge_options, read_config

_TITLES = dict(sr='S', task='T', sum='sum')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='One multiply-add is one FLOP. Biases, activations '
        'and other work on single elements, softmax, RoIAlign and NMS are not counted. '
        'A network that cannot be counted shows "nan" and a warning with the reason; '
        'the exit code is 1 then.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape', type=int, nargs='+', metavar='PIXELS',
        help='height and width of the HR image, or one number for both (default: the '
        'first image of the test data)')
    parser.add_argument(
        '--out', type=Path, metavar='FILE.json', help='write the numbers too')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
        help='override settings of the config, as in tools/train.py')
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes one or two numbers')
    return args


def short(number: float) -> str:
    """A number with three digits and K, M or G."""
    for factor, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' K')):
        if abs(number) >= factor:
            return f'{number / factor:.3f}{unit}'
    return f'{number:.0f}'


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    shape = (args.shape * 2)[:2] if args.shape else None
    try:
        model = build_model(cfg)
        inputs = network_inputs(model, *sample_image(cfg, model, shape))
    except ValueError as error:
        sys.exit(f'error: {error}')
    counts = count(model, *inputs)
    for name, image in (('LR image', inputs[0]), ("T's input", inputs[1])):
        print(f'{name}: {image.shape[-2]} x {image.shape[-1]} pixels, with padding')
    print(f'{"network":10}{"parameters":>14}{"FLOPs":>14}')
    for key, title in _TITLES.items():
        print(f'{title:10}{short(counts[key]["params"]):>14}'
              f'{short(counts[key]["flops"]):>14}')
    if args.out:
        shapes = dict(lr=list(inputs[0].shape[-2:]), task=list(inputs[1].shape[-2:]))
        try:
            write_whole(args.out, json.dumps(dict(counts, pixels=shapes), indent=1))
        except OSError as error:
            sys.exit(f'error: {error}')
    sys.exit(math.isnan(counts['sum']['flops']))
