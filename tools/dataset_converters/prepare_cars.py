"""Crop the cars of Stanford Cars, resize them, and write lists of them."""

from mmsr4ir.cli.prepare_cars import main

if __name__ == '__main__':
    main()
