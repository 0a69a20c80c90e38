"""Run a script of another package, such as a tool of mmdet, on configs of this one.

OpenMMLab's tools read ``custom_imports`` of a config after their own imports, some of
which need what this package prepares (``mmcv.ops`` with mmcv-lite, for one). Here the
package is imported first. Some tools read checkpoints by ``torch.load``, which refuses
those of MMEngine: here it knows the few classes that MMEngine writes.
"""

import argparse
import runpy
import sys
from pathlib import Path

from torch.serialization import safe_globals

from mmsr4ir.compat.checkpoint import allowed_globals
from mmsr4ir.compat.config_packages import installed_path
from mmsr4ir.utils.errors import ConfigError

from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        prog='mmsr4ir run',
        description=__doc__.splitlines()[0],
        epilog='In several processes: python -m torch.distributed.run '
        '--nproc-per-node 2 -m mmsr4ir run mmdet::train.py CONFIG --launcher pytorch',
    )
    parser.add_argument(
        'tool',
        help='script: a path, or <package>::<path within its folder tools>, '
        'such as mmdet::test.py or mmseg::analysis_tools/get_flops.py',
    )
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments of the script'
    )
    return parser.parse_args()


def find_tool(name: str) -> Path:
    """Return the path of a script.

    Args:
        name: A path, or ``<package>::<path within its folder tools>``.

    Raises:
        ConfigError: If there is no such script or package.
    """
    package, separator, inner = name.rpartition('::')
    if not separator:
        path = Path(name)
    else:
        try:
            path = Path(installed_path(package)) / '.mim' / 'tools' / inner
        except RuntimeError as error:
            raise ConfigError(f'{name}: {error}') from error
    if not path.is_file():
        raise ConfigError(f'there is no script {path}')
    return path


@command
def main() -> None:
    """Run the script in this process."""
    args = parse_args()
    path = find_tool(args.tool)
    sys.argv = [str(path), *args.arguments]
    sys.path.insert(0, str(path.parent))
    with safe_globals(allowed_globals()):
        runpy.run_path(str(path), run_name='__main__')
