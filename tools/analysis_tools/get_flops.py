"""Count parameters and FLOPs of the SR network, the task network and both."""

from mmsr4ir.cli.get_flops import main

if __name__ == '__main__':
    main()
