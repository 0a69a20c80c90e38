"""Show the whole of it in a few minutes: make data, train, test, draw, compare."""

from mmsr4ir.cli.embedded_demo import main

if __name__ == '__main__':
    main()
