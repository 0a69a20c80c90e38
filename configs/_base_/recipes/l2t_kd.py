# L->T with a teacher: T alone, on LR images enlarged by interpolation, its features
# near those of the teacher on HR (model.teacher). What a user would do without SR.
recipe = dict(task=dict(
    update=['task'], losses=dict(task_sr=dict(weight=1.0, match=0.5))))
