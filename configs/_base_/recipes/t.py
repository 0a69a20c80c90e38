# T on HR images, which other methods start from: trained as in H→T.
_base_ = './h2t.py'
