"""Time the parts of a training iteration and of a test."""
from mmsr4ir.cli.benchmark_speed import main

if __name__ == '__main__':
    main()
