"""Draw images, predictions and the panels of picture grids."""
