"""What every other package may use: files, images, configs as data, errors."""
