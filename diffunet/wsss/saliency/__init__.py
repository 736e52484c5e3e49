"""Maps of how much each voxel speaks for a label."""
