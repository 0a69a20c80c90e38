"""Check a COCO-style set and split it into training and validation if wanted."""

from mmsr4ir.cli.prepare_coco import main

if __name__ == '__main__':
    main()
