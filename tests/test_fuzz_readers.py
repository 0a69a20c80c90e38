"""Whatever stands in a file that is ours to read: it is read, or refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile import numbers, raw, values

from mmsr4ir.analysis.logs import LogError, read_log
from mmsr4ir.datasets import voc
from mmsr4ir.datasets.checks.images import Scanner
from mmsr4ir.datasets.class_lists import prepare_lists
from mmsr4ir.datasets.textured_shapes import write_dataset
from mmsr4ir.deployment.convert import ConvertError, find_state_dict, read_checkpoint
from mmsr4ir.engine.build import find_run
from mmsr4ir.engine.resume import ResumeError, resume_point
from mmsr4ir.models.weights import WeightsError, load_weights
from mmsr4ir.utils.configs import config_values, read_config
from mmsr4ir.utils.errors import ConfigError, DataError

ROOT = Path(__file__).parents[1]
fuzz = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
notes = raw | st.sampled_from(
    [b'/' + b'a' * 5000 + b'/epoch_1.pth', b'a\x00b/epoch_1.pth', b'\xff\xfe/x', b'\n']
)


words = st.sampled_from(
    [
        '1',
        '2',
        '3',
        '0',
        '-1',
        '1.5',
        'nan',
        '9' * 30,
        '9' * 5000,
        '\u0663',
        'a.png',
        '001.a/b.png',
        '../../x.png',
        '/etc/passwd',
        'a b.png',
        'a\x00.png',
        '',
        '\u2028',
    ]
)
lines = st.lists(words, min_size=1, max_size=3).map(' '.join)
tables = st.lists(lines, max_size=4).map(lambda some: '\n'.join(some).encode()) | raw


good = st.sampled_from([f'images/{i}.png' for i in range(4)])
samples = st.lists(st.tuples(good | words, st.integers(-2, 4)), max_size=4)


@fuzz
@given(st.dictionaries(st.sampled_from(['train', 'val']), samples, min_size=1))
def test_any_samples_become_lists_that_are_read_back_or_are_refused(tmp_path, splits):
    (tmp_path / 'images').mkdir(exist_ok=True)
    for i in range(3):
        write_image(tmp_path / f'images/{i}.png')
    out = tmp_path / 'meta'
    try:
        prepare_lists(tmp_path, out, ['a', 'b', 'c'], splits, Scanner(), False)
    except DataError as error:
        assert str(error)
    else:
        for name, made in splits.items():
            lines = (out / f'{name}.txt').read_text().splitlines()
            assert [tuple(line.rsplit(' ', 1)) for line in lines] == [
                (path, str(label)) for path, label in made
            ]
            assert all(
                (tmp_path / path).resolve().is_relative_to(tmp_path) for path, _ in made
            )


def write_image(path):
    if not path.exists():
        import cv2

        cv2.imwrite(str(path), np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize('path', ['../outside.png', '/outside.png', 'a/../../b.png'])
def test_an_image_outside_the_data_set_is_refused(tmp_path, path):
    with pytest.raises(DataError, match='leads out of the data set'):
        prepare_lists(
            tmp_path,
            tmp_path / 'meta',
            ['a'],
            dict(train=[(path, 0)]),
            Scanner(),
            False,
        )


@fuzz
@given(raw | tables)
def test_any_list_of_voc_is_read_or_refused(tmp_path, content):
    for folder in ('ImageSets/Main', 'Annotations'):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / 'train.txt').write_bytes(content)
    try:
        for files in voc.find_splits(tmp_path).values():
            voc.Converter(tmp_path, ['a']).convert(files)
    except (DataError, OSError) as error:  # a name that is too long for a file
        assert str(error)


@fuzz
@given(notes)
def test_any_note_of_the_last_checkpoint_is_followed_or_refused(tmp_path, content):
    (tmp_path / 'last_checkpoint').write_bytes(content)
    (tmp_path / 'config.py').write_text('')
    try:
        last = resume_point(str(tmp_path), 'auto')
    except ResumeError as error:
        assert str(tmp_path) in str(error)
    else:
        assert last is None
    found = find_run(tmp_path, None)[1]
    assert not found or not os.path.isfile(found)


code = st.recursive(
    st.sampled_from(['1', 'a', '"x"', 'dict()', 'None', '(', ')', '-', 'f(1)', '*a']),
    lambda inner: (
        st.tuples(inner, inner).map(lambda two: f'dict(a={two[0]}, b=[{two[1]}])')
        | st.lists(inner, max_size=3).map(lambda parts: f'({", ".join(parts)})')
    ),
    max_leaves=6,
)


@fuzz
@given(
    code.map(lambda text: f'a = {text}')
    | raw.map(lambda b: b.decode('latin-1'))
    | values
    | st.sampled_from(
        [
            'a = ' + '(' * 300,
            'a = ' + '-' * 100_000 + '1',
            'a = ' + '[' * 5000 + ']' * 5000,
            'import os',
            'a = 9' + '9' * 5000,
            'a = b = 1',
            'a, b = 1, 2',
            'a.b = 1',
            'a = dict(**{})',
            'a = {1: [2]}[1]',
        ]
    )
)
def test_any_config_of_a_checkpoint_is_data_or_refused(text):
    try:
        assert isinstance(config_values(text), dict)
    except ValueError as error:
        assert 'is not run' in str(error)


@settings(fuzz, max_examples=50)
@given(
    raw
    | st.sampled_from(
        [
            b'_base_ = "https://example.org/a.py"',
            b'_base_ = ["ftp://example.org/a.py"]',
            b'_base_ = "none.py"',
            b'_base_ = 5',
            b'_base_ = "mmdet::none/none.py"',
            b'_base_ = "nothing::a.py"',
            b'a = (',
            b'a = 9' + b'9' * 5000,
            b'\xef\xbb\xbfa = 1',
            b'_base_ = ["./a.py"]',
            b'a = {{',
            b'_base_.a = 1',
            b'a = _base_.b',
        ]
    )
)
def test_any_config_file_is_read_or_refused_and_nothing_fetched(tmp_path, content):
    path = tmp_path / 'a.py'
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('socket.socket', None)
        try:
            read_config(str(path))
        except ConfigError as error:
            assert str(path) in str(error)
        except Exception:
            compile(content, path, 'exec')  # the code that it is may raise anything


@fuzz
@given(raw | values.map(lambda value: json.dumps(value).encode()))
def test_any_note_of_the_embedded_data_is_ours_or_left_alone(tmp_path, content):
    root = tmp_path / 'data'
    root.mkdir(exist_ok=True)
    (root / 'meta.json').write_bytes(content)
    with pytest.raises(ValueError, match='holds something else'):
        write_dataset(root, 4, 4)
    assert (root / 'meta.json').read_bytes() == content


@fuzz
@given(raw)
def test_any_config_beside_a_log_is_of_no_harm(tmp_path, content):
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.py').write_bytes(content)
    (folder / 'scalars.json').write_text('{"step": 1, "iter": 1, "loss": 2.0}\n')
    try:
        assert read_log(tmp_path).curve('loss')[:2] == ([1], [2.0])
    except LogError:
        pytest.fail('the log itself is good')


saved = st.recursive(
    st.none()
    | numbers.filter(lambda n: n == n)
    | st.text(max_size=4)
    | st.sampled_from([torch.zeros(2), torch.zeros(2, 3), torch.ones(3)]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    'state_dict',
                    'meta',
                    'weight',
                    'bias',
                    'sr.weight',
                    'params',
                    'cfg',
                    'config',
                ]
            )
            | st.integers(0, 2),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


@fuzz
@given(saved)
def test_any_content_of_a_checkpoint_is_of_use_or_refused(tmp_path, content):
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    network = torch.nn.Linear(3, 2)
    before = network.weight.clone()
    try:
        load_weights('sr', network, dict(checkpoint=str(path)))
    except WeightsError as error:
        assert str(path) in str(error)
        assert torch.equal(network.weight, before)
    try:
        find_state_dict(read_checkpoint(path), ('params', 'state_dict'))
    except ConvertError as error:
        assert str(error)
