"""``python -m mmsr4ir.check_env``: what it says of sets of versions, and as a command.

The versions are given to it; what is installed here is looked at only in the last two
tests.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmsr4ir import check_env

ROOT = Path(__file__).parents[1]
GOOD = {name: version for name, version in check_env.TESTED.items() if name != 'mmcv'}


def test_the_tested_set_is_fine():
    assert check_env.find_problems(GOOD) == []


def test_the_full_mmcv_in_place_of_mmcv_lite_is_fine():
    versions = {k: v for k, v in GOOD.items() if k != 'mmcv-lite'} | {'mmcv': '2.1.0'}
    assert check_env.find_problems(versions) == []


@pytest.mark.parametrize('minor', range(10, 15))
def test_tested_versions_are_those_of_the_constraints(minor):
    lines = (ROOT / 'requirements/constraints.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith('#')]
    pinned = {
        pin.name: str(pin.specifier).removeprefix('==')
        for pin in pins
        if not pin.marker
        or pin.marker.evaluate(
            dict(python_full_version=f'3.{minor}.0', python_version=f'3.{minor}')
        )
    }
    assert check_env.tested((3, minor)).items() - {('mmcv', '2.1.0')} <= pinned.items()


@pytest.mark.parametrize(
    'name', [name for name in GOOD if name not in ('mmcv-lite', 'mmagic', 'pillow')]
)
def test_each_missing_package_is_named_with_its_fix(name):
    versions = {k: v for k, v in GOOD.items() if k != name}
    (problem,) = check_env.find_problems(versions)
    assert problem.startswith(f'{name} is missing: ')
    assert problem.endswith(f'-m pip install "{name}=={GOOD[name]}"')


def test_what_pip_cannot_install_as_a_dependency_is_one_command():
    """That is all that is missing after `pip install .`."""
    versions = {k: v for k, v in GOOD.items() if k not in ('mmcv-lite', 'mmagic')}
    (problem,) = check_env.find_problems(versions)
    assert problem.startswith('mmagic and mmcv (the full one or mmcv-lite) are missing')
    assert problem.endswith(
        '-m pip install --no-deps "mmagic==1.2.0" "mmcv-lite==2.1.0"'
    )


@pytest.mark.parametrize(
    'wrong, starts, fix',
    [
        (
            {'mmcv-lite': None},
            'mmcv (the full one or mmcv-lite) is missing',
            'install --no-deps "mmcv-lite==2.1.0"',
        ),
        ({'mmagic': None}, 'mmagic is missing', 'install --no-deps "mmagic==1.2.0"'),
        ({'torch': '2.5.1'}, 'torch 2.5.1 is too old (older ones run code', '"torch=='),
        (
            {'opencv-python': '4.11.0.86'},
            'opencv-python 4.11.0.86 is too old (a crafted',
            'CVE-2025-53644',
        ),
        *(
            [({'pillow': '12.3.0'}, 'pillow 12.3.0 is too old', '--no-deps "pillow==')]
            if sys.version_info >= (3, 11)
            else []
        ),
        (
            {'mmcv-lite': None, 'mmcv': '2.2.0'},
            'mmcv 2.2.0 is too new',
            'uninstall -y mmcv onedl-mmcv',
        ),
        ({'mmcv-lite': '2.2.0'}, 'mmcv-lite 2.2.0 is too new', '"mmcv-lite==2.1.0"'),
        (
            {'mmcv': '2.1.0'},
            'mmcv and mmcv-lite are both installed',
            'uninstall -y mmcv-lite',
        ),
    ],
)
def test_each_wrong_version_is_named_with_its_fix(wrong, starts, fix):
    versions = {k: v for k, v in (GOOD | wrong).items() if v}
    (problem,) = check_env.find_problems(versions)
    assert problem.startswith(starts)
    assert fix in problem


def test_with_both_mmcvs_the_full_one_is_kept():
    (problem,) = check_env.find_problems(GOOD | {'mmcv': '2.0.1'})
    assert 'uninstall -y mmcv-lite' in problem
    assert problem.endswith('--no-deps "mmcv==2.0.1"')


@pytest.mark.parametrize('python', [(3, 9)])
def test_a_python_that_is_out_of_range_is_named(python):
    (problem,) = check_env.find_problems(GOOD, python)
    assert problem.startswith(f'Python 3.{python[1]} is older than 3.10')


@pytest.mark.parametrize(
    'old, new',
    [
        ('2.1.0', '2.2.0'),
        ('4.9', '4.12'),
        ('0.24.0', '0.25.0rc1'),
        ('2.1+cu121', '2.2'),
    ],
)
def test_versions_are_compared_as_numbers(old, new):
    assert check_env._key(old) < check_env._key(new)


def test_a_local_version_counts_as_its_release():
    assert check_env._key('2.15.0+cpu') == check_env._key('2.15.0') == (2, 15, 0)


def test_a_fork_counts_as_its_origin(monkeypatch):
    installed = {'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1', 'torch': '2.15.0'}

    def version(name):
        if name not in installed:
            raise check_env.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(check_env.metadata, 'version', version)
    assert check_env.line_of_packages() == (
        'maintained forks: onedl-mmcv, onedl-mmdetection'
    )
    versions = check_env.installed_versions()
    assert versions == {
        'mmcv': '2.3.6',
        'mmdet': '3.5.1',
        'torch': '2.15.0',
        'onedl-mmcv': '2.3.6',
    }
    rest = {k: v for k, v in GOOD.items() if k != 'mmcv-lite'}
    assert check_env.find_problems(rest | versions) == []


@pytest.mark.parametrize('error', [ImportError, RuntimeError, AttributeError, OSError])
def test_the_first_failing_import_is_named_with_its_fix(monkeypatch, error):
    tried = []

    def load(name):
        tried.append(name)
        if name == 'torchvision.ops':
            raise error('operator torchvision::nms does not exist\nand more')

    monkeypatch.setattr(check_env, 'import_module', load)
    problem = check_env.find_import_error()
    assert problem.startswith(
        f'import torchvision.ops fails ({error.__name__}: '
        'operator torchvision::nms does not exist): '
    )
    assert f'"torchvision=={GOOD["torchvision"]}"' in problem
    assert tried[-1] == 'torchvision.ops'


@pytest.mark.parametrize('error', [ImportError, RuntimeError, OSError])
def test_what_is_broken_does_not_end_the_report(monkeypatch, capsys, error):

    def load(name):
        raise error(name)

    monkeypatch.setattr(check_env, 'import_module', load)
    monkeypatch.setattr(check_env, 'installed_versions', lambda: GOOD)
    assert check_env.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert 'mmcv.ops from     none' in lines
    assert 'GPU               unknown, torch does not work' in lines
    assert any(line.startswith('packages          ') for line in lines)
    assert lines[-1].startswith('problem: import numpy fails')


def run(*options: str, path: str = '') -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', *options, '-m', 'mmsr4ir.check_env'],
        cwd=ROOT,
        env={'PATH': '/usr/bin:/bin', 'PYTHONPATH': path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_works_where_nothing_is_installed():
    process = run('-S')  # without site-packages
    assert process.returncode == 1, process.stderr
    lines = process.stdout.splitlines()
    missing = [line.split()[1] for line in lines if ' missing' in line]
    assert missing == [n for n in GOOD if n not in ('mmcv-lite', 'mmagic')] + ['mmagic']
    assert 'mmagic and mmcv (the full one or mmcv-lite) are missing' in lines[-1]
    assert process.stderr == ''


@pytest.mark.parametrize('module', ['torch', 'mmengine'])
def test_the_command_works_with_a_broken_package(tmp_path, module):
    (tmp_path / module).mkdir()
    (tmp_path / module / '__init__.py').write_text("raise RuntimeError('it is broken')")
    process = run(path=str(tmp_path))
    assert process.returncode == 1, process.stderr
    assert '(RuntimeError: it is broken): ' in process.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_command_finds_nothing_wrong_here():
    process = run()
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == 'all is well'
