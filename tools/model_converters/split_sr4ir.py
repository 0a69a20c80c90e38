"""Split the checkpoint of an SR4IR into those of its two networks."""

from mmsr4ir.cli.split_sr4ir import main

if __name__ == '__main__':
    main()
