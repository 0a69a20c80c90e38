"""Convert a file of the original EDSR to mmagic's names."""

from mmsr4ir.cli.edsr2mmagic import main

if __name__ == '__main__':
    main()
