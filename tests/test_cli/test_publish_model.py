"""What a published checkpoint keeps, and what it must not give away."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmsr4ir.cli import publish_model as tool
from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.deployment.publish import without_folders
from mmsr4ir.engine.build import build_model
from toys import toy_config

TOOL = Path(__file__).parents[2] / 'tools/model_converters/publish_model.py'


def publish(*arguments) -> None:
    tool.main([str(argument) for argument in arguments])


def config() -> Config:
    return Config(
        dict(
            model=toy_config(),
            default_scope='mmengine',
            work_dir='/home/ann/runs/x',
            load_from='C:\\Users\\ann\\start.pth',
            train_dataloader=dict(
                dataset=dict(data_root='/home/ann/data/shapes/', ann_file='train.json'),
                batch_size=8,
            ),
        )
    )


def checkpoint(**changes) -> dict:
    return dict(
        dict(
            state_dict=build_model(config()).state_dict(),
            optimizer=dict(sr=dict(state={}), task=dict(state={})),
            param_schedulers=dict(sr=[], task=[]),
            message_hub=dict(log_scalars={}),
            meta=dict(
                cfg=config().pretty_text,
                epoch=3,
                seed=np.int64(5),
                hook_msgs=dict(best_ckpt='/home/ann/runs/x/best.pth'),
                started_from='/home/ann/start.pth',
                dataset_meta=dict(classes=('a', 'b/c'), palette=np.eye(3, dtype=int)),
            ),
        ),
        **changes,
    )


def saved(folder: Path, content: dict, name: str = 'epoch_3.pth') -> Path:
    torch.save(content, folder / name)
    return folder / name


def test_what_is_published(tmp_path, run_tool):
    path = saved(tmp_path, checkpoint())
    said = run_tool(sys.executable, TOOL, path, tmp_path / 'new/sr4ir.pth').stdout
    (out,) = (tmp_path / 'new').iterdir()
    digest = hashlib.sha256(out.read_bytes()).hexdigest()[:8]
    assert out.name == f'sr4ir-{digest}.pth' and str(out) in said
    assert 'left out: message_hub, optimizer, param_schedulers' in said
    assert 'EMA' not in said and 'published before' not in said

    got = torch.load(out)  # weights_only: plain values alone
    assert set(got) == {'meta', 'state_dict'}
    assert got['meta'].pop('cfg') and got['meta'] == dict(
        epoch=3,
        seed=5,
        started_from='start.pth',
        dataset_meta=dict(classes=('a', 'b/c'), palette=np.eye(3).tolist()),
    )
    want = load_from_local(str(path))['state_dict']
    assert list(got['state_dict']) == list(want)
    assert all(torch.equal(value, want[k]) for k, value in got['state_dict'].items())
    assert got['state_dict']._metadata == want._metadata
    assert b'ann/' not in out.read_bytes() and b'Users' not in out.read_bytes()


def test_the_config_inside_builds_the_same_model(tmp_path):
    publish(saved(tmp_path, checkpoint()), tmp_path / 'out')
    (out,) = tmp_path.glob('out-????????.pth')
    cfg = Config.fromstring(torch.load(out)['meta']['cfg'], '.py')
    want = config()
    want.pop('work_dir')
    want.load_from = 'start.pth'
    want.train_dataloader.dataset.data_root = 'shapes/'
    assert cfg.to_dict() == want.to_dict()
    build_model(cfg, str(out))  # strict: every tensor has its place


def test_a_model_card(tmp_path):
    """It names the networks and the metrics, and its config builds the file's model."""
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(
        '{"accuracy/top1": 61.23456, "data_time": 0.01, "sr/PSNR": 20.5}'
    )
    content = checkpoint()
    content['meta']['mmengine_version'] = '0.10.7' + 'a1' * 20
    source = saved(tmp_path, content)
    publish(source, tmp_path / 'new/x.pth', '--card', metrics)
    (out,) = (tmp_path / 'new').glob('x-????????.pth')
    card = out.with_suffix('.md').read_text()
    assert card.startswith(f'# {out.stem}\n') and f'--weights {out.name}' in card
    assert '| accuracy/top1 | 61.23 |' in card and '| sr/PSNR | 20.5 |' in card
    assert 'time' not in card and 'ann' not in card
    model = build_model(Config.fromfile(out.with_suffix('.py')), str(out))
    for name in ('sr', 'task'):
        network = getattr(model, name)
        number = sum(p.numel() for p in network.parameters()) / 1e6
        kind = toy_config()[name]['type']
        assert f'| {kind}, {number:.2f} M parameters |' in card
    assert '| classes | a, b/c |' in card and '| seed | 5 |' in card
    assert '| MMEngine | 0.10.7 |' in card

    publish(source, tmp_path / 'none/x', '--card')
    (card,) = (tmp_path / 'none').glob('*.md')
    assert 'None were given.' in card.read_text()
    (tmp_path / 'text.json').write_text('{"a": "b"}')
    bare = saved(tmp_path, dict(state_dict=dict(w=torch.ones(2))), 'bare.pth')
    content = checkpoint()
    content['meta']['cfg'] = "model = dict(type='X')"
    other = saved(tmp_path, content, 'other.pth')
    for path, files, said in (
        (source, (tmp_path / 'text.json',), 'holds no metrics by name'),
        (source, (tmp_path / 'no.json',), 'cannot be read'),
        (bare, (), 'no config'),
        (other, (), 'no config with model.sr'),
    ):
        with pytest.raises(SystemExit, match=said):
            publish(path, tmp_path / 'bad/x', '--card', *files)
    assert not list(tmp_path.glob('bad/*'))


def test_equal_weights_get_equal_names(tmp_path):
    """The hash is of the content; names and folders of the source are not in it."""
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        publish(
            saved(
                tmp_path / name,
                checkpoint(state_dict=dict(w=torch.ones(2))),
                f'{name}.pth',
            ),
            tmp_path / name / 'out.pth',
        )
    first, second = (next((tmp_path / n).glob('out-*')) for n in ('a', 'b'))
    assert first.name == second.name and first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    'options, value, said',
    [
        ((), 1.0, 'weights: the average of EMAHook'),
        (('--weights', 'average'), 1.0, 'weights: the average of EMAHook'),
        (('--weights', 'last'), 2.0, 'weights: the last of EMAHook'),
    ],
)
def test_averaged_weights(tmp_path, capsys, options, value, said):
    """EMAHook saves the average as state_dict and the last weights beside."""
    path = saved(
        tmp_path,
        checkpoint(
            state_dict={'task.w': torch.tensor([1.0])},
            ema_state_dict={
                'module.task.w': torch.tensor([2.0]),
                'steps': torch.zeros(()),
            },
        ),
    )
    publish(path, tmp_path / 'out.pth', *options)
    (out,) = tmp_path.glob('out-*.pth')
    assert torch.load(out)['state_dict'] == {'task.w': torch.tensor([value])}
    printed = capsys.readouterr().out
    assert said in printed and 'left out: ema_state_dict, message_hub' in printed


def test_a_config_that_is_code_is_left_out(tmp_path, capsys):
    content = checkpoint()
    content['meta']['cfg'] = 'import os\nos.mkdir("made")'
    publish(saved(tmp_path, content), tmp_path / 'out.pth')
    assert 'more than values' in capsys.readouterr().out
    (out,) = tmp_path.glob('out-*.pth')
    assert 'cfg' not in torch.load(out)['meta'] and not Path('made').exists()


def test_already_published(tmp_path, capsys):
    publish(saved(tmp_path, checkpoint()), tmp_path / 'out.pth')
    (out,) = tmp_path.glob('out-*.pth')
    capsys.readouterr()
    with pytest.raises(SystemExit, match='published already'):
        publish(out, tmp_path / 'again.pth')
    renamed = out.rename(tmp_path / 'plain.pth')
    publish(renamed, tmp_path / 'again.pth')  # nothing to strip, and it is said
    printed = capsys.readouterr().out
    assert 'no optimizer; was it published before?' in printed
    assert 'left out: nothing' in printed
    (again,) = tmp_path.glob('again-*.pth')
    assert again.read_bytes() == renamed.read_bytes()


@pytest.mark.parametrize(
    'value, want',
    [
        ('/home/ann/data/', 'data/'),
        ('~/x.pth', 'x.pth'),
        ('C:\\ann\\data\\', 'data/'),
        ('\\\\server\\ann\\x.pth', 'x.pth'),
        ('file:///home/ann/x.pth', 'x.pth'),
        ('data/x.png', 'data/x.png'),
        ('https://a.org/x.pth', 'https://a.org/x.pth'),
        (r'\d+\.png', r'\d+\.png'),
        ('mmdet::a/b.py', 'mmdet::a/b.py'),
        ('', ''),
        (5, 5),
    ],
)
def test_only_absolute_paths_are_cut(value, want):
    assert without_folders(dict(a=[(value,)])) == dict(a=[(want,)])


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('made_by_a_pickle',)


@pytest.mark.parametrize(
    'content, options, said',
    [
        (None, (), 'no such file'),
        (b'no checkpoint', (), 'no checkpoint'),
        (dict(state_dict={'a': torch.zeros(1)}, more=Hostile()), (), 'was refused'),
        ([torch.zeros(1)], (), 'holds a list'),
        (dict(epoch=3), (), 'no tensors by name'),
        (dict(state_dict={}), (), 'no tensors by name'),
        (nn.Linear(1, 1).state_dict(), ('--weights', 'last'), 'without EMAHook'),
    ],
)
def test_what_cannot_be_published(tmp_path, content, options, said):
    path = tmp_path / 'x.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as exit_:
        publish(path, tmp_path / 'out.pth', *options)
    assert str(exit_.value).startswith(f'error: {path}: ') and said in str(exit_.value)
    assert sorted(tmp_path.iterdir()) == before
    assert not Path('made_by_a_pickle').exists()


def test_the_same_file_twice(tmp_path):
    path = saved(tmp_path, checkpoint())
    publish(path, tmp_path / 'out.pth')
    with pytest.raises(SystemExit, match=r'out-[0-9a-f]{8}\.pth exists already'):
        publish(path, tmp_path / 'out.pth')
