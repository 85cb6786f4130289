"""GPU box: fit an encoding model from pixels to voxels and make images that drive chosen voxels, ROIs or contrasts."""
