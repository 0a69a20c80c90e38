"""Make the embedded data set (see mmsr4ir/datasets/textured_shapes.py)."""

from mmsr4ir.cli.make_textured_shapes import main

if __name__ == '__main__':
    main()
