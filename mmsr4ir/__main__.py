"""``python -m mmsr4ir COMMAND ...``, as the command ``mmsr4ir``."""
from mmsr4ir.cli.main import main

if __name__ == '__main__':
    main()
