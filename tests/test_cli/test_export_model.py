"""tools/deployment/export_model.py: the files, what they say of themselves, errors."""

import json
import re
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmsr4ir.cli import export_model as tool
from mmsr4ir.deployment import export_file
from mmsr4ir.deployment.export import ExportPart
from mmsr4ir.engine.build import build_model
from toys import toy_config

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/deployment/export_model.py'


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


def export(*arguments) -> None:
    tool.main([str(argument) for argument in arguments])


def save(model, path: Path) -> Path:
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=('a', 'b', 'c'))),
        ),
        path,
    )
    return path


@pytest.fixture(scope='module')
def toy(tmp_path_factory) -> tuple[Path, Path]:
    """Config and checkpoint of the toy networks."""
    folder = tmp_path_factory.mktemp('toy')
    cfg = Config(dict(model=toy_config(), default_scope='mmengine'))
    cfg.dump(folder / 'toy_x2.py')
    return folder / 'toy_x2.py', save(build_model(cfg), folder / 'toy.pth')


def test_pipeline_of_a_classifier(tmp_path, run_tool):
    config = ROOT / 'configs/sr4ir/resnet18_edsr_tiny.py'
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'model.sr.num_blocks': 1, 'model.sr_range': 255})
    model = build_model(cfg)
    path, out = save(model, tmp_path / 'epoch_20.pth'), tmp_path / 'new/cls.onnx'
    said = run_tool(
        sys.executable,
        TOOL,
        config,
        path,
        '--out',
        out,
        '--opset',
        19,
        '--shape',
        16,
        20,
        '--cfg-options',
        'model.sr.num_blocks=1',
        'model.sr_range=255',
    ).stdout
    differences = re.findall(
        r'^lr (\d) x 3 x (\d+) x (\d+): .* (\S+) of the', said, re.MULTILINE
    )
    assert [d[:3] for d in differences] == [
        ('1', '16', '20'),
        ('1', '19', '25'),
        ('3', '16', '20'),
        ('3', '19', '25'),
    ]
    assert all(float(d[3]) < 1e-4 for d in differences)
    assert f'{out}: {out.stat().st_size:,} bytes' in said
    assert list(out.parent.iterdir()) == [out]  # one file, and nothing else

    content = onnx.load(out)
    onnx.checker.check_model(content, full_check=True)
    assert {o.version for o in content.opset_import if not o.domain} == {19}
    session = onnxruntime.InferenceSession(out)
    data = session.get_modelmeta().custom_metadata_map
    assert data.pop('made_by').startswith('mmsr4ir ')
    assert data == dict(
        config='resnet18_edsr_tiny',
        part='pipeline',
        scale='4',
        input='lr: float32, (batch, 3, height, width), RGB, [0, 1]',
        outputs='["logits"]',
        classes='["a", "b", "c"]',
    )
    (lr,) = session.get_inputs()
    assert lr.name == 'lr' and lr.shape == ['batch', 3, 'height', 'width']
    image = torch.rand(5, 3, 9, 11)
    with torch.no_grad():
        want = ExportPart(model, 'pipeline')(image)['logits']
    (got,) = session.run(['logits'], dict(lr=image.numpy()))
    torch.testing.assert_close(torch.from_numpy(got), want)


def test_sr_network_for_torch_export(toy, tmp_path, capsys):
    out = tmp_path / 'sr.pt2'
    export(*toy, '--part', 'sr', '--out', out)
    assert 'outputs: sr' in capsys.readouterr().out
    files = {'metadata.json': ''}
    graph = torch.export.load(out, extra_files=files).module()
    data = json.loads(files['metadata.json'])
    assert data['part'] == 'sr' and data['scale'] == '2' and data['config'] == 'toy_x2'
    lr = torch.rand(4, 3, 7, 6)
    model = build_model(Config.fromfile(toy[0]), str(toy[1]))
    with torch.no_grad():
        assert torch.equal(graph(lr)['sr'], model.sr(lr))


def test_one_size(toy, tmp_path, capsys):
    out = tmp_path / 'sr.onnx'
    export(*toy, '--part', 'sr', '--static', '--shape', 6, 8, '--out', out)
    assert capsys.readouterr().out.count('largest difference') == 1
    session = onnxruntime.InferenceSession(out)
    assert session.get_inputs()[0].shape == [1, 3, 6, 8]
    assert session.get_outputs()[0].shape == [1, 3, 12, 16]


def test_a_file_that_differs_is_not_kept(toy, tmp_path, monkeypatch):
    load = export_file.load_onnx

    def wrong(path):
        run = load(path)
        return lambda lr: {name: 1.01 * value for name, value in run(lr).items()}

    monkeypatch.setattr(export_file, 'load_onnx', wrong)
    out = tmp_path / 'sr.onnx'
    with pytest.raises(SystemExit, match=r'difference of 1.0e-02 is above --tolerance'):
        export(*toy, '--part', 'sr', '--out', out)
    assert not list(tmp_path.iterdir())
    export(*toy, '--part', 'sr', '--out', out, '--tolerance', 0.02)
    assert out.is_file()


@pytest.mark.parametrize(
    'change, options, said',
    [
        ({}, ('--out', 'x.pth'), 2),
        ({}, ('--shape', '0', '4'), 2),
        ({}, ('--part', 'boxes'), 2),
        ({}, ('--part', 'sr', '--opset', '3'), '--opset 3: '),
        (dict(config='no.py'), (), 'config no.py does not exist'),
        (dict(checkpoint='no.pth'), (), 'no such file'),
        (dict(checkpoint='broken.pth'), (), 'no checkpoint'),
        (dict(checkpoint='other.pth'), (), 'does not fit the config'),
        (dict(config='plain.py'), (), 'has no mmsr4ir.SR4IR'),
        ({}, ('--part', 'dense'), 'ToyTask is none'),
    ],
)
def test_refusals(toy, tmp_path, monkeypatch, capsys, change, options, said):
    monkeypatch.chdir(tmp_path)
    Path('broken.pth').write_text('no checkpoint')
    torch.save(dict(state_dict=dict(a=torch.ones(1))), 'other.pth')
    Path('plain.py').write_text("model = dict(type='mmsr4ir.ToySR')\n")
    before = sorted(tmp_path.iterdir())
    config, checkpoint = toy
    with pytest.raises(SystemExit) as exit_:
        export(
            change.get('config', config),
            change.get('checkpoint', checkpoint),
            '--out',
            'x.onnx',
            *options,
        )
    assert (
        exit_.value.code == said
        if isinstance(said, int)
        else (said in str(exit_.value))
    )
    assert sorted(tmp_path.iterdir()) == before
