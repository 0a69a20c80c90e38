"""Files made to do harm, or just broken in any way: refused, with an error of ours."""

import importlib
import json
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import mmengine
import numpy as np
import pytest
import torch
from data_checks import check_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from mmsr4ir.analysis import lr_dataset
from mmsr4ir.analysis.logs import LogError, read_log
from mmsr4ir.apis import videos
from mmsr4ir.comparison.methods import ComparisonError
from mmsr4ir.comparison.runner import read_json
from mmsr4ir.compat.checkpoint import (
    UnsafeCheckpointError,
    load_from_local,
    load_predictions,
)
from mmsr4ir.datasets import voc
from mmsr4ir.datasets.checks.images import scan_image, scan_mask
from mmsr4ir.engine.resume import is_whole
from mmsr4ir.engine.training_samples import TrainingSamples, UnreadableImageError
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import ConfigError, DataError
from mmsr4ir.utils.images import ImageError

sys.path.insert(0, str(Path(__file__).parent / 'test_engine'))
from test_hooks import runner  # noqa: E402

# The files are written anew for each example.
fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1, 0, True])
leaves = st.none() | numbers | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def entries(**known):
    """A list of dicts that have most of the keys they should, and any values."""
    return st.lists(
        values
        | st.fixed_dictionaries(
            {}, optional={key: value | values for key, value in known.items()}
        ),
        max_size=3,
    )


coco = values | st.fixed_dictionaries(
    dict(
        images=entries(
            id=st.integers(0, 2),
            file_name=st.just('a.png'),
            width=st.just(8),
            height=st.just(8),
        ),
        annotations=entries(
            id=st.integers(0, 2),
            image_id=st.integers(0, 2),
            category_id=st.integers(0, 2),
            area=numbers,
            bbox=st.lists(numbers, min_size=4, max_size=4),
        ),
        categories=entries(id=st.integers(0, 2), name=st.sampled_from('ab')),
    )
)
# Texts that are nearly JSON, and bytes that are nothing.
raw = st.binary(max_size=60) | st.sampled_from(
    [
        b'[' * 100_000,
        b'9' * 5000,
        b'{"step": Infinity}',
        b'{"step": NaN}\n{"step": 1}',
        b'\xff\xfe{}',
        b'null',
        b'{"a": 1e999}',
        b'\x00' * 9,
    ]
)


def config(folder):
    dataset = dict(
        type='CocoDataset',
        ann_file='coco.json',
        data_root=str(folder),
        metainfo=dict(classes=('a', 'b')),
        data_prefix=dict(img=''),
    )

    return dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))


@fuzz
@given(raw | coco.map(lambda value: json.dumps(value).encode()))
def test_any_coco_file_passes_or_is_refused_before_a_training(tmp_path, content):
    (tmp_path / 'coco.json').write_bytes(content)
    try:
        check_data(config(tmp_path), ('train',))
    except DataError as error:
        assert 'coco.json' in str(error)


@fuzz
@given(coco)
def test_any_coco_content_passes_or_is_reported_by_the_verifier(tmp_path, content):
    from mmsr4ir.datasets.checks.coco import CocoRule, check_coco, read_coco
    from mmsr4ir.datasets.checks.images import Scanner
    from mmsr4ir.datasets.checks.problem import Report

    (tmp_path / 'coco.json').write_text(json.dumps(content))
    report, path = Report('train', ['a', 'b']), str(tmp_path / 'coco.json')
    try:
        check_coco(report, path, read_coco(path), str(tmp_path), CocoRule(), Scanner())
    except DataError:
        pass


@fuzz
@given(
    raw
    | values.map(lambda value: json.dumps(value).encode())
    | st.lists(
        st.fixed_dictionaries({}, optional=dict(step=values, iter=values, loss=values)),
        max_size=4,
    ).map(lambda lines: '\n'.join(map(json.dumps, lines)).encode())
)
def test_any_log_is_read_or_refused(tmp_path, content):
    path = tmp_path / 'scalars.json'
    path.write_bytes(content)
    try:
        log = read_log(path)
    except LogError as error:
        assert str(path) in str(error)
    else:
        for key in log.keys():
            log.curve(key)


@fuzz
@given(raw | values.map(lambda value: json.dumps(value).encode()))
def test_any_record_of_a_run_is_a_dict_or_refused(tmp_path, content):
    path = tmp_path / 'record.json'
    path.write_bytes(content)
    try:
        assert isinstance(read_json(path), dict)
    except ComparisonError as error:
        assert str(path) in str(error)


@fuzz
@given(data=st.data(), length=st.integers(0, 300))
def test_any_change_of_an_image_is_reported_or_harmless(tmp_path, data, length):
    from PIL import Image

    path = tmp_path / 'image.png'
    suffix = data.draw(st.sampled_from(['png', 'jpeg', 'bmp', 'gif', 'tiff', 'webp']))
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path, suffix)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(bytes(content[: length + 40]))
    for scan in (scan_image, scan_mask):
        found = scan(str(path))
        assert found.problem or found.size


@fuzz
@given(cut=st.integers(0, 3000), place=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_checkpoint_with_a_changed_byte_never_loads_as_another(
    tmp_path, cut, place, value
):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=dict(a=torch.arange(100))), path)
    content = bytearray(path.read_bytes())
    assert is_whole(path)
    path.write_bytes(content[:cut])
    assert not is_whole(path) or cut >= len(content)
    content[place % len(content)] = value
    path.write_bytes(content)
    if is_whole(path):
        try:
            loaded = load_from_local(path)
        except RuntimeError as error:  # a name or header alone is damaged
            assert str(path) in str(error)
        else:
            assert torch.equal(loaded['state_dict']['a'], torch.arange(100))


xml = st.recursive(
    st.text('ab<&>"0123456789.- ', max_size=6) | st.sampled_from(['nan', 'inf', '1e9']),
    lambda inner: st.tuples(
        st.sampled_from(
            [
                'annotation',
                'object',
                'name',
                'bndbox',
                'xmin',
                'ymin',
                'xmax',
                'ymax',
                'filename',
                'difficult',
                'size',
            ]
        ),
        st.lists(inner, max_size=4),
    ).map(lambda pair: f'<{pair[0]}>{"".join(pair[1])}</{pair[0]}>'),
    max_leaves=12,
)


@fuzz
@given(
    st.binary(max_size=50)
    | xml.map(str.encode)
    | xml.map(lambda text: f'<annotation><object>{text}</object></annotation>'.encode())
    | st.lists(
        st.sampled_from(['1', '3', '-5', 'nan', 'inf', '1e400', '']),
        min_size=4,
        max_size=4,
    ).map(
        lambda c: (
            (
                '<annotation><object><name>a</name><bndbox><xmin>{}</xmin><ymin>'
                '{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'
                '</annotation>'
            )
            .format(*c)
            .encode()
        )
    )
)
def test_any_voc_annotation_is_converted_to_finite_boxes_or_refused(tmp_path, content):
    path = tmp_path / 'a.xml'
    path.write_bytes(content)
    write_png_header(tmp_path / 'a.png', 8, 8)
    try:
        classes = voc.read_classes(None, [path])
        made = voc.Converter(tmp_path, classes).convert([path])
    except DataError as error:
        assert str(path) in str(error) or 'classes' in str(error)
    else:
        json.dumps(made, allow_nan=False)


def write_png_header(path, width, height):
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data))
            + kind
            + data
            + struct.pack('>I', zlib.crc32(kind + data))
        )

    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(b'\0' * 100))
        + chunk(b'IEND', b'')
    )


def test_an_image_bomb_is_refused_before_and_in_a_training_and_by_the_converter(
    tmp_path,
):
    path = tmp_path / 'bomb.png'
    write_png_header(path, 50_000, 50_000)
    (tmp_path / 'bomb.xml').write_text('<annotation></annotation>')
    assert '2500000000 pixels' in scan_image(str(path), whole=False).problem
    assert '2500000000 pixels' in scan_image(str(path)).problem
    assert '2500000000 pixels' in scan_mask(str(path)).problem
    with pytest.raises(DataError, match='bomb.png cannot be read .*2500000000 pix'):
        voc.Converter(tmp_path, ['a']).convert([tmp_path / 'bomb.xml'])

    class Bombs:
        def __len__(self):
            return 1

        def get_data_info(self, index):
            return dict(img_path=str(path))

        def __getitem__(self, index):
            import mmcv

            return mmcv.imread(str(path)).shape

    with pytest.raises(UnreadableImageError, match='bomb.png .*2500000000 pixels'):
        TrainingSamples(Bombs(), 0)[0, (1, 2)]


@pytest.mark.parametrize(
    'tool',
    [
        'train',
        'compare',
        'print_config',
        'verify_dataset',
        'get_flops',
        'make_lr_dataset --images . --out x',
        'export_model a.pth --out b.onnx',
    ],
)
def test_a_config_by_address_is_refused(tool, monkeypatch, capsys):
    """Configs are Python code; nothing is fetched."""
    tool, *options = tool.split()
    module = importlib.import_module(f'mmsr4ir.cli.{tool}')
    monkeypatch.setattr('sys.argv', [tool, 'https://example.org/config.py', *options])
    monkeypatch.setattr('socket.socket', None)
    with pytest.raises(SystemExit) as caught:
        module.main()
    said = f'{caught.value.code} {capsys.readouterr()}'
    assert 'https://example.org/config.py' in said and 'is an address' in said


@pytest.mark.parametrize(
    'base',
    [
        'https://example.org/base.py',
        'http://example.org/base.py',
        'mmdet::https://example.org/base.py',
    ],
)
def test_a_config_with_a_base_by_address_is_refused(base, tmp_path, monkeypatch):
    (tmp_path / 'a.py').write_text(f"_base_ = ['{base}']\n")
    monkeypatch.setattr('socket.socket', None)
    with pytest.raises(ConfigError, match='a.py cannot be read: '):
        read_config(str(tmp_path / 'a.py'))


def test_a_video_of_huge_frames_is_refused_before_one_is_decoded(monkeypatch):
    video = MagicMock(width=60_000, height=60_000, frame_cnt=9)
    video.__enter__.return_value = video
    monkeypatch.setattr(videos, 'open_video', lambda path: video)
    with pytest.raises(ImageError, match='60000 x 60000 pixels'):
        next(videos.read_video('bomb.mp4'))
    assert video.__exit__.called and not video.__iter__.called


def test_lr_images_are_not_written_outside_their_folder(tmp_path, monkeypatch):
    """A file name with ".." in an annotation file, up from the folder of the others."""
    names = [f'{tmp_path}/data/train/a.png', f'{tmp_path}/data/../../other/b.png']
    data = [dict(img_path=name) for name in names]
    dataset = MagicMock(get_data_info=data.__getitem__)
    dataset.__len__.return_value = 2
    monkeypatch.setattr(lr_dataset, 'build_model', lambda cfg: None)
    monkeypatch.setattr(
        lr_dataset,
        'build_loader',
        lambda *args, **kwargs: SimpleNamespace(dataset=dataset),
    )
    for name in lr_dataset.split_images(Config(), 'val')[0]:
        assert '..' not in name.parts and not name.is_absolute()


class Attack:
    def __reduce__(self):
        return print, ('ran',)


@pytest.mark.parametrize(
    'hide',
    [
        lambda attack: attack,
        lambda attack: dict(state_dict=dict(a=torch.zeros(1), b=attack)),
        lambda attack: dict(meta=[dict(deep=(1, attack))]),
        lambda attack: dict(message_hub=dict(runtime_info=dict(run_record=attack))),
    ],
)
def test_code_is_found_wherever_it_is_hidden_in_a_checkpoint(hide, tmp_path, capsys):
    path = tmp_path / 'epoch_1.pth'
    torch.save(hide(Attack()), path)
    with pytest.raises(UnsafeCheckpointError, match='print'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not capsys.readouterr().out


def test_code_in_predictions_is_not_run_and_what_a_test_writes_is_read(
    tmp_path, capsys
):
    good = [
        dict(
            pred=dict(boxes=torch.rand(3, 4), found=torch.ones(2) > 0),
            size=(3, 4),
            shape=torch.Size([2, 3]),
            matrix=np.eye(3, dtype=np.float32),
            path='a.png',
            factor=np.float64(0.5),
            mask=dict(size=[2, 2], counts=b'0\xff1'),
        )
    ]
    path = tmp_path / 'good.pkl'
    mmengine.dump(good, path)
    (read,) = load_predictions(path)
    assert torch.equal(read['pred']['boxes'], good[0]['pred']['boxes'])
    assert np.array_equal(read['matrix'], np.eye(3)) and read['factor'] == 0.5
    assert read['mask']['counts'] == b'0\xff1' and read['shape'] == (2, 3)
    for bad in (Attack(), [dict(a=(1, Attack()))], [torch.nn.Linear(1, 1)]):
        mmengine.dump(bad, tmp_path / 'bad.pkl')
        with pytest.raises(UnsafeCheckpointError, match='print|Linear|rebuild_param'):
            load_predictions(tmp_path / 'bad.pkl')
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    'address',
    [
        'https://example.org/net-0123abcd.pth',
        'torchvision://resnet18',
        'open-mmlab://resnet50_caffe',
    ],
)
def test_code_in_weights_by_address_or_by_name_is_not_run(
    address, tmp_path, monkeypatch, capsys
):
    fetched = []

    def fetch(url, path, *args, **kwargs):
        fetched.append(url)
        torch.save(dict(state_dict=Attack()), path)

    monkeypatch.setattr('torch.hub.download_url_to_file', fetch)
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path))
    with pytest.raises(UnsafeCheckpointError, match='print'):
        CheckpointLoader.load_checkpoint(address)
    assert len(fetched) == 1 and not capsys.readouterr().out.count('ran')


def test_a_config_in_a_checkpoint_is_not_run_when_a_training_resumes(tmp_path):
    """MMEngine's Runner reads ``meta.config`` by running it."""
    runner(tmp_path, epochs=1).train()
    path, ran = tmp_path / 'epoch_1.pth', tmp_path / 'ran'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['meta']['config'] = f'a = open({str(ran)!r}, "w").close()'
    torch.save(checkpoint, path)
    again = runner(tmp_path, epochs=2, load_from=str(path), resume=True)
    again.train()
    assert again.epoch == 2 and not ran.exists()
