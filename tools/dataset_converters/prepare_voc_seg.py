"""Check PASCAL VOC 2012 for segmentation; mmsegmentation reads it as it stands."""

from mmsr4ir.cli.prepare_voc_seg import main

if __name__ == '__main__':
    main()
