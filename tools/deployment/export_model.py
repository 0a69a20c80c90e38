"""Export a trained SR4IR, or its SR network, to ONNX or torch.export, and check it."""

from mmsr4ir.cli.export_model import main

if __name__ == '__main__':
    main()
