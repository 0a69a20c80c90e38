"""What is installed, what is wrong with it, and the command that mends it.

``python -m mmsr4ir.check_env`` prints a table and ends with exit code 1 where something
is wrong. It works with any package missing.
"""
import sys
from collections.abc import Mapping
from importlib import import_module, metadata

#: The versions that were tested together (``requirements/constraints.txt``).
TESTED = {
    'torch': '2.15.0',
    'torchvision': '0.29.2',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
    'mmagic': '1.2.0',
    'numpy': '1.26.4',
    'opencv-python': '4.11.0.86',
    'setuptools': '80.10.2',
    'diffusers': '0.24.0',
    'transformers': '4.40.2',
    'huggingface-hub': '0.23.5',
    'albumentations': '1.4.24',
}
# Upper bounds that a dependency of ours really has, with the reason.
_BELOW = {
    'mmcv': ('2.2.0', 'mmdet 3.3 and mmseg 1.2 refuse it'),
    'numpy': ('2', 'mmagic 1.2 uses np.bool8'),
    'setuptools': ('81', 'mmengine 0.10 imports pkg_resources'),
    'diffusers': ('0.25', 'mmagic 1.2 imports parts that later versions lack'),
    'transformers': ('4.41', 'diffusers 0.24 needs an older one'),
    'huggingface-hub': ('0.24', 'diffusers 0.24 needs an older one'),
}
# The modules that break where versions do not fit, though each is installed.
_IMPORTS = ('torchvision.ops', 'mmcv.ops', 'mmdet.models', 'mmagic.models')


def installed_versions() -> dict[str, str]:
    """Versions by package name, of what of ours is installed."""
    versions = {}
    for name in (*TESTED, 'mmcv'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def find_problems(versions: Mapping[str, str]) -> list[str]:
    """Judge a set of versions.

    Args:
        versions: Versions by package name.

    Returns:
        list[str]: One line for each problem, with the command that mends it.
    """
    problems = []
    for name, tested in TESTED.items():
        if name not in versions and not (name == 'mmcv-lite' and 'mmcv' in versions):
            problems.append(f'{name} is missing: pip install "{name}=={tested}"')
    if 'mmcv' in versions and 'mmcv-lite' in versions:
        problems.append(
            'mmcv and mmcv-lite are both installed and overwrite each other: '
            'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0')
    for name, (bound, reason) in _BELOW.items():
        if name in versions and _key(versions[name]) >= _key(bound):
            problems.append(
                f'{name} {versions[name]} is too new ({reason}): '
                f'pip install "{name}<{bound}"')
    return problems


def find_import_errors() -> list[str]:
    """Import what breaks first where packages do not fit together."""
    problems = []
    for name in _IMPORTS:
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is reported)
            first = (str(error).splitlines() or [''])[0]
            problems.append(
                f'import {name} fails with {type(error).__name__}: {first}: '
                'pip install -r requirements/mminstall.txt '
                '-c requirements/constraints.txt')
    return problems


def ops_backing() -> str:
    """What serves ``mmcv.ops``, see :func:`mmsr4ir.compat.mmcv_ops.backing`."""
    try:
        from mmsr4ir.compat.mmcv_ops import backing
    except ImportError:  # mmengine or torch is missing, which is reported by itself
        return 'none'
    return backing()


def gpu() -> str:
    """The GPUs that torch sees, in words."""
    try:
        import torch
    except ImportError:
        return 'unknown, torch is missing'
    if not torch.cuda.is_available():
        return 'none, the CPU is used'
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f'{", ".join(names)} (CUDA {torch.version.cuda})'


def _key(version: str) -> tuple[int, ...]:
    """Compare versions by their leading numbers, without any package's help."""
    numbers = []
    for part in version.split('+')[0].split('.'):
        digits = ''.join(c for c in part if c.isdigit())
        if not part[:1].isdigit():
            break
        numbers.append(int(digits))
    return tuple(numbers)


def main() -> int:
    """Print the report; return the exit code."""
    versions = installed_versions()
    print(f'{"":18}{"installed":16}tested')
    print(f'{"python":18}{sys.version.split()[0]:16}3.11')
    for name in (*TESTED, 'mmcv'):
        shown = versions.get(name, '-')
        print(f'{name:18}{shown:16}{TESTED.get(name, "")}')
    print(f'{"mmcv.ops":18}{ops_backing()}')
    print(f'{"GPU":18}{gpu()}')
    problems = find_problems(versions) + find_import_errors()
    print('\n'.join(f'problem: {problem}' for problem in problems) or 'all is well')
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
