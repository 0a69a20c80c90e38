"""Score each tested image by the task; draw the best and the worst."""

from mmsr4ir.cli.analyze_results import main

if __name__ == '__main__':
    main()
