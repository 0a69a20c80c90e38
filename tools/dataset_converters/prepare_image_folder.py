"""Check images in class folders, split them if need be, and write lists of them."""

from mmsr4ir.cli.prepare_image_folder import main

if __name__ == '__main__':
    main()
