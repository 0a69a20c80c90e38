"""MMEngine's list of packages, with and without this one."""
import subprocess
import sys

from mmengine.config.utils import MODULE2PACKAGE


def test_mmengine_does_not_know_this_package_by_itself():
    code = ('from mmengine.config.utils import MODULE2PACKAGE\n'
            'assert "mmdet" in MODULE2PACKAGE and "mmsr4ir" not in MODULE2PACKAGE')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_it_is_on_the_list_after_an_import():
    assert MODULE2PACKAGE['mmsr4ir'] == 'mmsr4ir'
