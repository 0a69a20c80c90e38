# S alone, on the pixel loss: the run that S->T takes its S from.
recipe = dict(sr=dict(update=['sr'], losses=dict(pixel=1.0)))
