"""Packaging. The configs and tools go into ``mmsr4ir/.mim``, where ``mim`` looks."""
import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
MIM_FOLDERS = ('configs', 'tools')


def requirements(name: str) -> list[str]:
    """Read a requirements file without its comments."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


class BuildPy(build_py):
    """Add ``.mim`` to the package: copied into a wheel, linked when editable."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            target = ROOT / 'mmsr4ir' / '.mim'
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in MIM_FOLDERS:
                os.symlink(ROOT / name, target / name, target_is_directory=True)
            return
        for name in MIM_FOLDERS:
            shutil.copytree(
                ROOT / name, Path(self.build_lib, 'mmsr4ir', '.mim', name),
                dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))


setup(
    name='mmsr4ir',
    version=re.search(
        r"__version__ = '(.+)'", (ROOT / 'mmsr4ir' / 'version.py').read_text())[1],
    description='Super-resolution for image recognition with OpenMMLab models',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['mmsr4ir', 'mmsr4ir.*']),
    install_requires=requirements('runtime.txt') + requirements('mminstall.txt'),
    extras_require=dict(tests=requirements('tests.txt')),
    cmdclass=dict(build_py=BuildPy),
    zip_safe=False,
)
