"""Make batch norms that were folded into the convolutions trainable again."""

from mmsr4ir.cli.unfold_batch_norm import main

if __name__ == '__main__':
    main()
