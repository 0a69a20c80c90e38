"""Test a checkpoint: task metric, image quality, predictions and pictures."""

from mmsr4ir.cli.test import main

if __name__ == '__main__':
    main()
