"""Convert a file of the original SwinIR to mmagic's names."""

from mmsr4ir.cli.swinir2mmagic import main

if __name__ == '__main__':
    main()
