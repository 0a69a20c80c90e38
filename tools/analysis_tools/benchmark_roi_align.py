"""Time RoIAlign in both directions: torchvision's kernel and sparse_roi_align."""

from mmsr4ir.cli.benchmark_roi_align import main

if __name__ == '__main__':
    main()
