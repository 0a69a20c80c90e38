"""Write the LR images that a degradation makes of a data set, as PNG files."""

from mmsr4ir.cli.make_lr_dataset import main

if __name__ == '__main__':
    main()
