# SR4IR (section 3 of the paper): S on pixel + TDP loss, T on SR, HR and the patch mix.
# While T's features mean nothing yet, in the warm-up, TDP is off.
recipe = dict(
    sr=dict(
        update=['sr'], losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
    task=dict(
        update=['task'], losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)))
