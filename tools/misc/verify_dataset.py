"""Check all data of a config, a COCO JSON or class folders."""

from mmsr4ir.cli.verify_dataset import main

if __name__ == '__main__':
    main()
