"""Compare methods with and without SR on one's own data: is SR worth it here?"""

from mmsr4ir.cli.compare import main

if __name__ == '__main__':
    main()
