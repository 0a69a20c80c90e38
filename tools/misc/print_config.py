"""Print the whole config: all that it inherits, and the command line's settings."""

from mmsr4ir.cli.print_config import main

if __name__ == '__main__':
    main()
