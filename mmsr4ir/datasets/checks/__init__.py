"""Find what is wrong with data before a training does."""
