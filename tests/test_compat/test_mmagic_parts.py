"""mmagic part by part, and mmpretrain without what transformers 5 breaks."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import MODELS

from mmsr4ir.compat.mmagic_parts import registered_names


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess:
    env = os.environ | ({'PYTHONPATH': str(path)} if path else {})
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_mmagic_as_it_is_cannot_be_imported():
    """Once it can, this part of compat can go."""
    process = run(
        f'import mmcv, mmengine, numpy, sys\n{_SERVED}\n'
        'mmcv.__version__ = "2.1.0"  # of the forks, it refuses that, too\n'
        'numpy.bool8 = numpy.bool_\nimport mmagic.models'
    )
    assert re.search("No module named '(diffusers|transformers)", process.stderr)


def test_a_network_is_imported_without_the_others():
    process = run(
        'import sys, mmsr4ir\nfrom mmengine.registry import MODELS\n'
        'network = MODELS.build(dict(type="mmagic.EDSRNet", in_channels=3,\n'
        '    out_channels=3, mid_channels=4, num_blocks=1))\n'
        'print(*sorted(name.split(".")[3] for name in sys.modules\n'
        '    if name.startswith("mmagic.models.editors.") and name.count(".") == 3))'
    )
    assert process.stdout.split() == ['edsr'], process.stderr


def test_registered_names_are_those_of_the_decorators():
    wanted = set()
    root = Path(find_spec('mmagic').origin).parent
    for path in root.rglob('*.py'):
        module = '.'.join(['mmagic', *path.relative_to(root).with_suffix('').parts])
        for node in ast.walk(ast.parse(path.read_text())):
            for call in getattr(node, 'decorator_list', ()):
                if (
                    isinstance(call, ast.Call)
                    and getattr(call.func, 'attr', '') == 'register_module'
                ):
                    given = [*call.args, *(word.value for word in call.keywords)]
                    wanted.add(
                        (
                            call.func.value.id,
                            module,
                            given[0].value if given else node.name,
                        )
                    )
    found = {
        (registry, module, name)
        for registry, names in registered_names().items()
        for name, modules in names.items()
        for module in modules
    }
    assert len(wanted) > 380
    assert found - wanted == {('MODELS', 'mmagic.models.archs.conv', 'Deconv')}
    assert wanted <= found


@pytest.mark.parametrize(
    'registry, name, class_name',
    [
        ('MODELS', 'SwinIRNet', 'SwinIRNet'),
        ('MODELS', 'PConv', 'PartialConv2d'),  # by a keyword
        ('MODELS', 'Deconv', 'ConvTranspose2d'),  # by a call
        ('MODELS', 'StyleGANV1', 'StyleGAN1'),  # by two decorators
        ('MODELS', 'StyleGANv1', 'StyleGAN1'),
        ('METRICS', 'MS_SSIM', 'MultiScaleStructureSimilarity'),
        ('TRANSFORMS', 'RandomJPEGCompression', 'RandomJPEGCompression'),
    ],
)
def test_registries_find_what_was_not_imported(registry, name, class_name):
    registry = getattr(import_module('mmagic.registry'), registry)
    assert registry.get(name).__name__ == class_name
    assert registry.get(f'mmagic.{name}') is registry.get(name)


def test_what_is_unknown_or_needs_more_is_named():
    import_module('mmagic.registry')
    assert MODELS.get('mmagic.EDSRNett') is None
    with pytest.raises(
        ModuleNotFoundError,
        match=(
            r'mmagic\.animatediff needs the package diffusers, which mmsr4ir does not '
            r'install: install a version that'
        ),
    ):
        MODELS.get('mmagic.animatediff')
    with pytest.raises(AttributeError, match="'mmagic.models' has no attribute 'nothi"):
        import_module('mmagic.models').nothing  # noqa: B018


def test_packages_have_the_names_that_their_init_imports():
    process = run(
        'import mmsr4ir, inspect\n'
        'import mmagic.evaluation.metrics.niqe as module\n'
        'from mmagic.evaluation.metrics import niqe, psnr\n'
        'assert inspect.isfunction(niqe) and inspect.isfunction(psnr)\n'
        'import mmagic.evaluation.metrics.psnr\n'
        'assert mmagic.evaluation.metrics.psnr is psnr\n'
        'import mmagic.models, mmagic.engine\n'
        'assert mmagic.models.EDSRNet.__module__.endswith("edsr_net")\n'  # by a star
        'assert mmagic.engine.hooks.ExponentialMovingAverageHook\n'
        'assert mmagic.__version__ == "1.2.0"'
    )
    assert process.returncode == 0, process.stderr


def test_bool8_is_there_for_the_module_that_names_it_alone():
    assert 'np.bool8:' in Path(find_spec('mmagic.utils.trans_utils').origin).read_text()
    module = import_module('mmagic.utils.trans_utils')
    assert np.bool_ in module.dtype_range
    assert not hasattr(np, 'bool8')


def test_transformers_5_leaves_out_the_multimodal_models_of_mmpretrain(tmp_path):
    """Of that version, which is large, only what mmpretrain would ask for."""
    info = tmp_path / 'transformers-5.0.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0\n'
    )
    (tmp_path / 'transformers.py').write_text('')
    code = 'import mmpretrain.models as models\nassert not models.utils.WITH_MULTIMODAL'
    assert (
        'cannot import name'
        in run(f'import mmengine, sys\n{_SERVED}\n{code}', tmp_path).stderr
    )
    process = run(f'import mmsr4ir\n{code}', tmp_path)
    assert process.returncode == 0, process.stderr


# mmpretrain imports mmcv.ops; this serves it without the rest of compat.
_SERVED = """from mmsr4ir.compat import mmcv_ops
sys.meta_path[:] = [finder for finder in sys.meta_path
                    if type(finder).__module__ != 'mmsr4ir.compat.loaders']"""
