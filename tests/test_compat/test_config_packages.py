"""MMEngine's search for configs by the name of their package."""
import subprocess
import sys
from pathlib import Path

import mmdet
from mmengine.config import config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import hub
from mmengine.utils import get_installed_path

import mmsr4ir


def test_mmengine_does_not_know_this_package_by_itself():
    code = ('from mmengine.config.utils import MODULE2PACKAGE\n'
            'assert "mmdet" in MODULE2PACKAGE and "mmsr4ir" not in MODULE2PACKAGE')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_it_does_not_find_editable_installs_by_itself():
    """The tests run on one; site-packages has only its metadata."""
    assert not Path(get_installed_path('mmsr4ir'), '__init__.py').exists()


def test_after_an_import_it_knows_and_finds_this_package():
    assert MODULE2PACKAGE['mmsr4ir'] == 'mmsr4ir'
    for module in (config, hub):
        for package in (mmsr4ir, mmdet):
            found = module.get_installed_path(package.__name__)
            assert Path(found).samefile(Path(package.__file__).parent)
