# S+T: both at once, on pixels and on the task loss on SR.
recipe = dict(both=dict(
    update=['sr', 'task'], losses=dict(pixel=1.0, task_sr=1.0)))
