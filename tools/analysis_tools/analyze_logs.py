"""Draw the logs of trainings, or compute their time an iteration."""

from mmsr4ir.cli.analyze_logs import main

if __name__ == '__main__':
    main()
