"""The command lines, one module each; ``tools/`` and ``demo/`` start them."""
