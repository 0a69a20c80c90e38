# S->T with a teacher: S comes from a run of its own (model.sr.init_cfg) and stays as it
# is; T on SR, its features near those of the teacher on HR (model.teacher).
recipe = dict(task=dict(
    update=['task'], losses=dict(task_sr=dict(weight=1.0, match=0.5))))
