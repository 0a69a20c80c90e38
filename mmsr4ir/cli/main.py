"""The command ``mmsr4ir COMMAND ...``, which does what the scripts in tools/ do."""

import difflib
import importlib
import sys

from mmsr4ir.version import __version__

from .command import command

#: The module in :mod:`mmsr4ir.cli` and what it does, by the name of the command.
COMMANDS = {
    'train': ('train', 'train the networks of a config'),
    'test': ('test', 'test a checkpoint'),
    'compare': ('compare', 'train and test the methods of the paper and of later work'),
    'check': ('verify_dataset', 'check all data of a config or of a folder'),
    'browse': ('browse_dataset', 'show batches as the networks get them'),
    'predict': ('image_demo', 'restore images and recognise what is in them'),
    'predict-video': ('video_demo', 'the same for a video'),
    'web': ('web_demo', 'serve a page to drop an image on'),
    'demo': ('embedded_demo', 'train, test and draw on the embedded data'),
    'make-textured-shapes': ('make_textured_shapes', 'write the embedded data'),
    'make-lr-dataset': ('make_lr_dataset', 'write the LR images of a data set'),
    'prepare-coco': ('prepare_coco', 'check and split a COCO-style set'),
    'prepare-image-folder': ('prepare_image_folder', 'check and split class folders'),
    'prepare-cars': ('prepare_cars', 'crop and split Stanford Cars'),
    'voc2coco': ('voc2coco', 'convert VOC annotations to COCO JSON'),
    'run': ('run', 'run a tool of another package, such as mmdet::test.py'),
    'print-config': ('print_config', 'print a config with all that it inherits'),
    'flops': ('get_flops', 'count parameters and FLOPs'),
    'memory': ('estimate_memory', 'estimate the GPU memory of a training'),
    'benchmark-train': ('benchmark_train', 'time a training iteration'),
    'benchmark-inference': ('benchmark_inference', 'time a test'),
    'analyze-logs': ('analyze_logs', 'draw or sum up the logs of trainings'),
    'analyze-results': ('analyze_results', 'draw the best and the worst predictions'),
    'export': ('export_model', 'write the networks as ONNX or as a torch program'),
    'publish': ('publish_model', 'strip a checkpoint for release'),
    'split': ('split_sr4ir', 'write both networks as files of their own libraries'),
    'edsr2mmagic': ('edsr2mmagic', 'convert a file of the original EDSR'),
    'swinir2mmagic': ('swinir2mmagic', 'convert a file of the original SwinIR'),
    'published2mmsr4ir': ('published2mmsr4ir', "convert the paper's checkpoints"),
    'unfold-batch-norm': ('unfold_batch_norm', 'make folded batch norms trainable'),
    'check-env': ('check_env', 'list what is installed and what is wrong with it'),
}


@command
def main() -> None:
    """Run the command that the first argument names, with the rest as its own."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(usage())
        return
    name = sys.argv[1]
    if name == '--version':
        print(f'mmsr4ir {__version__}')
        return
    if name not in COMMANDS:
        print(f'error: {unknown(name)}', file=sys.stderr)
        sys.exit(2)  # as argparse does if an argument is wrong
    module, _ = COMMANDS[name]
    package = 'mmsr4ir' if name == 'check-env' else 'mmsr4ir.cli'
    sys.argv[:2] = [f'mmsr4ir {name}']
    sys.exit(importlib.import_module(f'{package}.{module}').main())


def usage() -> str:
    """Return the text of ``mmsr4ir --help``."""
    width = max(map(len, COMMANDS))
    return '\n'.join(
        [
            'usage: mmsr4ir COMMAND ...  (mmsr4ir COMMAND --help for its options)',
            '       mmsr4ir --version',
            '',
            *(f'  {name:{width}}  {text}' for name, (_, text) in COMMANDS.items()),
        ]
    )


def unknown(name: str) -> str:
    """Return a line that says there is no such command, with the nearest name."""
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f'did you mean {close[0]!r}?' if close else 'mmsr4ir --help lists them all'
    return f'there is no command {name!r}; {hint}'
