"""Systems that make images from noise: one file per paper."""
