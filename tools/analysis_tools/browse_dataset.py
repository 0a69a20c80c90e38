"""Write pictures of the data as the two networks see them: HR, LR, SR and patch mix."""

from mmsr4ir.cli.browse_dataset import main

if __name__ == '__main__':
    main()
