# A frozen T, as in ModTr (ECCV 2024): T comes from a run of H->T (model.task.init_cfg)
# and stays as it is; S on what T loses on SR alone.
recipe = dict(sr=dict(update=['sr'], losses=dict(task_sr=1.0)))
