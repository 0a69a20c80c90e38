# T->S: T comes from a run of H->T (model.task.init_cfg) and stays as it is; S on pixels
# and on what T loses on SR.
recipe = dict(sr=dict(update=['sr'], losses=dict(pixel=1.0, task_sr=1.0)))
