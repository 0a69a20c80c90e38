"""Packaging. The configs and tools go into ``mmsr4ir/.mim``, where ``mim`` looks."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
EXTRAS = ('train', 'spandrel', 'export', 'web', 'tests')
MIM_PARTS = ('configs', 'tools', 'demo', 'model-index.yml')


def requirements(name: str) -> list[str]:
    """Read a requirements file without its comments."""
    lines = (ROOT / 'requirements' / name).read_text(encoding='utf-8').splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


def version() -> str:
    """Read the version without importing the package and so its dependencies."""
    text = (ROOT / 'mmsr4ir' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)[1]


class BuildPy(build_py):
    """Add ``.mim`` to the package: copied into a wheel, linked when editable.

    An earlier ``.mim`` is replaced, so that nothing removed since gets into a wheel.
    """

    def run(self) -> None:
        """Build the package, then its ``.mim``."""
        super().run()
        root = ROOT if self.editable_mode else Path(self.build_lib)
        target = root / 'mmsr4ir' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for source in (ROOT / name for name in MIM_PARTS):
            if not source.exists():
                continue
            if self.editable_mode:
                (target / source.name).symlink_to(source, source.is_dir())
            elif source.is_dir():
                shutil.copytree(
                    source,
                    target / source.name,
                    ignore=shutil.ignore_patterns('__pycache__'),
                )
            else:
                shutil.copy(source, target)


readme = ROOT / 'README.md'
setup(
    name='mmsr4ir',
    version=version(),
    author='The mmsr4ir contributors',
    description='Super-resolution for image recognition with OpenMMLab models',
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    keywords='super-resolution, object detection, segmentation, classification',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmsr4ir', 'mmsr4ir.*']),
    package_data=dict(mmsr4ir=['py.typed']),
    include_package_data=True,
    install_requires=requirements('runtime.txt') + requirements('mminstall.txt'),
    extras_require={name: requirements(f'{name}.txt') for name in EXTRAS},
    entry_points=dict(console_scripts=['mmsr4ir = mmsr4ir.cli.main:main']),
    cmdclass=dict(build_py=BuildPy),
    zip_safe=False,
)
