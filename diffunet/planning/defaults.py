"""Why the values that depend on no dataset are what they are, by the block of a configuration."""

DEFAULT_REASONS: dict[str, dict[str, str]] = {
    "preprocessing": {
        "image_order": "Cubic splines, as in nnU-Net.",
        "separate_axis_anisotropy": "nnU-Net's: above this ratio slices are not interpolated.",
    },
    "augmentation": {
        "rotation_probability": "nnU-Net's.",
        "scaling_probability": "nnU-Net's.",
        "scaling_range": "nnU-Net's.",
        "gaussian_noise_probability": "nnU-Net's.",
        "gaussian_blur_probability": "nnU-Net's.",
        "brightness_probability": "nnU-Net's.",
        "contrast_probability": "nnU-Net's.",
        "low_resolution_probability": "nnU-Net's.",
        "inverted_gamma_probability": "nnU-Net's.",
        "gamma_probability": "nnU-Net's.",
    },
    "diffusion": {
        "schedule": "P1's; the rule for the input scale is derived for it.",
        "log_snr_limit": "P1's: at +-20 an image is clean or noise to 1 part in 20,000.",
        "prediction": "P1 and its sequels found x_0 best, noise worst.",
        "loss_weighting": "The best of those that P1's authors compared, and robust.",
        "is_weighting_decoupled": (
            "P1's loss unchanged; decoupling would change how often a noise level counts."
        ),
        "is_self_conditioned": (
            "As P1. It gained a little in two short trainings on known truth; one on LIDC could "
            "not tell."
        ),
    },
    "sampling": {
        "sampler": (
            "Draws as diversely as raters in few steps. P1's ddpm loses diversity, as the unbiased "
            "GED shows: 0.194 against 0.150 on LIDC at 10 steps."
        ),
        "step_spacing": (
            "The schedule spends most of t where the decision falls; even steps in log SNR would "
            "waste all but one or two."
        ),
        "variance": "P1's; of ddpm alone.",
        "tile_step_size": "nnU-Net's: neighbouring tiles overlap by half.",
        "is_mirrored": "Mirroring multiplies the work, and samples differ without it.",
    },
    "training": {
        "weight_decay": "P1's.",
        "decay_share": "P1's choice: the last quarter.",
        "gradient_clip_norm": "P1's.",
        "num_draws": "One, as P1: at equal time four were level on known truth.",
        "has_stable_target": (
            "Where raters differ, the loss has the same mean and less chance in it."
        ),
        "precision": "That of the device: only some CPUs gain by bfloat16.",
        "rater_dropout": "Of no effect unless the network is told who drew.",
        "dice_weight": "nnU-Net's loss; 0 learns the share of raters instead of their majority.",
        "num_validations": "Every twentieth of the training.",
        "num_validation_cases": "Enough to rank checkpoints in less than a tenth of the time.",
        "num_final_validation_cases": "Spread over patients; --all_cases scores every case.",
    },
    "network": {
        "conditioning": (
            "The image is encoded once for all samples and steps: faster, and better in tests, "
            "than P1's concatenation."
        ),
        "num_heads": "P1's.",
        "num_groups": "P1's.",
        "has_final_tanh": "x_0 is -1 or 1: bounding it helped P1.",
        "dropout": "None, as P1.",
    },
}
