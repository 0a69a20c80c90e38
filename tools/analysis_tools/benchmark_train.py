"""Time training: an iteration against its parts, or several ways to train."""

from mmsr4ir.cli.benchmark_train import main

if __name__ == '__main__':
    main()
