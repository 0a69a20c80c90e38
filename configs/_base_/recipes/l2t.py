# L->T: T alone, on LR images enlarged by interpolation (S has no parameters).
recipe = dict(task=dict(update=['task'], losses=dict(task_sr=1.0)))
