"""Prepare CUB-200-2011."""
from mmsr4ir.cli.prepare_cub import main

if __name__ == '__main__':
    main()
