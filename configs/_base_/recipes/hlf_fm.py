# Two judges and feature matching, as in EDTR (ICCV 2025) and NOLA-IR (2026), without
# their diffusion: S on the TDP loss of T and of a teacher T* that was trained on HR; T
# on one batch, half SR and half HR, with its features near those of T* on HR. No pixel
# loss, so start S and T from trained ones (model.sr.init_cfg, model.task.init_cfg), and
# set model.teacher. S sees the half of the batch that T gets as SR, as published for
# classification; phase `task` takes the SR images of phase `sr`.
recipe = dict(
    sr=dict(update=['sr'], share=0.5, losses=dict(tdp=0.5, tdp_teacher=0.5)),
    task=dict(
        update=['task'], reuse_sr=True,
        losses={'task_sr|hr': dict(weight=1.0, match=0.5)}))
