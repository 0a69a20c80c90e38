"""Make LR images: bicubic, in random steps, or read from files."""
