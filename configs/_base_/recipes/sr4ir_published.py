# SR4IR to the last published detail: S stays in train mode while T is updated, which
# makes a difference to networks with stochastic depth, such as SwinIR.
_base_ = ['./sr4ir.py']
recipe = dict(task=dict(sr_in_train_mode=True))
