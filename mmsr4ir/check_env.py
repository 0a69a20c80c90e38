"""What is installed, what is wrong with it, and the command that mends it.

``python -m mmsr4ir.check_env`` prints a table and ends with exit code 1 where something
is wrong. It works with any package missing or broken, so it imports none of them before
it is asked to, and then one by one.
"""
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module, metadata

from .version import __version__

#: The versions that were tested together (``requirements/constraints.txt``).
TESTED = {
    'torch': '2.15.0',
    'torchvision': '0.29.2',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
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
    'huggingface-hub': '0.25.2',
    'albumentations': '1.4.24',
    'ftfy': '6.3.1',
    'regex': '2026.11.15',
}
#: What differs on Python 3.10, for which newer versions are not made.
TESTED_ON_310 = {'torch': '2.14.1', 'regex': '2026.9.29'}
if sys.version_info < (3, 11):
    TESTED |= TESTED_ON_310

# From, and below which version, as the dependencies really need it, with the reason.
_BOUNDS = {
    'mmcv': ('2.0', '2.2', 'mmdet 3.3, mmseg 1.2 and mmagic 1.2 assert mmcv<2.2.0'),
    'mmcv-lite': ('2.0', '2.2', 'mmdet 3.3, mmseg 1.2 and mmagic 1.2 assert it'),
    'numpy': ('0', '2', 'mmagic 1.2 uses np.bool8'),
    'opencv-python': ('0', '4.12', 'later ones want numpy 2'),
    'setuptools': ('0', '81', 'mmengine 0.10 imports pkg_resources'),
    'diffusers': ('0.24', '0.25', 'mmagic 1.2 imports parts of it that only 0.24 has'),
    'transformers': ('0', '4.41', 'diffusers 0.24 needs an older one'),
    'huggingface-hub': ('0', '0.26', 'diffusers 0.24 imports cached_download'),
    'albumentations': ('0', '2', 'mmagic.datasets.transforms needs an older one'),
}
# Maintained forks with the same import names.
_FORKS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmdet': 'onedl-mmdetection',
    'mmsegmentation': 'onedl-mmsegmentation',
    'mmpretrain': 'onedl-mmpretrain',
}


_PIP = f'{sys.executable} -m pip'  # that of this interpreter, activated or not


def _install(*names: str) -> str:
    """The command that puts the tested versions in place."""
    return f'{_PIP} install ' + ' '.join(f'"{name}=={TESTED[name]}"' for name in names)


_USE_LITE = f'{_PIP} uninstall -y mmcv onedl-mmcv && {_install("mmcv-lite")}'
# The modules that break where packages are installed but do not fit together, each
# after those it needs, with what mends it.
_IMPORTS = {
    'numpy': _install('numpy'),
    # Without a display the plain one may lack libGL; the headless one replaces it.
    'cv2': f'{_PIP} install --force-reinstall --no-deps '
           f'"opencv-python-headless=={TESTED["opencv-python"]}"',
    'torch': _install('torch', 'torchvision'),
    'torchvision.ops': _install('torch', 'torchvision'),
    'mmengine.runner': _install('mmengine', 'setuptools'),
    'mmsr4ir.models': _install('torch', 'torchvision', 'mmengine', 'numpy'),
    'mmcv.ops': _USE_LITE,
    'mmdet.models': _install('mmdet', 'numpy'),
    'mmseg.models': _install('mmsegmentation', 'ftfy', 'regex'),
    'mmpretrain.models': _install('mmpretrain'),
    'mmagic.models': _install(
        'mmagic', 'numpy', 'diffusers', 'transformers', 'huggingface-hub'),
    'mmagic.datasets.transforms': _install('mmagic', 'albumentations'),
}


def installed_versions() -> dict[str, str]:
    """Versions by package name, of what of ours is installed; a fork by its origin."""
    versions = {}
    for name in TESTED:
        for candidate in (_FORKS.get(name, name), name):
            try:
                versions[name] = metadata.version(candidate)
            except metadata.PackageNotFoundError:
                continue
    return versions


def find_problems(versions: Mapping[str, str],
                  python: tuple[int, ...] = sys.version_info[:2]) -> list[str]:
    """Judge a set of versions.

    Args:
        versions: Versions by package name, as of :func:`installed_versions`.
        python: Version of the interpreter.

    Returns:
        list[str]: One line for each problem, with the command that mends it.
    """
    problems = []
    if not (3, 10) <= python < (3, 13):
        problems.append(
            f'Python {".".join(map(str, python))} is not between 3.10 and 3.12: '
            'make clean && make setup PYTHON=python3.11')
    for name in _missing(versions):
        label = 'mmcv (the full one or mmcv-lite)' if name == 'mmcv-lite' else name
        problems.append(f'{label} is missing: {_install(name)}')
    if versions.keys() >= {'mmcv', 'mmcv-lite'}:
        problems.append(
            'mmcv and mmcv-lite are both installed and overwrite each other: '
            f'{_PIP} uninstall -y mmcv-lite && {_PIP} install --force-reinstall '
            f'--no-deps "mmcv=={versions["mmcv"]}"')
    for name, (low, high, reason) in _BOUNDS.items():
        version = _key(versions.get(name, low))
        if not _key(low) <= version < _key(high):
            wrong = 'too old' if version < _key(low) else 'too new'
            mend = _USE_LITE if name == 'mmcv' else _install(name)
            problems.append(f'{name} {versions[name]} is {wrong} ({reason}): {mend}')
    return problems


def _missing(versions: Mapping[str, str]) -> list[str]:
    either = {'mmcv', 'mmcv-lite'}
    missing = [name for name in TESTED if name not in versions and name not in either]
    return missing if versions.keys() & either else [*missing, 'mmcv-lite']


def find_import_error(names: Iterable[str] = tuple(_IMPORTS)) -> str | None:
    """Import what breaks first where packages do not fit together.

    Args:
        names: Modules to import, each after those it needs.

    Returns:
        str | None: The first failure, with the command that mends it. Those after it
        may follow from it and are not tried.
    """
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # whatever it is, it is reported
            first = (str(error).splitlines() or [''])[0]
            return (f'import {name} fails ({type(error).__name__}: {first}): '
                    f'{_IMPORTS[name]}')
    return None


def ops_backing() -> str:
    """What serves ``mmcv.ops``, see :func:`mmsr4ir.compat.mmcv_ops.backing`."""
    try:
        return import_module('mmsr4ir.compat.mmcv_ops').backing()
    except Exception:  # a package is missing or broken, which is reported by itself
        return 'none'


def gpu() -> str:
    """The GPUs that torch sees, in words."""
    try:
        torch = import_module('torch')
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [torch.cuda.get_device_name(i) for i in range(count)]
    except Exception:  # a torch that is missing or broken is reported by itself
        return 'unknown, torch does not work'
    if not names:
        return 'none, the CPU is used'
    return f'{", ".join(names)} (CUDA {torch.version.cuda})'


def _key(version: str) -> tuple[int, ...]:
    """Compare versions by their leading numbers, without any package's help."""
    numbers = []
    for part in version.split('+')[0].split('.'):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def main() -> int:
    """Print the report; return the exit code."""
    warnings.simplefilter('ignore')
    # albumentations asks the network for a newer version when it is imported.
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
    versions = installed_versions()
    print(f'{"":18}{"installed":16}tested')
    print(f'{"python":18}{sys.version.split()[0]:16}3.11 (3.10 to 3.12 allowed)')
    print(f'{"mmsr4ir":18}{__version__}')
    for name, tested in TESTED.items():
        print(f'{name:18}{versions.get(name, "-"):16}{tested}')
    problems = find_problems(versions)
    # What is missing is named already; the imports would fail for that reason.
    error = None if _missing(versions) else find_import_error()
    print(f'{"mmcv.ops from":18}{ops_backing()}')
    print(f'{"GPU":18}{gpu()}')
    problems += [error] if error else []
    print('\n'.join(f'problem: {problem}' for problem in problems) or 'all is well')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
