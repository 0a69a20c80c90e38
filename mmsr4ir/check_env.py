"""What is installed, what is wrong with it, and the command that fixes it.

``python -m mmsr4ir.check_env`` prints a table and ends with exit code 1 where something
is wrong. It works with any package missing or broken, so it imports none of them before
it is asked to, and then one by one.
"""

import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module, metadata

from .version import __version__

# What was tested together (``requirements/constraints.txt``), and what differs on the
# Pythons for which newer versions are not made.
_TESTED = {
    'torch': '2.15.0',
    'torchvision': '0.29.2',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
    'mmagic': '1.2.0',
    'numpy': '2.5.5',
    'opencv-python': '5.0.0.93',
    'pillow': '13.0.0',
    'requests': '2.34.2',
    'ftfy': '6.3.1',
    'regex': '2026.11.19',
}
_TESTED_ON: dict[tuple[int, ...], dict[str, str]] = {
    (3, 10): {
        'torch': '2.14.1',
        'numpy': '2.2.6',
        'pillow': '12.3.0',
        'regex': '2026.9.29',
    },
    (3, 11): {'numpy': '2.4.6'},
}


def tested(python: tuple[int, ...] = sys.version_info[:2]) -> dict[str, str]:
    """Return the versions that were tested together on a Python, by package name."""
    return _TESTED | _TESTED_ON.get(python, {})


#: Those of this Python.
TESTED = tested()

# From, and below which version (None: any), with the reason.
_BOUNDS = {
    'torch': ('2.6', None, 'older ones run code that is hidden in a checkpoint'),
    'mmcv': ('2.0', '2.2', 'mmdet 3.3 and mmseg 1.2 assert mmcv<2.2.0'),
    'mmcv-lite': ('2.0', '2.2', 'mmdet 3.3 and mmseg 1.2 assert it'),
    'opencv-python': (
        '4.12',
        None,
        'a crafted JPEG makes older ones write outside their memory, CVE-2025-53644',
    ),
    'pillow': (
        '13',
        None,
        'CVE-2026-96641 and others; Gradio works with it, whatever it asks for',
    ),
}
# pip cannot install these as dependencies. mmagic declares packages for parts that are
# not used here; to ask for mmcv-lite would replace a full mmcv, whose name it shares.
_APART = ('mmagic', 'mmcv-lite')
# These neither, beside Gradio (requirements/apart.txt).
_WITHOUT_DEPENDENCIES = (*_APART, 'pillow')
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
    """Return the command that installs the tested versions."""
    alone = set(names) <= set(_WITHOUT_DEPENDENCIES)
    return f'{_PIP} install {"--no-deps " if alone else ""}' + ' '.join(
        f'"{name}=={TESTED[name]}"' for name in names
    )


_USE_LITE = f'{_PIP} uninstall -y mmcv onedl-mmcv && {_install("mmcv-lite")}'
# The modules that break where packages are installed but do not fit together, each
# after those it needs, with the command that fixes it.
_IMPORTS = {
    'numpy': _install('numpy'),
    # Without a display the plain one may lack libGL; the headless one replaces it.
    'cv2': f'{_PIP} install --force-reinstall --no-deps '
    f'"opencv-python-headless=={TESTED["opencv-python"]}"',
    'torch': _install('torch', 'torchvision'),
    'torchvision.ops': _install('torch', 'torchvision'),
    'mmengine.runner': _install('mmengine'),
    'mmsr4ir.models': _install('torch', 'torchvision', 'mmengine', 'numpy'),
    'mmcv.ops': _USE_LITE,
    'mmdet.models': _install('mmdet', 'numpy'),
    'mmseg.models': _install('mmsegmentation', 'ftfy', 'regex'),
    'mmpretrain.models': _install('mmpretrain'),
    'mmagic.models.editors.edsr.edsr_net': _install('mmagic'),
    'mmagic.evaluation.metrics.niqe': _install('mmagic'),
}


def _version(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def installed_versions() -> dict[str, str]:
    """Return the versions of what is installed, by package name; a fork by its origin.

    ``onedl-mmcv``, which other versions of mmdet and mmseg take, also has its own name.
    """
    found = {
        name: _version(name) or _version(_FORKS.get(name, name)) for name in TESTED
    }
    found['onedl-mmcv'] = _version('onedl-mmcv')
    return {name: version for name, version in found.items() if version}


def line_of_packages() -> str:
    """Return whose OpenMMLab packages are installed, in words."""
    forks = [name for name in _FORKS.values() if _version(name)]
    return f'maintained forks: {", ".join(forks)}' if forks else "OpenMMLab's own"


def find_problems(
    versions: Mapping[str, str], python: tuple[int, ...] = sys.version_info[:2]
) -> list[str]:
    """Judge a set of versions.

    Args:
        versions: Versions by package name, as of :func:`installed_versions`.
        python: Version of the interpreter.

    Returns:
        list[str]: One line for each problem, with the command that fixes it.
    """
    problems = []
    if python < (3, 10):
        problems.append(
            f'Python {".".join(map(str, python))} is older than 3.10: '
            'make clean && make setup PYTHON=python3.11'
        )
    missing = _missing(versions)
    problems += [
        f'{name} is missing: {_install(name)}' for name in missing if name not in _APART
    ]
    apart = [name for name in _APART if name in missing]
    if apart:
        labels = {'mmcv-lite': 'mmcv (the full one or mmcv-lite)'}
        problems.append(
            f'{" and ".join(labels.get(name, name) for name in apart)} '
            f'{"is" if len(apart) == 1 else "are"} missing, which pip cannot install '
            f'as a dependency: {_install(*apart)}'
        )
    if versions.keys() >= {'mmcv', 'mmcv-lite'}:
        problems.append(
            'mmcv and mmcv-lite are both installed and overwrite each other: '
            f'{_PIP} uninstall -y mmcv-lite && {_PIP} install --force-reinstall '
            f'--no-deps "mmcv=={versions["mmcv"]}"'
        )
    for name, (low, high, reason) in _BOUNDS.items():
        if name == 'pillow' and python < (3, 11):
            continue  # for which there is no newer one
        if name == 'mmcv' and 'onedl-mmcv' in versions:
            continue  # the other forks take it
        version = _key(versions.get(name, low))
        too_old = version < _key(low)
        if too_old or high and version >= _key(high):
            wrong = 'too old' if too_old else 'too new'
            fix = _USE_LITE if name == 'mmcv' else _install(name)
            problems.append(f'{name} {versions[name]} is {wrong} ({reason}): {fix}')
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
        str | None: The first failure, with the command that fixes it. Those after it
        may follow from it and are not tried.
    """
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # whatever it is, it is reported
            first = (str(error).splitlines() or [''])[0]
            return (
                f'import {name} fails ({type(error).__name__}: {first}): '
                f'{_IMPORTS[name]}'
            )
    return None


def ops_backing() -> str:
    """Return what serves ``mmcv.ops``, see :mod:`mmsr4ir.compat.mmcv_ops`."""
    try:
        return import_module('mmsr4ir.compat.mmcv_ops').backing()
    except Exception:  # a package is missing or broken, which is reported by itself
        return 'none'


def gpu() -> str:
    """Name the GPUs that torch sees."""
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
    versions = installed_versions()
    print(f'{"":18}{"installed":16}tested')
    print(f'{"python":18}{sys.version.split()[0]:16}3.10 to 3.14')
    print(f'{"mmsr4ir":18}{__version__}')
    for name, version in TESTED.items():
        print(f'{name:18}{versions.get(name, "-"):16}{version}')
    problems = find_problems(versions)
    # What is missing is named already; the imports would fail for that reason.
    error = None if _missing(versions) else find_import_error()
    print(f'{"packages":18}{line_of_packages()}')
    print(f'{"mmcv.ops from":18}{ops_backing()}')
    print(f'{"GPU":18}{gpu()}')
    problems += [error] if error else []
    print('\n'.join(f'problem: {problem}' for problem in problems) or 'all is well')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
