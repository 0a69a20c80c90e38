"""browse_dataset, analyze_results and print_config through their command lines."""

import json
import pickle
import sys

import torch
from mmengine.config import Config
from PIL import Image

PYTHON, CONFIG = sys.executable, 'configs/sr4ir/faster-rcnn_edsr_tiny.py'


def test_browse_dataset(run_tool, coco_root, tiny_options, tmp_path):
    text = run_tool(
        PYTHON,
        'tools/analysis_tools/browse_dataset.py',
        CONFIG,
        '--out',
        tmp_path / 'a',
        '--number',
        3,
        '--split',
        'val',
        *tiny_options(coco_root),
        env=dict(DISPLAY=''),
    ).stdout
    assert '3 pictures are in' in text
    names = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert names == ['000_0.png', '001_1.png', '002_2.png']
    assert Image.open(tmp_path / 'a' / names[0]).size[0] > 5 * 228


def test_analyze_results(run_tool, coco_root, tiny_options, tmp_path):
    truth = torch.tensor([[4.0, 4, 28, 24], [20, 30, 42, 58]])
    labels = torch.tensor([0, 1])

    def result(i, hits):  # so many of the two boxes are found
        return dict(
            img_path=str(coco_root / 'val' / f'{i}.{"jpg" if i % 3 else "png"}'),
            ori_shape=((64, 64), (64, 48))[i % 2],
            gt_instances=dict(bboxes=truth, labels=labels),
            pred_instances=dict(
                bboxes=truth[:hits],
                labels=labels[:hits],
                scores=torch.full((hits,), 0.9),
            ),
        )

    file = tmp_path / 'pred.pkl'
    file.write_bytes(pickle.dumps([result(0, 1), result(1, 2), result(2, 0)]))
    out = tmp_path / 'out'
    text = run_tool(
        PYTHON,
        'tools/analysis_tools/analyze_results.py',
        CONFIG,
        file,
        '--out',
        out,
        '--topk',
        1,
        *tiny_options(coco_root),
        env=dict(DISPLAY=''),
    ).stdout
    written = json.loads((out / 'scores.json').read_text())
    assert [one['score'] for one in written['images']] == [0.5, 1.0, 0.0]
    assert written['mean'] == 0.5 and 'mean 0.5000 over 3 of 3 images' in text
    pictures = sorted(str(path.relative_to(out)) for path in out.glob('*/*.png'))
    assert pictures == ['best/00_1.000_1.png', 'worst/00_0.000_2.png']

    # Another test's pictures take the place of those; what else lies there stays.
    (out / 'best' / 'mine.png').write_bytes(b'')
    file.write_bytes(pickle.dumps([result(0, 2), result(1, 1), result(2, 0)]))
    command = [
        PYTHON,
        'tools/analysis_tools/analyze_results.py',
        CONFIG,
        file,
        '--out',
        out,
        '--topk',
        1,
        *tiny_options(coco_root),
    ]
    run_tool(*command)
    assert {path.name for path in (out / 'best').iterdir()} == {
        '00_1.000_0.png',
        'mine.png',
    }

    file.write_bytes(pickle.dumps([result(1, 2), result(0, 1), result(2, 0)]))
    refused = run_tool(*command, ok=False)
    assert refused.returncode == 1
    assert 'error: image 0 of the results is ' in refused.stdout
    command[2:3] = ['configs/sr4ir/deeplabv3_edsr_tiny.py']
    refused = run_tool(*command[:8], ok=False)
    assert refused.returncode == 1 and 'holds pred_instances' in refused.stdout


def test_print_config(run_tool, tmp_path):
    out = tmp_path / 'new' / 'whole.py'
    run_tool(
        PYTHON,
        'tools/misc/print_config.py',
        CONFIG,
        '--save-path',
        out,
        '--cfg-options',
        'model.patch_mix.grid=3',
    )
    want = Config.fromfile(CONFIG)
    want.model.patch_mix.grid = 3
    assert Config.fromfile(out).to_dict() == want.to_dict()
    assert '_base_' not in out.read_text() and len(list(out.parent.iterdir())) == 1
