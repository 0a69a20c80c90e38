"""Prepare Stanford Cars."""
from mmsr4ir.cli.prepare_cars import main

if __name__ == '__main__':
    main()
