"""Data sets of two images that stand in for those of the zoos' configs."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import InstanceData

#: Images of each data set, and their height and width in pixels.
NUM_IMAGES, DET_SIZE, SEG_SIZE, CLS_SIZE = 2, (96, 128), (160, 160), (256, 256)
#: Left, top, right and bottom of the objects in an image for detection, in pixels.
BOXES = ((8, 12, 60, 75), (30, 20, 115, 85), (65, 4, 95, 45))


def make_data(root: Path) -> None:
    """Write the images and labels of all tasks below a folder.

    The objects are rectangles of random pixels on a background of random pixels.
    """
    rng = np.random.default_rng(0)
    _make_detection(root / 'det', rng)
    for i in range(NUM_IMAGES):
        image = rng.integers(0, 256, (*SEG_SIZE, 3), np.uint8)
        labels = np.zeros(SEG_SIZE, np.uint8)
        labels[40:110, 30:120] = 1
        _write(root / 'seg' / 'img' / f'{i}.png', image)
        _write(root / 'seg' / 'labels' / f'{i}.png', labels)
        image = rng.integers(0, 256, (*CLS_SIZE, 3), np.uint8)
        _write(root / 'cls' / f'class_{i}' / f'{i}.png', image)
    names = [f'class_{i}/{i}.png' for i in range(NUM_IMAGES)]
    content = dict(
        metainfo=dict(classes=[str(i) for i in range(20)]),
        data_list=[
            dict(img_path=name, gt_label=[i, 5]) for i, name in enumerate(names)
        ],
    )
    (root / 'cls' / 'several_labels.json').write_text(json.dumps(content))


def _make_detection(root: Path, rng: np.random.Generator) -> None:
    from mmdet.datasets import CocoDataset, CocoPanopticDataset

    height, width = DET_SIZE
    images, annotations, proposals, segments = [], [], {}, []
    for i in range(NUM_IMAGES):
        name = f'{i}.png'
        image = rng.integers(0, 256, (*DET_SIZE, 3), np.uint8)
        parts = np.zeros((*DET_SIZE, 3), np.uint8)  # the id in the red channel
        stuff = np.full(DET_SIZE, 90, np.uint8)
        infos = [_segment(1, 92, (0, 0, width, height))]
        parts[..., 2] = 1
        for k, box in enumerate(BOXES):
            left, top, right, bottom = box
            image[top:bottom, left:right] //= 2
            parts[top:bottom, left:right, 2] = k + 2
            stuff[top:bottom, left:right] = k
            infos.append(_segment(k + 2, k + 1, box))
            annotations.append(_annotation(len(annotations) + 1, i, k + 1, box))
        _write(root / 'img' / name, image)
        _write(root / 'parts' / name, parts)
        _write(root / 'stuff' / name, stuff)
        images.append(dict(id=i, file_name=name, height=height, width=width))
        segments.append(dict(image_id=i, file_name=name, segments_info=infos))
        proposals[f'img/{name}'] = InstanceData(
            bboxes=np.array([*BOXES, (0, 0, 60, 60)], np.float32),
            scores=np.array([0.9, 0.8, 0.7, 0.1], np.float32),
        )
    things = CocoDataset.METAINFO['classes']
    # The ids are those of the classes' places, but 92 for the first kind of stuff.
    categories = [dict(id=i + 1, name=name, isthing=1) for i, name in enumerate(things)]
    _dump(root / 'boxes.json', images, annotations, categories)
    _dump(
        root / 'person.json',
        images,
        [dict(one, category_id=1) for one in annotations],
        categories[:1],
    )
    people = [
        dict(tag='person', fbox=[a, b, c - a, d - b], hbox=[a, b, 4, 4], extra={})
        for a, b, c, d in BOXES
    ]
    lines = [
        json.dumps(dict(ID=i, gtboxes=[dict(one, head_attr={}) for one in people]))
        for i in range(NUM_IMAGES)
    ]
    (root / 'person.odgt').write_text('\n'.join(lines) + '\n')
    stuff_classes = CocoPanopticDataset.METAINFO['stuff_classes']
    categories += [
        dict(id=92 + i, name=name, isthing=0) for i, name in enumerate(stuff_classes)
    ]
    _dump(root / 'segments.json', images, segments, categories)
    with open(root / 'proposals.pkl', 'wb') as file:
        pickle.dump(proposals, file)


def _annotation(number: int, image: int, category: int, box: tuple) -> dict:
    left, top, right, bottom = box
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=[left, top, right - left, bottom - top],
        area=(right - left) * (bottom - top),
        segmentation=[[left, top, right, top, right, bottom, left, bottom]],
        iscrowd=0,
    )


def _segment(number: int, category: int, box: tuple) -> dict:
    left, top, right, bottom = box
    return dict(
        id=number,
        category_id=category,
        bbox=[left, top, right - left, bottom - top],
        area=(right - left) * (bottom - top),
        iscrowd=0,
    )


def _dump(path: Path, images: list, annotations: list, categories: list) -> None:
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
