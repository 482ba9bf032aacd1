accelerate launch --mixed_precision bf16 --num_cpu_threads_per_process 1 flux_train_network.py \
  --pretrained_model_name_or_path flux1-dev.sft --clip_l clip_l.safetensors --ae ae.sft \
  --cache_latents_to_disk --save_model_as safetensors --sdpa --persistent_data_loader_workers \
  --max_data_loader_n_workers 2 --seed 42 --gradient_checkpointing --mixed_precision bf16 --save_precision bf16 \
  --network_module networks.lora_flux --network_dim 16 --network_train_unet_only --optimizer_type adamw8bit \
  --learning_rate 8e-4 --fp8_base --max_train_epochs 4 --save_every_n_epochs 1 --dataset_config dataset.toml \
  --output_dir out --output_name flux-lora --timestep_sampling shift --discrete_flow_shift 3.1582 \
  --model_prediction_type raw --guidance_scale 1.0
