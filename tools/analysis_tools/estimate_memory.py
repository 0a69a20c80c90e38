"""Estimate the memory that a training needs on a GPU; no GPU is needed for it."""

from mmsr4ir.cli.estimate_memory import main

if __name__ == '__main__':
    main()
