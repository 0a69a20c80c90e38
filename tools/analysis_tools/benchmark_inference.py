"""Time a test: both networks and the whole step."""

from mmsr4ir.cli.benchmark_inference import main

if __name__ == '__main__':
    main()
