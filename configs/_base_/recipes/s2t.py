# S->T: S comes from a run of its own (model.sr.init_cfg) and stays as it is; T on SR.
recipe = dict(task=dict(update=['task'], losses=dict(task_sr=1.0)))
