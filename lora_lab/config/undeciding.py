"""Which parameters do not decide what is learned."""

UNDECIDING = frozenset(
    {
        "output_folder",
        "change_output_name",
        "save_json_folder",
        "save_json_only",
        "load_json_path",
        "json_load_skip_list",
        "multi_run_folder",
        "num_workers",
        "persistent_workers",
        "save_every_n_epochs",
        "save_every_n_steps",
        "save_last_n_epochs",
        "keep_best",
        "save_state",
        "tag_occurrence_txt_file",
        "sort_tag_occurrence_alphabetically",
        "training_comment",
        "cache_latents_to_disk",
        "cache_text_encoder_outputs_to_disk",
        "log_dir",
    }
)
"""Names, places, saving and caching: with any of them the trained weights are the same."""
