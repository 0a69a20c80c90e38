"""Convert a data set with VOC annotations to COCO JSON."""

from mmsr4ir.cli.voc2coco import main

if __name__ == '__main__':
    main()
