"""Train the networks of a config."""

from mmsr4ir.cli.train import main

if __name__ == '__main__':
    main()
