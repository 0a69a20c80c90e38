"""Join the files of the authors of SR4IR to a checkpoint of this package."""

from mmsr4ir.cli.published2mmsr4ir import main

if __name__ == '__main__':
    main()
