"""Serve a page in the browser on which a model restores and recognises images."""

from mmsr4ir.cli.web_demo import main

if __name__ == '__main__':
    main()
