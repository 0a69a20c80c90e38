# The degradation of SR4IR (section 4), x4.
degradation = dict(type='mmsr4ir.BicubicDownsample', scale=4)
