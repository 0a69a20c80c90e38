"""Make a checkpoint fit to be published: weights and meta alone, a hash in its name."""

from mmsr4ir.cli.publish_model import main

if __name__ == '__main__':
    main()
