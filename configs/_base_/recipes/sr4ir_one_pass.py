# SR4IR with less work an iteration, and other numbers: T takes SR, HR and mix as one
# batch (its loss is the mean over all three), and phase `task` takes the SR images of
# phase `sr`, made before S was updated. T must not have batch statistics.
recipe = dict(
    sr=dict(
        update=['sr'], losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
    task=dict(update=['task'], reuse_sr=True, losses={'task_sr+hr+mix': 1.02}))
