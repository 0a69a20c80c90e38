"""MMEngine's search for configs by the name of their package."""

import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from mmengine import utils
from mmengine.config import config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import hub

import mmsr4ir


def test_mmengine_does_not_know_this_package_by_itself():
    code = (
        'from mmengine.config.utils import MODULE2PACKAGE\n'
        'assert "mmdet" in MODULE2PACKAGE and "mmsr4ir" not in MODULE2PACKAGE'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_pkg_resources_is_not_asked():
    """Once mmengine does not import it any more, that part can go."""
    code = (
        'import sys\nsys.modules["pkg_resources"] = None\n'
        'import mmsr4ir\nfrom mmengine.config import Config\n'
        'Config.fromfile(sys.argv[1])'
    )
    config = Path(mmsr4ir.__file__).parents[1] / 'configs/sr4ir/resnet18_edsr_tiny.py'
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code, config], check=True)


def test_after_an_import_it_knows_and_finds_this_package():
    assert MODULE2PACKAGE['mmsr4ir'] == 'mmsr4ir'
    for module in (config, hub, utils):
        for package in (mmsr4ir, mmdet):
            found = module.get_installed_path(package.__name__)
            assert Path(found).samefile(Path(package.__file__).parent)
    assert utils.is_installed('mmdet') and utils.is_installed('mmsegmentation')
    assert not utils.is_installed('nothing-of-that-name')
    with pytest.raises(RuntimeError, match='nothing is not installed'):
        utils.get_installed_path('nothing')
