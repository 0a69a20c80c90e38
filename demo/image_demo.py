"""Restore small, blurred or compressed images and recognise what is in them."""

from mmsr4ir.cli.image_demo import main

if __name__ == '__main__':
    main()
