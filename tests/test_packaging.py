"""The wheel: what is in it, that it works away from the checkout, what it declares."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ALL = (
    'runtime.txt',
    'mminstall.txt',
    'apart.txt',
    'train.txt',
    'spandrel.txt',
    'export.txt',
    'web.txt',
    'tests.txt',
)
# The full mmcv or mmcv-lite; requirements/mminstall.txt says why neither is declared.
CHOSEN_BY_THE_USER = {'mmcv', 'mmcv-lite'}
# What a source tree has; some come later or only in some checkouts.
PARTS = (
    'mmsr4ir',
    'configs',
    'tools',
    'demo',
    'tests',
    'requirements',
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'LICENSE',
    'README.md',
    'model-index.yml',
)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """A wheel of a copy of the tree that has things around which do not belong in."""
    tree = tmp_path_factory.mktemp('tree') / 'mmsr4ir'
    tree.mkdir()
    for source in (ROOT / name for name in PARTS):
        if source.is_dir():
            shutil.copytree(
                source,
                tree / source.name,
                ignore=shutil.ignore_patterns('.mim', '__pycache__'),
            )
        elif source.exists():
            shutil.copy(source, tree)
    for litter in (
        'data/own/made.py',
        'configs/__pycache__/old.pyc',
        'build/lib/mmsr4ir/.mim/configs/removed.py',
    ):
        (tree / litter).parent.mkdir(parents=True, exist_ok=True)
        (tree / litter).touch()
    out = tree.parent / 'wheel'
    process = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '.',
            '--no-deps',
            '--no-index',
            '--no-build-isolation',
            '-q',
            '-w',
            out,
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert not (tree / 'mmsr4ir/.mim').exists()  # the source is left as it was
    return next(out.iterdir())


@pytest.fixture(scope='module')
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('unpacked')
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def declared(*names: str) -> dict[str, Requirement]:
    """The requirements of some files in requirements/, by their normalised names."""
    found = {}
    for name in names:
        for line in (ROOT / 'requirements' / name).read_text().splitlines():
            if line and not line.startswith('#'):
                requirement = Requirement(line)
                found[normalised(requirement.name)] = requirement
    return found


def normalised(name: str) -> str:
    return re.sub('[-_.]+', '-', name).lower()


def files_of(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.mark.parametrize('part', ['configs', 'tools', 'demo'])
def test_wheel_carries_configs_and_tools_for_mim(unpacked, part):
    assert files_of(unpacked / 'mmsr4ir/.mim' / part) == files_of(ROOT / part) != set()


def test_wheel_carries_the_model_index(unpacked):
    carried = unpacked / 'mmsr4ir/.mim/model-index.yml'
    assert carried.read_text() == (ROOT / 'model-index.yml').read_text()


def test_configs_are_found_by_the_name_of_the_package(unpacked, tmp_path):
    """As a base, and by mmengine.hub, in the index and beside it."""
    (tmp_path / 'own.py').write_text(
        "_base_ = 'mmsr4ir::sr4ir/resnet18_edsr_cifar10.py'\nown = 1\n"
    )
    code = (
        'import mmsr4ir\nfrom mmengine.config import Config\n'
        'from mmengine.hub import get_config\n'
        'cfg = Config.fromfile("own.py")\n'
        'assert cfg.own and cfg.model.num_classes == 10\n'
        'for name in ("resnet18_edsr_cifar10", "cls_cub/cls_cub_s_edsr_x4"):\n'
        '    print(get_config(f"mmsr4ir::sr4ir/{name}.py").filename)\n'
    )
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=tmp_path,
        text=True,
        env=os.environ | {'PYTHONPATH': str(unpacked)},
        capture_output=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    configs = unpacked / 'mmsr4ir/.mim/configs/sr4ir'
    assert process.stdout.split() == [
        str(configs / 'resnet18_edsr_cifar10.py'),
        str(configs / 'cls_cub/cls_cub_s_edsr_x4.py'),
    ]


def test_wheel_carries_every_module_and_nothing_else(unpacked):
    carried = {name for name in files_of(unpacked) if '.dist-info/' not in name}
    modules = {
        f'mmsr4ir/{name}'
        for name in files_of(ROOT / 'mmsr4ir')
        if name.endswith('.py') and not name.startswith('.mim/')
    }
    rest = carried - modules
    assert modules <= carried
    assert rest - {'mmsr4ir/py.typed'} == {
        name for name in rest if name.startswith('mmsr4ir/.mim/')
    }


def test_wheel_declares_licence_version_and_requirements(unpacked):
    (info,) = unpacked.glob('mmsr4ir-*.dist-info')
    metadata = message_from_string((info / 'METADATA').read_text())
    assert 'Apache-2.0' in (metadata['License-Expression'] or metadata['License'])
    assert metadata['Name'] == 'mmsr4ir'
    assert f"'{metadata['Version']}'" in (ROOT / 'mmsr4ir/version.py').read_text()
    assert set(metadata['Requires-Python'].split(',')) == {'>=3.10'}
    licence = [path.read_text() for path in info.rglob('LICENSE')]
    assert licence == [(ROOT / 'LICENSE').read_text()]
    required = [Requirement(text) for text in metadata.get_all('Requires-Dist')]
    names = {normalised(r.name) for r in required if 'extra' not in str(r.marker)}
    assert names == set(declared('runtime.txt', 'mminstall.txt'))
    assert not names & {*CHOSEN_BY_THE_USER, 'mmagic'}
    assert metadata.get_all('Provides-Extra') == [
        'train',
        'spandrel',
        'export',
        'web',
        'tests',
    ]


def test_every_module_of_the_wheel_imports_away_from_the_checkout(unpacked, tmp_path):
    code = (
        'import importlib, pkgutil, sys, mmsr4ir\n'
        'found = [m.name for m in pkgutil.walk_packages(\n'
        '    mmsr4ir.__path__, "mmsr4ir.", onerror=print)]\n'
        'for name in found:\n'
        '    print(importlib.import_module(name).__file__)\n'
    )
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=tmp_path,
        text=True,
        env=os.environ | {'PYTHONPATH': str(unpacked)},
        capture_output=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    modules = {
        path.resolve()
        for path in unpacked.glob('mmsr4ir/**/*.py')
        if '.mim' not in path.parts
    } - {unpacked / 'mmsr4ir/__init__.py'}
    assert {Path(line).resolve() for line in process.stdout.split()} == modules


def imported_modules(file: Path) -> set[str]:
    """The top-level modules that a file imports absolutely, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split('.')[0])
    return names


@pytest.mark.parametrize(
    'folder, files',
    [
        (
            'mmsr4ir',
            (
                'runtime.txt',
                'mminstall.txt',
                'apart.txt',
                'train.txt',
                'spandrel.txt',
                'export.txt',
                'web.txt',
            ),
        ),
        ('tools', ('runtime.txt', 'mminstall.txt', 'export.txt')),
        ('tests', ALL),
    ],
)
def test_what_is_imported_is_declared(folder, files):
    sources = [
        path for path in (ROOT / folder).rglob('*.py') if '.mim' not in path.parts
    ]
    beside = {path.stem for path in sources} | {path.parent.name for path in sources}
    used = set().union(*map(imported_modules, sources))
    used -= set(sys.stdlib_module_names) | beside | {'mmsr4ir'}
    assert used, 'the scan found nothing at all'
    allowed = set().union(
        *(
            {path.parts[0].removesuffix('.py') for path in distribution(name).files}
            for name in declared(*files)
        )
    )
    assert used - allowed - CHOSEN_BY_THE_USER == set()


def test_what_is_declared_is_pinned_once_for_each_python():
    lines = (ROOT / 'requirements/constraints.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith('#')]
    assert all(re.fullmatch(r'==[\w.]+', str(pin.specifier)) for pin in pins)
    wanted = {'mmcv-lite', *declared(*ALL)}
    for minor in range(10, 15):
        python = dict(python_full_version=f'3.{minor}.0', python_version=f'3.{minor}')
        names = [
            normalised(pin.name)
            for pin in pins
            if not pin.marker or pin.marker.evaluate(python)
        ]
        assert len(names) == len(set(names))
        assert wanted <= set(names)


def test_the_hooks_before_a_commit_have_the_pinned_versions():
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    pins = (ROOT / 'requirements/constraints.txt').read_text()
    for name in ('ruff', 'codespell'):
        (hook,) = re.findall(rf'{name}(?:-pre-commit)?\n +rev: v(\S+)', hooks)
        assert f'\n{name}=={hook}\n' in pins


def test_git_tracks_no_data_environments_or_builds():
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    folders = (
        'data/',
        '.venv',
        'work_dirs/',
        'demo_output/',
        'build/',
        'dist/',
        'mmsr4ir/.mim/',
        '.whl/',
    )
    suffixes = ('.pth', '.pyc', '.whl')
    assert [
        name for name in listed if name.startswith(folders) or name.endswith(suffixes)
    ] == []
