"""Maps of how strongly each voxel suggests a label."""
