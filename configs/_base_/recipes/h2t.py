# H->T, the oracle: T alone, on HR images.
recipe = dict(task=dict(update=['task'], losses=dict(task_hr=1.0)))
