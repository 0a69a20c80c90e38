"""``python -m mmsr4ir COMMAND ...``, as the command ``mmsr4ir``."""

from .cli.main import main

if __name__ == '__main__':
    main()
