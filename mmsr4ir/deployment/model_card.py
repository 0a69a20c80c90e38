"""Model cards: what is in a published file, how good it is, and how to use it."""

import math
import re
from collections.abc import Mapping, Sequence

from mmengine.config import ConfigDict
from torch import Tensor

from mmsr4ir.utils.tables import markdown_table

# Buffers, which are no parameters: of batch norms, and of SwinIR.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked', 'attn_mask')
_TEXT = """# {name}

{facts}

## Results

{results}

## Use

`{name}.py` is the config of the training. Install mmsr4ir, then restore and recognise
your own LR images:

```shell
mmsr4ir predict {name}.py IMAGES --weights {name}.pth --out-dir found
```

The SR network has learned to undo the degradation above. On images that became small or
blurred in another way it may do worse than plain enlargement. Check the terms of the
training data before you use or pass on the weights.
"""


def model_card(
    name: str,
    cfg: Mapping,
    meta: Mapping,
    state_dict: Mapping[str, Tensor],
    tests: Sequence[Mapping[str, float]] = (),
) -> str:
    """Write the model card of a published file.

    Args:
        name: Of the file, without ``.pth``.
        cfg: The config of the training.
        meta: That of the checkpoint: epochs, seed, versions and class names.
        state_dict: The weights, named ``sr.*`` and ``task.*``.
        tests: The metrics of tests, as MMEngine writes them to JSON.

    Returns:
        str: Markdown.
    """
    model = ConfigDict(cfg).model
    degradation = dict(model.get('degradation') or {})
    settings = ', '.join(f'{k}={v}' for k, v in degradation.items() if k != 'type')
    backbone = (model.task.get('backbone') or {}).get('type')
    task = f'{model.task.type} ({backbone})' if backbone else model.task.type
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    data = [dataset.get(key) for key in ('type', 'data_root', 'ann_file')]
    classes = (meta.get('dataset_meta') or {}).get('classes') or ()
    facts = {
        'SR network': f'{model.sr.type}, {parameters_in_words(state_dict, "sr.")}',
        'task network': f'{task}, {parameters_in_words(state_dict, "task.")}',
        'degradation': f'{degradation.get("type")}({settings})',
        'trained on': ', '.join(map(str, filter(None, data))) or 'unknown',
        'classes': ', '.join(map(str, classes)) or model.get('num_classes', 'unknown'),
        'epochs': meta.get('epoch', 'unknown'),
        'iterations': meta.get('iter', 'unknown'),
        'seed': meta.get('seed', 'unknown'),
        # MMEngine puts the hash of the commit behind its version.
        'MMEngine': re.sub(
            r'[0-9a-f]{40}$', '', meta.get('mmengine_version') or 'unknown'
        ),
    }
    metrics = {
        key: value
        for test in tests
        for key, value in test.items()
        if key not in ('time', 'data_time')
    }
    return _TEXT.format(
        name=name,
        facts='\n'.join(
            ['| | |', '| --- | --- |', *(f'| {k} | {v} |' for k, v in facts.items())]
        ),
        results=markdown_table(
            ['metric', 'value'], [(k, f'{v:.4g}') for k, v in metrics.items()]
        )
        if metrics
        else 'None were given.',
    )


def parameters_in_words(state_dict: Mapping[str, Tensor], prefix: str) -> str:
    """Return how many parameters the names with a prefix have, in words."""
    number = sum(
        math.prod(value.shape)
        for key, value in state_dict.items()
        if key.startswith(prefix)
        and not key.endswith(_BUFFERS)
        and value.is_floating_point()
    )
    return f'{number / 1e6:.2f} M parameters'
