"""P1's network and recipe in the words of plans (Christensen et al. 2025, arXiv 2504.05977)."""

P1_NETWORK = (
    "network.conditioning=concatenated",
    "network.channels=[32,32,64,128]",
    "network.strides=[[1,1],[2,2],[2,2],[2,2]]",
    "network.kernel_sizes=[[3,3],[3,3],[3,3],[3,3]]",
    "network.num_blocks=[1,2,3,4]",
    "network.num_decoder_blocks=[2,3,4,5]",
    "network.num_middle_blocks=4",
    "network.has_attention=[false,false,false,true]",
    "network.num_heads=4",
    "network.num_groups=32",
    "network.image_channels=[]",
    "network.num_image_blocks=[]",
)
"""6,891,905 parameters."""

P1_RECIPE = (
    *P1_NETWORK,
    "diffusion.input_scale=0.1",
    "diffusion.loss_weighting=snr_truncated",
    "diffusion.is_weighting_decoupled=false",
    "sampling.sampler=ddpm",
    "sampling.variance=large",
    "sampling.num_steps=10",
    "sampling.step_spacing=t",
)
"""The weighting is that of the published checkpoint; the released code names another one."""
